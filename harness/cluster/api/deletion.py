"""The states of an object that is being deleted."""

from __future__ import annotations

from harness.cluster.kinds.registry import CRDS
from harness.cluster.kinds.resource import ResourceType
from harness.cluster.objects.errors import conflict, forbidden
from harness.cluster.objects.meta import (
    Obj,
    copied,
    deleting,
    meta,
    name_of,
    time_text,
    uid_of,
    version_of,
)

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
CRD_CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
_PERMANENT = frozenset({"default", "kube-system", "kube-public"})
_OVER = frozenset({"Succeeded", "Failed"})


def marked(resource: ResourceType, old: Obj, options: Obj, now_s: float) -> Obj | None:
    """The object with its deletion mark; None if nothing keeps it and it may go at once.

    Raises:
        ApiError: 403, the namespace is permanent.
    """
    if resource.storage == "namespaces" and name_of(old) in _PERMANENT:
        raise forbidden("namespaces", "", name_of(old), "this namespace may not be deleted")
    new: Obj = copied(old)
    finalizers: list[str] = meta(new).setdefault("finalizers", [])
    _set_policy(finalizers, options)
    if resource.storage == CRDS and CRD_CLEANUP not in finalizers and not deleting(old):
        finalizers.append(CRD_CLEANUP)
    grace = _grace(resource, old, options)
    held = bool(finalizers) or bool(grace) or _held_namespace(resource, old)
    if not held:
        return None
    if not finalizers:
        del meta(new)["finalizers"]
    if not deleting(old) or grace < meta(old).get("deletionGracePeriodSeconds", 0):
        if not deleting(old) and resource.generation:
            meta(new)["generation"] = meta(old).get("generation", 0) + 1
        meta(new)["deletionTimestamp"] = time_text(now_s + grace)
        meta(new)["deletionGracePeriodSeconds"] = grace
    if resource.storage == "namespaces":
        new["status"] = {**(new.get("status") or {}), "phase": "Terminating"}
    return new


def _set_policy(finalizers: list[str], options: Obj) -> None:
    policy = options.get("propagationPolicy")
    if options.get("orphanDependents"):
        policy = "Orphan"
    wanted = {"Foreground": FOREGROUND, "Orphan": ORPHAN}.get(str(policy))
    if policy is not None:
        finalizers[:] = [item for item in finalizers if item not in {FOREGROUND, ORPHAN}]
    if wanted:
        finalizers.append(wanted)


def _grace(resource: ResourceType, old: Obj, options: Obj) -> int:
    """Seconds that a pod gets to stop; 0 for anything else."""
    if resource.storage != "pods" or not (old.get("spec") or {}).get("nodeName"):
        return 0
    if (old.get("status") or {}).get("phase") in _OVER:
        return 0
    given = options.get("gracePeriodSeconds")
    if given is None:
        given = (old.get("spec") or {}).get("terminationGracePeriodSeconds", 30)
    return int(given)


def _held_namespace(resource: ResourceType, old: Obj) -> bool:
    held = (old.get("spec") or {}).get("finalizers") if resource.storage == "namespaces" else None
    return bool(held)


def finished(obj: Obj) -> bool:
    """Whether an object that is being deleted has nothing left that keeps it."""
    metadata = meta(obj)
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if obj.get("kind") == "Namespace":
        return not (obj.get("spec") or {}).get("finalizers")
    return not metadata.get("deletionGracePeriodSeconds")


def check_preconditions(resource: ResourceType, old: Obj, wanted: Obj) -> None:
    """Refuse to delete another object than the one that is meant.

    Raises:
        ApiError: 409.
    """
    for field, found in (
        ("uid", uid_of(old)),
        ("resourceVersion", str(version_of(old))),
    ):
        given = wanted.get(field)
        if given and given != found:
            label = "UID" if field == "uid" else "ResourceVersion"
            why = (
                f"Precondition failed: {label} in precondition: {given}, "
                f"{label} in object meta: {found}"
            )
            raise conflict(resource.plural, resource.group, name_of(old), why)
