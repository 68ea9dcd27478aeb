"""An API server in memory: versions, conflicts, generations, status, owners, watches."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

from dgdr.operator.api import ApiError, Listing, WatchEvent
from dgdr.operator.resources import Resource
from dgdr.reconcile.actions import Ref
from dgdr.reconcile.times import to_text

Key = tuple[str, str, str]
_NO_GENERATION = {"ConfigMap", "Event", "Lease", "Node", "Secret", "ServiceAccount"}
_WITH_STATUS = {
    "DynamoGraphDeploymentRequest",
    "DynamoGraphDeployment",
    "DynamoGraphDeploymentScalingAdapter",
    "Job",
    "Deployment",
}


class Crash(BaseException):
    """The operator process is killed."""


class VirtualClock:
    def __init__(self) -> None:
        self.now_s = 1_767_225_600.0

    def unix_s(self) -> float:
        return self.now_s

    def steady_s(self) -> float:
        return self.now_s

    def wait(self, stop, seconds: float) -> bool:
        self.now_s += seconds
        return stop.is_set()


class FakeApi:
    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.objects: dict[Key, dict[str, Any]] = {}
        self.history: list[tuple[int, str, dict[str, Any]]] = []
        self.version = 0
        self.oldest = 0
        self.created = Counter[str]()
        self.before_write = lambda verb, ref: None
        self.after_write = lambda verb, ref: None

    # reading

    def get(self, ref: Ref):
        found = self.objects.get((ref.kind, ref.namespace, ref.name))
        return copy.deepcopy(found)

    def list(self, resource: Resource, namespace=None, selector=""):
        items = [
            copy.deepcopy(item)
            for (kind, where, _), item in sorted(self.objects.items())
            if kind == resource.kind and namespace in (None, where) and _selected(item, selector)
        ]
        return Listing(items=tuple(items), resource_version=str(self.version))

    def watch(self, resource, namespace, selector, resource_version):
        since = int(resource_version)
        if since < self.oldest:
            raise ApiError(410, "Expired", "too old resource version")
        for version, kind, data in list(self.history):
            right = data["kind"] == resource.kind and _selected(data, selector)
            if version > since and right:
                yield WatchEvent(kind=kind, data=copy.deepcopy(data))

    def serves(self, resource) -> bool:
        return False

    # writing

    def create(self, data):
        ref = Ref.of(data)
        self.before_write("create", ref)
        key = (ref.kind, ref.namespace, ref.name)
        if key in self.objects:
            raise ApiError(409, "AlreadyExists", f"{ref.name} already exists")
        item = copy.deepcopy(data)
        if ref.kind in _WITH_STATUS:
            item.pop("status", None)
        metadata = item["metadata"]
        metadata |= {
            "uid": f"uid-{self.version + 1}",
            "creationTimestamp": to_text(self.clock.unix_s()),
        }
        if ref.kind not in _NO_GENERATION:
            metadata["generation"] = 1
        self.created[f"{ref.kind}/{ref.namespace}/{ref.name}"] += 1
        result = self._store(key, item, "ADDED")
        self.after_write("create", ref)
        return result

    def replace(self, data):
        ref = Ref.of(data)
        self.before_write("replace", ref)
        key, old = self._present(ref)
        self._check_version(ref, old, data["metadata"].get("resourceVersion"))
        item = {**copy.deepcopy(data), "status": old.get("status")}
        result = self._update(key, old, item)
        self.after_write("replace", ref)
        return result

    def patch(self, ref, change, *, status=False):
        self.before_write("patch", ref)
        key, old = self._present(ref)
        self._check_version(ref, old, (change.get("metadata") or {}).get("resourceVersion"))
        new = _merge(old, change)
        if status:
            item = {**copy.deepcopy(old), "status": new.get("status")}
        else:
            isolated = ref.kind in _WITH_STATUS
            item = {**new, "status": old.get("status") if isolated else new.get("status")}
        result = self._update(key, old, item)
        self.after_write("patch", ref)
        return result

    def delete(self, ref, uid):
        self.before_write("delete", ref)
        key, old = self._present(ref)
        if uid and old["metadata"]["uid"] != uid:
            raise ApiError(409, "Conflict", "the uid in the precondition differs")
        self._remove(key)
        self.after_write("delete", ref)

    def compact(self) -> None:
        """Watches from before now have to list again."""
        self.oldest = self.version
        self.history = []

    def _present(self, ref):
        key = (ref.kind, ref.namespace, ref.name)
        if key not in self.objects:
            raise ApiError(404, "NotFound", f"{ref.name} not found")
        return key, self.objects[key]

    def _check_version(self, ref, old, version) -> None:
        if version is not None and version != old["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", f"{ref.name} has been modified")

    def _update(self, key, old, item):
        if item.get("status") is None:
            item.pop("status", None)
        item["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        if item == old:
            return copy.deepcopy(old)
        if "generation" in old["metadata"]:
            changed = item.get("spec") != old.get("spec")
            item["metadata"]["generation"] = old["metadata"]["generation"] + changed
        return self._store(key, item, "MODIFIED")

    def _store(self, key, item, kind):
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self.objects[key] = item
        self.history.append((self.version, kind, copy.deepcopy(item)))
        return copy.deepcopy(item)

    def _remove(self, key) -> None:
        item = self.objects.pop(key)
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self.history.append((self.version, "DELETED", item))
        uid = item["metadata"]["uid"]
        for other in [
            k
            for k, v in self.objects.items()
            if any(o["uid"] == uid for o in v["metadata"].get("ownerReferences") or [])
        ]:
            if other in self.objects:
                self._remove(other)


def _selected(item, selector: str) -> bool:
    labels = item["metadata"].get("labels") or {}
    for part in filter(None, selector.split(",")):
        key, eq, value = part.partition("=")
        if key not in labels or (eq and labels[key] != value):
            return False
    return True


def _merge(old, change):
    if not isinstance(change, dict):
        return copy.deepcopy(change)
    merged = dict(copy.deepcopy(old)) if isinstance(old, dict) else {}
    for key, value in change.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged
