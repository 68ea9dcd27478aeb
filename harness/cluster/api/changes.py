"""What an update of an object may change, and what stays as it was."""

from __future__ import annotations

from harness.cluster.kinds.resource import ResourceType
from harness.cluster.objects.errors import conflict
from harness.cluster.objects.meta import Obj, copied, meta, name_of, uid_of, version_of

_SYSTEM_FIELDS = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "generateName",
)


def check_version(resource: ResourceType, old: Obj, new: Obj) -> None:
    """The writer has seen the stored object.

    Raises:
        ApiError: 409, another version or another object.
    """
    name, given = name_of(old), meta(new).get("resourceVersion")
    if given and str(given) != str(version_of(old)):
        raise conflict(resource.plural, resource.group, name)
    if uid_of(new) and uid_of(new) != uid_of(old):
        why = f"Precondition failed: UID in precondition: {uid_of(new)}, UID in object meta: "
        raise conflict(resource.plural, resource.group, name, why + uid_of(old))


def separated(resource: ResourceType, old: Obj, new: Obj, subresource: str) -> Obj:
    """Only the status, or everything but the status, may change."""
    if subresource == "status":
        managed = meta(new).get("managedFields")
        kept = {**old, "metadata": {**meta(old), "managedFields": managed}}
        kept.pop("status", None)
        return {**kept, "status": new["status"]} if "status" in new else kept
    if "status" in resource.subresources:
        new.pop("status", None)
        if "status" in old:
            new["status"] = copied(old["status"])
    return new


def keep_meta(old: Obj, new: Obj) -> None:
    """Undo changes of metadata that only the server makes, in place."""
    for key in _SYSTEM_FIELDS:
        if key in meta(old):
            meta(new)[key] = meta(old)[key]
        else:
            meta(new).pop(key, None)


def count_generation(resource: ResourceType, old: Obj, new: Obj) -> None:
    """A change beside metadata and status makes a new generation."""
    if resource.generation and _specification(old) != _specification(new):
        meta(new)["generation"] = meta(old).get("generation", 0) + 1


def _specification(obj: Obj) -> Obj:
    return {key: value for key, value in obj.items() if key not in {"metadata", "status"}}
