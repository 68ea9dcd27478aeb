"""What admission webhooks are asked about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from harness.cluster.api.call import Call
from harness.cluster.kinds.resource import ResourceType
from harness.cluster.objects.meta import Obj


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One write that somebody wants.

    Attributes:
        obj: what is to be stored, in the version of ``resource``; None deletes.
        old: what is stored, in the same version; None creates.
    """

    resource: ResourceType
    obj: Obj | None
    old: Obj | None
    call: Call
    subresource: str = ""

    @property
    def operation(self) -> str:
        """``CREATE``, ``UPDATE`` or ``DELETE``."""
        if self.obj is None:
            return "DELETE"
        return "CREATE" if self.old is None else "UPDATE"


class Admission(Protocol):
    """Has a say in writes."""

    def mutate(self, attempt: Attempt) -> Obj:
        """The object that is to be stored, the same one if nothing changes.

        Raises:
            ApiError: the write is refused.
        """
        ...

    def validate(self, attempt: Attempt) -> None:
        """Agree to a write.

        Raises:
            ApiError: the write is refused.
        """
        ...
