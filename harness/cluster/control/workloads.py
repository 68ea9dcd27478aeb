"""ReplicaSets and Deployments."""

from __future__ import annotations

import json
from collections.abc import Iterable
from math import ceil, floor

from harness.cluster.control.client import Client
from harness.cluster.control.loop import Key, key_of
from harness.cluster.objects.meta import (
    Json,
    Obj,
    condition,
    controller_of,
    controller_reference,
    copied,
    deleting,
    digest,
    labels_of,
    meta,
    name_of,
    namespace_of,
    parsed_time,
    set_condition,
    uid_of,
)
from harness.cluster.store import Change

SETS = "replicasets.apps"
DEPLOYMENTS = "deployments.apps"
HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
_OVER = frozenset({"Succeeded", "Failed"})


def _is_ready(pod: Obj) -> bool:
    found = condition(pod, "Ready")
    return found is not None and found.get("status") == "True"


def _owned(client: Client, storage: str, owner: Obj) -> list[Obj]:
    return [
        obj
        for obj in client.store.list(storage, namespace_of(owner))
        if (controller_of(obj) or {}).get("uid") == uid_of(owner)
    ]


class ReplicaSetController:
    """Keeps the wanted number of pods."""

    name = "replicasets"

    def __init__(self, client: Client) -> None:
        self._client = client

    def keys(self, change: Change) -> Iterable[Key]:
        """Sets, and the sets of pods."""
        if change.resource == SETS and change.kind != "DELETED":
            yield key_of(change)
        elif change.resource == "pods":
            owner = controller_of(change.obj)
            if owner is not None and owner.get("kind") == "ReplicaSet":
                yield (namespace_of(change.obj), owner["name"])

    def reconcile(self, namespace: str, name: str) -> float | None:
        """One step for one set."""
        found = self._client.store.get(SETS, namespace, name)
        if found is None or deleting(found):
            return None
        pods = [pod for pod in _owned(self._client, "pods", found) if not deleting(pod)]
        for pod in [p for p in pods if (p.get("status") or {}).get("phase") in _OVER]:
            pods.remove(pod)
            self._client.delete("pods", pod)
        wanted = found["spec"].get("replicas", 1)
        pods += [self._create(found) for _ in range(wanted - len(pods))]
        if len(pods) > wanted:
            order = sorted(pods, key=lambda p: (_is_ready(p), -parsed_created(p)))
            for pod in order[: len(pods) - wanted]:
                pods.remove(pod)
                self._client.delete("pods", pod)
                self._client.event(found, "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")
        least_s = found["spec"].get("minReadySeconds", 0)
        ready = [pod for pod in pods if _is_ready(pod)]
        available = [pod for pod in ready if self._ready_s(pod) >= least_s]
        status: Obj = {"replicas": len(pods), "observedGeneration": found["metadata"]["generation"]}
        if pods:
            status["fullyLabeledReplicas"] = len(pods)
        if ready:
            status["readyReplicas"] = len(ready)
        if available:
            status["availableReplicas"] = len(available)
        self._client.set_status(SETS, found, status)
        return 0.5 if len(available) < len(ready) else None

    def _ready_s(self, pod: Obj) -> float:
        since = (condition(pod, "Ready") or {}).get("lastTransitionTime")
        return self._client.clock.unix_s() - parsed_time(since) if since else 0.0

    def _create(self, found: Obj) -> Obj:
        template = copied(found["spec"]["template"])
        template.setdefault("metadata", {}).update(
            {
                "generateName": f"{name_of(found)}-",
                "namespace": namespace_of(found),
                "ownerReferences": [controller_reference(found)],
            }
        )
        pod = self._client.create("pods", {"apiVersion": "v1", "kind": "Pod", **template})
        self._client.event(found, "SuccessfulCreate", f"Created pod: {name_of(pod)}")
        return pod


def parsed_created(obj: Obj) -> float:
    """Creation time, seconds since 1970."""
    return parsed_time(obj["metadata"]["creationTimestamp"])


class DeploymentController:
    """Rolls from one ReplicaSet to the next when the pod template changes."""

    name = "deployments"

    def __init__(self, client: Client) -> None:
        self._client = client

    def keys(self, change: Change) -> Iterable[Key]:
        """Deployments, and the deployments of sets."""
        if change.resource == DEPLOYMENTS and change.kind != "DELETED":
            yield key_of(change)
        elif change.resource == SETS:
            owner = controller_of(change.obj)
            if owner is not None and owner.get("kind") == "Deployment":
                yield (namespace_of(change.obj), owner["name"])

    def reconcile(self, namespace: str, name: str) -> float | None:
        """One step for one deployment."""
        found = self._client.store.get(DEPLOYMENTS, namespace, name)
        if found is None or deleting(found):
            return None
        sets = _owned(self._client, SETS, found)
        current = self._current(found, sets)
        if current is None and found["spec"].get("paused"):
            return None
        if current is None:
            current = self._create(found, sets)
            sets.append(current)
        old = [item for item in sets if uid_of(item) != uid_of(current)]
        if not found["spec"].get("paused") or not old:
            self._scale(found, current, old)
        self._clean(found, old)
        self._report(found, name_of(current))
        return None

    def _current(self, found: Obj, sets: list[Obj]) -> Obj | None:
        wanted = _template_hash(found)
        return next((s for s in sets if labels_of(s).get(HASH) == wanted), None)

    def _create(self, found: Obj, sets: list[Obj]) -> Obj:
        template = copied(found["spec"]["template"])
        wanted = _template_hash(found)
        labels = {**(template.setdefault("metadata", {}).get("labels") or {}), HASH: wanted}
        template["metadata"]["labels"] = labels
        selector = copied(found["spec"]["selector"])
        selector.setdefault("matchLabels", {})[HASH] = wanted
        revision = 1 + max((_revision(item) for item in sets), default=0)
        created = self._client.create(
            SETS,
            {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "metadata": {
                    "name": f"{name_of(found)}-{wanted}",
                    "namespace": namespace_of(found),
                    "labels": labels,
                    "annotations": {REVISION: str(revision)},
                    "ownerReferences": [controller_reference(found)],
                },
                "spec": {
                    "replicas": 0,
                    "selector": selector,
                    "template": template,
                    "minReadySeconds": found["spec"].get("minReadySeconds", 0),
                },
            },
        )
        new = copied(found)
        meta(new).setdefault("annotations", {})[REVISION] = str(revision)
        self._client.store.put(DEPLOYMENTS, new)
        return created

    def _scale(self, found: Obj, current: Obj, old: list[Obj]) -> None:
        wanted = found["spec"].get("replicas", 1)
        strategy = found["spec"].get("strategy") or {}
        size = {uid_of(item): item["spec"].get("replicas", 0) for item in [current, *old]}
        old_total = sum(size[uid_of(item)] for item in old)
        if strategy.get("type") == "Recreate":
            for item in old:
                self._set_size(found, item, 0)
            alive = sum((item.get("status") or {}).get("replicas", 0) for item in old)
            if alive == 0:
                self._set_size(found, current, wanted)
            return
        rolling = strategy.get("rollingUpdate") or {}
        surge = _share(rolling.get("maxSurge", "25%"), wanted, up=True)
        unavailable = _share(rolling.get("maxUnavailable", "25%"), wanted, up=False)
        if surge == 0 and unavailable == 0:
            unavailable = 1
        room = wanted + surge - old_total
        target = min(wanted, max(room, 0)) if old_total else wanted
        if size[uid_of(current)] != wanted:
            target = max(target, min(size[uid_of(current)], wanted))
            self._set_size(found, current, target)
        available = (current.get("status") or {}).get("availableReplicas", 0)
        ready_old = sum((s.get("status") or {}).get("availableReplicas", 0) for s in old)
        spare = available + ready_old - (wanted - unavailable)
        for item in sorted(old, key=_revision):
            have = size[uid_of(item)]
            sick = have - (item.get("status") or {}).get("availableReplicas", 0)
            cut = min(have, max(0, sick) + max(0, spare))
            spare -= max(0, cut - max(0, sick))
            if cut:
                self._set_size(found, item, have - cut)

    def _set_size(self, found: Obj, item: Obj, size: int) -> None:
        stored = self._client.store.get(SETS, namespace_of(item), name_of(item))
        if stored is None or stored["spec"].get("replicas") == size:
            return
        direction = "up" if size > stored["spec"].get("replicas", 0) else "down"
        new = copied(stored)
        new["spec"]["replicas"] = size
        self._client.update(SETS, new)
        text = f"Scaled {direction} replica set {name_of(item)} to {size}"
        self._client.event(found, "ScalingReplicaSet", text)

    def _clean(self, found: Obj, old: list[Obj]) -> None:
        limit = found["spec"].get("revisionHistoryLimit", 10)
        idle = [s for s in old if not s["spec"].get("replicas") and not _count(s, "replicas")]
        for item in sorted(idle, key=_revision)[: max(0, len(idle) - limit)]:
            self._client.delete(SETS, item)

    def _report(self, found: Obj, current: str) -> None:
        sets = _owned(self._client, SETS, found)
        newest = next((s for s in sets if name_of(s) == current), None)
        wanted = found["spec"].get("replicas", 1)
        available = sum(_count(s, "availableReplicas") for s in sets)
        counts = {
            "replicas": sum(_count(s, "replicas") for s in sets),
            "updatedReplicas": _count(newest or {}, "replicas"),
            "readyReplicas": sum(_count(s, "readyReplicas") for s in sets),
            "availableReplicas": available,
            "unavailableReplicas": max(0, wanted - available),
        }
        stored = self._client.store.get(DEPLOYMENTS, namespace_of(found), name_of(found)) or found
        status = {key: value for key, value in counts.items() if value}
        status["observedGeneration"] = stored["metadata"]["generation"]
        status["conditions"] = self._conditions(stored, counts, wanted, current)
        self._client.set_status(DEPLOYMENTS, stored, status)

    def _conditions(self, found: Obj, counts: dict[str, int], wanted: int, name: str) -> list[Obj]:
        rolling = (found["spec"].get("strategy") or {}).get("rollingUpdate") or {}
        least = wanted - _share(rolling.get("maxUnavailable", "25%"), wanted, up=False)
        enough = counts["availableReplicas"] >= least
        done = counts["updatedReplicas"] == wanted == counts["availableReplicas"]
        wanted_conditions = (
            {
                "type": "Available",
                "status": "True" if enough else "False",
                "reason": "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
                "message": "Deployment has minimum availability."
                if enough
                else "Deployment does not have minimum availability.",
            },
            {
                "type": "Progressing",
                "status": "True",
                "reason": "NewReplicaSetAvailable" if done else "ReplicaSetUpdated",
                "message": f'ReplicaSet "{name}" has successfully progressed.'
                if done
                else f'ReplicaSet "{name}" is progressing.',
            },
        )
        now = self._client.now()
        conditions = (found.get("status") or {}).get("conditions") or []
        for item in wanted_conditions:
            conditions = set_condition(conditions, item, now)
        return [{**item, "lastUpdateTime": item["lastTransitionTime"]} for item in conditions]


def _count(obj: Obj, field: str) -> int:
    return int((obj.get("status") or {}).get(field, 0))


def _revision(obj: Obj) -> int:
    return int((meta(obj).get("annotations") or {}).get(REVISION, 0))


def _template_hash(found: Obj) -> str:
    return digest(json.dumps(found["spec"]["template"], sort_keys=True), 10)


def _share(value: Json, total: int, *, up: bool) -> int:
    text = str(value)
    if text.endswith("%"):
        part = total * int(text[:-1]) / 100
        return ceil(part) if up else floor(part)
    return int(text)
