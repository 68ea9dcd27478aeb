"""Pods to workers, with the time since when each is in its state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts.observation import WorkerState, WorkerView
from contracts.plan import Role
from dgdr.reconcile.times import to_unix_s
from dgdr.reconcile.workloads import COMPONENT_LABEL
from planner.adapters.traffic import Target

Pod = Mapping[str, Any]

_GROUP_LABEL = "leaderworkerset.sigs.k8s.io/group-index"
_OVER = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPods:
    """The replicas of one component.

    Attributes:
        workers: one for each replica that is wanted or there.
        live: replicas that are there and not terminating, those that cannot start included.
        terminating: replicas whose pods are going away and still hold their GPUs.
        ready: the metrics of replicas that serve.
    """

    workers: tuple[WorkerView, ...]
    live: int
    terminating: int
    ready: tuple[Target, ...]


def belongs(pod: Pod, component: str) -> bool:
    """Whether a pod is of a component; names are compared in lower case."""
    label = (pod["metadata"].get("labels") or {}).get(COMPONENT_LABEL, "")
    return bool(label.lower() == component.lower())


def pool_pods(
    pods: Iterable[Pod], role: Role, *, desired: int, nodes: int, port: int, now_s: float
) -> PoolPods:
    """The replicas of one component.

    Replicas beyond those desired are about to go and count as draining: those that are not
    ready first, then the youngest. Missing ones are ordered and count as starting.

    Args:
        pods: of the component.
        role: of its workers.
        desired: replicas that there shall be.
        nodes: pods of one replica.
        port: of the metrics.
        now_s: seconds since 1970.
    """
    groups: dict[str, list[Pod]] = {}
    for pod in pods:
        labels = pod["metadata"].get("labels") or {}
        own = labels.get(_GROUP_LABEL) if nodes > 1 else None
        groups.setdefault(str(own or pod["metadata"]["name"]), []).append(pod)
    live, gone, workers = [], [], []
    for members in groups.values():
        first = min(members, key=lambda pod: str(pod["metadata"]["name"]))
        state, since_s = _state(members, nodes, now_s)
        view = WorkerView(
            worker_id=first["metadata"]["name"], role=role, state=state, since_s=since_s
        )
        if state is WorkerState.DRAINING:
            gone.append(view)
        elif state is WorkerState.STOPPED:
            workers.append(_over(view))
        else:
            live.append((view, first))
    live.sort(key=lambda pair: _keep_order(*pair))
    workers += [view for view, _ in live[:desired]]
    workers += [
        WorkerView(worker_id=view.worker_id, role=role, state=WorkerState.DRAINING, since_s=now_s)
        for view, _ in live[desired:]
    ]
    return PoolPods(
        workers=tuple(workers + gone),
        live=len(live),
        terminating=len(gone),
        ready=tuple(target(pod, port) for view, pod in live if view.state is WorkerState.READY),
    )


def ordered(pods: PoolPods, role: Role, desired: int, since_s: Sequence[float]) -> PoolPods:
    """The pool with workers for replicas that no pod stands for yet.

    Args:
        pods: the replicas that are there.
        role: of the workers.
        desired: replicas that there shall be.
        since_s: when each of the missing ones was first missed.
    """
    missing = tuple(
        WorkerView(
            worker_id=f"{role.value}-ordered-{index}",
            role=role,
            state=WorkerState.STARTING,
            since_s=since_s[index],
        )
        for index in range(max(0, desired - pods.live))
    )
    return PoolPods(
        workers=pods.workers + missing,
        live=pods.live,
        terminating=pods.terminating,
        ready=pods.ready,
    )


def is_ready(pod: Pod) -> bool:
    """Whether a pod takes traffic and stays."""
    return _since(pod, "Ready", "True") is not None and not pod["metadata"].get("deletionTimestamp")


def target(pod: Pod, port: int) -> Target:
    """Where a pod shows its metrics; a restarted container is another process."""
    status, metadata = pod.get("status") or {}, pod["metadata"]
    containers = status.get("containerStatuses") or [{}]
    restarts = sum(int(each.get("restartCount") or 0) for each in containers)
    running = [(each.get("state") or {}).get("running") or {} for each in containers]
    starts = [to_unix_s(each.get("startedAt")) for each in running]
    known = [start for start in starts if start is not None]
    address = str(status.get("podIP") or metadata["name"])
    host = f"[{address}]" if ":" in address else address
    return Target(
        identity=f"{metadata.get('uid', metadata['name'])}/{restarts}",
        name=str(metadata["name"]),
        url=f"http://{host}:{port}/metrics",
        started_s=max(known, default=None),
    )


def _state(members: Sequence[Pod], nodes: int, now_s: float) -> tuple[WorkerState, float]:
    """The state of a replica and since when: that of its slowest pod.

    A pod that cannot start, or has stopped being ready, fills the place of a replica and is
    tried again: it is starting, for ever longer.
    """
    deleted = [pod["metadata"] for pod in members if pod["metadata"].get("deletionTimestamp")]
    if deleted:
        grace_s = float(deleted[0].get("deletionGracePeriodSeconds") or 0)
        due_s = to_unix_s(deleted[0]["deletionTimestamp"]) or now_s
        return WorkerState.DRAINING, min(now_s, due_s - grace_s)
    created_s = max(_created_s(pod, now_s) for pod in members)
    if any((pod.get("status") or {}).get("phase") in _OVER for pod in members):
        return WorkerState.STOPPED, created_s
    ready = [_since(pod, "Ready", "True") for pod in members]
    times = [since_s for since_s in ready if since_s is not None]
    if len(times) == max(nodes, 1):
        return WorkerState.READY, max(times) or created_s
    unready = [_since(pod, "Ready", "False") or _created_s(pod, now_s) for pod in members]
    return WorkerState.STARTING, max(unready)


def _created_s(pod: Pod, now_s: float) -> float:
    return to_unix_s(pod["metadata"].get("creationTimestamp")) or now_s


def _over(view: WorkerView) -> WorkerView:
    """A pod that has ended has been replaced already; it stays in view as failed."""
    return WorkerView(
        worker_id=view.worker_id, role=view.role, state=WorkerState.FAILED, since_s=view.since_s
    )


def _keep_order(view: WorkerView, pod: Pod) -> tuple[bool, float, str]:
    return view.state is not WorkerState.READY, _created_s(pod, 0.0), view.worker_id


def _since(pod: Pod, kind: str, status: str) -> float | None:
    """Since when (0 if unknown) a condition has a status, None when it has another one."""
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition.get("type") == kind and condition.get("status") == status:
            return to_unix_s(condition.get("lastTransitionTime")) or 0.0
    return None
