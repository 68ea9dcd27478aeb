"""What a run cost: GPU time of every worker from its order to its end."""

from __future__ import annotations

from contracts.observation import WorkerState
from contracts.plan import DeploymentPlan
from contracts.records import RunRecord

_GONE = frozenset({WorkerState.FAILED, WorkerState.STOPPED})


def gpu_seconds(record: RunRecord, plan: DeploymentPlan) -> float | None:
    """GPU-seconds of one run, start-up and draining included.

    A GPU is paid for as soon as its worker is ordered. ``None`` when no worker was
    ever seen.
    """
    if not record.worker_events:
        return None
    end_s = max(record.duration_s, record.worker_events[-1].since_s)
    gpus = {pool.role: pool.engine.gpus for pool in plan.topology.pools}
    ordered_s: dict[str, float] = {}
    total = 0.0
    for event in record.worker_events:
        if event.state not in _GONE:
            ordered_s.setdefault(event.worker_id, event.since_s)
        elif event.worker_id in ordered_s:
            total += (event.since_s - ordered_s.pop(event.worker_id)) * gpus[event.role]
    roles = {event.worker_id: event.role for event in record.worker_events}
    return total + sum(
        (end_s - since_s) * gpus[roles[worker_id]] for worker_id, since_s in ordered_s.items()
    )
