"""Between the stored form of an object and the version that a client speaks."""

from __future__ import annotations

from harness.cluster.kinds.resource import ResourceType
from harness.cluster.objects.meta import Obj, copied
from harness.cluster.schema import apply_defaults, prune

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
    """The form in which an object is stored.

    Raises:
        ApiError: 500, the conversion webhook cannot be reached or refuses.
    """
    if not resource.stored_as or resource.stored_as == resource.api_version:
        return obj
    if resource.plural == "events":
        obj = _renamed(obj, dict(_EVENT_FIELDS))
    if resource.converter is not None:
        return resource.converter(obj, resource.stored_as)
    return {**obj, "apiVersion": resource.stored_as}


def to_served(resource: ResourceType, obj: Obj) -> Obj:
    """The form in which a client sees an object.

    Conversion changes ``apiVersion`` only, unless the definition names a webhook. Custom objects
    that were stored under an earlier schema are pruned and get defaults by the present one.

    Raises:
        ApiError: 500, the conversion webhook cannot be reached or refuses.
    """
    if resource.custom and resource.schema is not None:
        obj = copied(obj)
        if resource.converter is not None and obj.get("apiVersion") != resource.api_version:
            obj = resource.converter(obj, resource.api_version)
        obj["apiVersion"] = resource.api_version
        prune(obj, resource.schema)
        apply_defaults(obj, resource.schema)
        return obj
    if resource.plural == "events" and resource.stored_as != resource.api_version:
        obj = _renamed(obj, {old: new for new, old in _EVENT_FIELDS})
    if obj.get("apiVersion") == resource.api_version:
        return obj
    return {**obj, "apiVersion": resource.api_version}


def _renamed(obj: Obj, names: dict[str, str]) -> Obj:
    return {names.get(key, key): value for key, value in obj.items()}
