"""What the operator asks of a Kubernetes API, and how the API may refuse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from contracts.errors import RehearsalError
from dgdr.operator.resources import Resource
from dgdr.reconcile.actions import Json, Ref

_REFUSALS = {400, 403, 422}


class ApiError(RehearsalError):
    """An answer of the API that is no success; status 0 means no answer at all."""

    exit_code = 4

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{reason or status}: {message}")
        self.status = status
        self.reason = reason
        self.message = message

    @property
    def exists(self) -> bool:
        """The name is taken."""
        return self.status == 409 and self.reason == "AlreadyExists"

    @property
    def conflict(self) -> bool:
        """The object has changed meanwhile."""
        return self.status == 409 and self.reason != "AlreadyExists"

    @property
    def missing(self) -> bool:
        """The object, or its kind, is not there."""
        return self.status == 404

    @property
    def expired(self) -> bool:
        """The resourceVersion to watch from is too old."""
        return self.status == 410

    @property
    def refused(self) -> bool:
        """Trying the same again cannot help."""
        return self.status in _REFUSALS


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Objects of one kind as of one resourceVersion."""

    items: tuple[Json, ...]
    resource_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchEvent:
    """ADDED, MODIFIED, DELETED or BOOKMARK, and the object."""

    kind: str
    data: Json


class Reader(Protocol):
    """Reads objects."""

    def get(self, ref: Ref) -> Json | None:
        """An object, None when it is not there."""
        ...

    def list(self, resource: Resource, namespace: str | None = None, selector: str = "") -> Listing:
        """All objects of a kind with these labels."""
        ...

    def watch(
        self, resource: Resource, namespace: str | None, selector: str, resource_version: str
    ) -> Iterator[WatchEvent]:
        """Changes since a resourceVersion, until the API ends the stream.

        Raises:
            ApiError: among others ``expired``: list again.
        """
        ...


class Writer(Protocol):
    """Changes objects; every method raises ApiError."""

    def create(self, data: Json) -> Json:
        """Create an object."""
        ...

    def replace(self, data: Json) -> Json:
        """Replace an object; its resourceVersion must be the present one."""
        ...

    def patch(self, ref: Ref, change: Mapping[str, Any], *, status: bool = False) -> Json:
        """Merge a change (RFC 7386); a resourceVersion in it must be the present one."""
        ...

    def delete(self, ref: Ref, uid: str) -> None:
        """Delete the object with this uid, dependents in the background."""
        ...


class Api(Reader, Writer, Protocol):
    """Both."""
