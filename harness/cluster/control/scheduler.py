"""Binds pods to nodes: resources, node selectors, node affinity, taints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal

from harness.cluster.control.client import Client
from harness.cluster.control.loop import Key, key_of
from harness.cluster.objects.meta import (
    Obj,
    copied,
    deleting,
    labels_of,
    name_of,
    namespace_of,
    set_condition,
)
from harness.cluster.objects.quantity import parse_quantity
from harness.cluster.objects.selectors import matches_expression
from harness.cluster.store import Change

_OVER = frozenset({"Succeeded", "Failed"})
_GPU = "nvidia.com/gpu"


def pod_requests(pod: Obj) -> dict[str, Decimal]:
    """What a pod asks for: sum of its containers, or the largest init container."""
    total: dict[str, Decimal] = {"pods": Decimal(1)}
    spec = pod.get("spec") or {}
    for container in spec.get("containers") or ():
        for key, value in _requests(container).items():
            total[key] = total.get(key, Decimal(0)) + value
    for container in spec.get("initContainers") or ():
        for key, value in _requests(container).items():
            total[key] = max(total.get(key, Decimal(0)), value)
    return total


def _requests(container: Obj) -> dict[str, Decimal]:
    resources = container.get("resources") or {}
    found = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {key: parse_quantity(value) for key, value in found.items()}


class Scheduler:
    """One pod at a time; nodes with the fewest free GPUs that fit come first."""

    name = "scheduler"

    def __init__(self, client: Client) -> None:
        self._client = client

    def keys(self, change: Change) -> Iterable[Key]:
        """Pods without a node; all of them when room may have appeared."""
        if change.resource == "pods" and change.kind != "DELETED" and _waits(change.obj):
            yield key_of(change)
        freed = change.resource == "pods" and (
            change.kind == "DELETED" or (change.obj.get("status") or {}).get("phase") in _OVER
        )
        if freed or change.resource == "nodes":
            for pod in self._client.store.list("pods"):
                if _waits(pod):
                    yield (namespace_of(pod), name_of(pod))

    def reconcile(self, namespace: str, name: str) -> float | None:
        """Bind one pod, or say why it cannot be."""
        pod = self._client.store.get("pods", namespace, name)
        if pod is None or not _waits(pod):
            return None
        nodes = self._client.store.list("nodes")
        reasons: Counter[str] = Counter()
        fitting: list[tuple[Decimal, str]] = []
        for node in nodes:
            free = self._free(node)
            why = _refusal(pod, node, free)
            reasons.update(why)
            if not why:
                fitting.append((free.get(_GPU, Decimal(0)), name_of(node)))
        if fitting:
            self._bind(pod, min(fitting)[1])
        else:
            listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
            self._refuse(pod, f"0/{len(nodes)} nodes are available: {listed or 'no nodes'}.")
        return None

    def _free(self, node: Obj) -> dict[str, Decimal]:
        allocatable = (node.get("status") or {}).get("allocatable") or {}
        free = {key: parse_quantity(value) for key, value in allocatable.items()}
        for pod in self._client.store.list("pods"):
            phase = (pod.get("status") or {}).get("phase")
            if (pod.get("spec") or {}).get("nodeName") == name_of(node) and phase not in _OVER:
                for key, value in pod_requests(pod).items():
                    if key in free:
                        free[key] -= value
        return free

    def _bind(self, pod: Obj, node: str) -> None:
        new = copied(pod)
        new["spec"]["nodeName"] = node
        status = new.setdefault("status", {})
        wanted = {"type": "PodScheduled", "status": "True"}
        status["conditions"] = set_condition(
            status.get("conditions") or [], wanted, self._client.now()
        )
        self._client.store.put("pods", new)
        where = f"{namespace_of(pod)}/{name_of(pod)}"
        self._client.event(pod, "Scheduled", f"Successfully assigned {where} to {node}")

    def _refuse(self, pod: Obj, message: str) -> None:
        status = copied(pod.get("status") or {})
        wanted = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
        }
        status["conditions"] = set_condition(
            status.get("conditions") or [], wanted, self._client.now()
        )
        if status != pod.get("status"):
            self._client.set_status("pods", pod, status)
            self._client.event(pod, "FailedScheduling", message, warning=True)


def _waits(pod: Obj) -> bool:
    spec = pod.get("spec") or {}
    phase = (pod.get("status") or {}).get("phase")
    return not (
        spec.get("nodeName") or spec.get("schedulingGates") or deleting(pod) or phase in _OVER
    )


def _refusal(pod: Obj, node: Obj, free: dict[str, Decimal]) -> list[str]:
    """Why a node does not take a pod, in the scheduler's words; empty if it does."""
    spec = pod.get("spec") or {}
    if (node.get("spec") or {}).get("unschedulable"):
        return ["node(s) were unschedulable"]
    taint = _untolerated(spec, node)
    if taint is not None:
        text = f"{taint['key']}: {taint['value']}" if taint.get("value") else f"{taint['key']}: "
        return [f"node(s) had untolerated taint {{{text}}}"]
    if not _selected(spec, node):
        return ["node(s) didn't match Pod's node affinity/selector"]
    short = [key for key, value in pod_requests(pod).items() if value > free.get(key, Decimal(0))]
    return [f"Insufficient {key}" if key != "pods" else "Too many pods" for key in short]


def _untolerated(spec: Obj, node: Obj) -> Obj | None:
    tolerations = spec.get("tolerations") or ()
    for taint in (node.get("spec") or {}).get("taints") or ():
        if taint.get("effect") == "PreferNoSchedule":
            continue
        if not any(_tolerates(item, taint) for item in tolerations):
            found: Obj = taint
            return found
    return None


def _tolerates(toleration: Obj, taint: Obj) -> bool:
    if toleration.get("effect") not in {None, "", taint.get("effect")}:
        return False
    if not toleration.get("key"):
        return toleration.get("operator") == "Exists"
    if toleration["key"] != taint.get("key"):
        return False
    same = (toleration.get("value") or "") == (taint.get("value") or "")
    return toleration.get("operator") == "Exists" or same


def _selected(spec: Obj, node: Obj) -> bool:
    labels = labels_of(node)
    wanted = spec.get("nodeSelector") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    must = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not must:
        return True
    return any(
        all(matches_expression(rule, labels) for rule in term.get("matchExpressions") or ())
        and all(
            matches_expression(rule, {"metadata.name": name_of(node)})
            for rule in term.get("matchFields") or ()
        )
        for term in must.get("nodeSelectorTerms") or ()
    )
