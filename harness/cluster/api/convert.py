"""Between the stored form of an object and the version that a client speaks."""

from __future__ import annotations

from harness.cluster.kinds.resource import ResourceType
from harness.cluster.objects.meta import Obj

_EVENT_FIELDS = (
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedCount", "count"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedSource", "source"),
)


def to_stored(resource: ResourceType, obj: Obj) -> Obj:
    """The form in which an object is stored."""
    if not resource.stored_as or resource.stored_as == resource.api_version:
        return obj
    if resource.plural == "events":
        obj = _renamed(obj, dict(_EVENT_FIELDS))
    return {**obj, "apiVersion": resource.stored_as}


def to_served(resource: ResourceType, obj: Obj) -> Obj:
    """The form in which a client sees an object; conversion changes ``apiVersion`` only."""
    if not resource.stored_as or resource.stored_as == resource.api_version:
        return obj
    if resource.plural == "events":
        obj = _renamed(obj, {old: new for new, old in _EVENT_FIELDS})
    return {**obj, "apiVersion": resource.api_version}


def _renamed(obj: Obj, names: dict[str, str]) -> Obj:
    return {names.get(key, key): value for key, value in obj.items()}
