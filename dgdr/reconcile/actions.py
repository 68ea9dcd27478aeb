"""What a reconciler may ask for. Actions of one pass run in order and stop at a failure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """One object of the cluster."""

    api_version: str
    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Ref:
        """The reference to an object with apiVersion, kind and metadata."""
        metadata = data["metadata"]
        return cls(
            api_version=data["apiVersion"],
            kind=data["kind"],
            namespace=metadata.get("namespace", ""),
            name=metadata["name"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Create an object if its name is free; an existing one is left as it is.

    Attributes:
        rejected: what to do instead when the API refuses it for good (400, 403, 422).
        failed: what to do before another try when something went wrong for now.
    """

    data: Json
    rejected: Callable[[str], tuple[Action, ...]] | None = None
    failed: Callable[[str], tuple[Action, ...]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replace:
    """Put an object in place of the one with this resourceVersion."""

    data: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """Merge a change into an object, or into its status only.

    Attributes:
        resource_version: the change is refused when the object has another one by now.
    """

    ref: Ref
    change: Json
    resource_version: str
    status: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Delete an object, if it still is the one with this uid."""

    ref: Ref
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Emit:
    """Record an Event about an object."""

    regarding: Json
    reason: str
    message: str
    warning: bool = False


Action = Create | Replace | Patch | Delete | Emit


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What to do now, and when to look again even if nothing changes."""

    actions: tuple[Action, ...] = ()
    requeue_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """The instant of one pass, as text and as seconds since 1970."""

    unix_s: float
    text: str = field(default="")


def merge_change(old: Mapping[str, Any], new: Mapping[str, Any]) -> Json:
    """The merge patch (RFC 7386) that turns one object into another."""
    change: Json = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            inner = merge_change(before, value)
            if inner:
                change[key] = inner
        elif key not in old or before != value:
            change[key] = value
    return change
