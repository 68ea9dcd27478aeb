"""Figures that conditions ask for: of a live cluster, and of the record of a run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from contracts.observation import ClusterSnapshot, WorkerState
from contracts.plan import Role
from contracts.records import RequestStatus, RequestTable
from contracts.units import NS_PER_S
from harness.scenario import Condition
from harness.store import RungRun

FloatArray = npt.NDArray[np.float64]
_STATES = (WorkerState.READY, WorkerState.STARTING, WorkerState.DRAINING)


def live_figures(snapshot: ClusterSnapshot) -> dict[str, float]:
    """The figures of ``TRIGGER_FIGURES``, without pools that the cluster does not have."""
    counters = snapshot.counters
    ended = counters.requests_completed + counters.requests_failed
    figures = {
        "time_s": snapshot.now_s,
        "requests.started": float(counters.requests_started),
        "requests.completed": float(counters.requests_completed),
        "requests.failed": float(counters.requests_failed),
        "requests.open": float(counters.requests_started - ended),
    }
    for load in snapshot.loads:
        pool = f"pool.{load.role.value}"
        states = [worker.state for worker in snapshot.workers if worker.role is load.role]
        figures |= {f"{pool}.{state.value}": float(states.count(state)) for state in _STATES}
        figures |= {
            f"{pool}.running": float(load.running_requests),
            f"{pool}.waiting": float(load.waiting_requests),
            f"{pool}.kv_usage_ratio": load.kv_usage_ratio,
        }
    return figures


def ever_held(condition: Condition, run: RungRun) -> bool:
    """Whether a condition held at an instant at which something happened."""
    instants = _instants(run)
    figures = {term.figure: _figure(term.figure, run, instants) for term in condition.terms}
    return bool(np.any(condition.mask(figures)))


def _instants(run: RungRun) -> FloatArray:
    """Seconds at which a worker changed, the planner ticked, or a request came or ended."""
    table = run.record.table
    workers = [event.since_s for event in run.record.worker_events]
    ticks = [decision.now_s for decision in run.decisions]
    finished = table.finish_ns[table.finish_ns >= 0]
    parts = [workers, ticks, table.arrival_ns / NS_PER_S, finished / NS_PER_S]
    end_s = max([run.record.duration_s, *workers, *ticks])
    return np.unique(
        np.concatenate([*(np.asarray(part, dtype=np.float64) for part in parts), [end_s]])
    )


def _figure(name: str, run: RungRun, at_s: FloatArray) -> FloatArray:
    """The figure at each instant, right after everything that happens then."""
    if name == "time_s":
        return at_s
    kind, _, rest = name.partition(".")
    if kind == "pool":
        role, _, state = rest.partition(".")
        return _workers(run, Role(role), WorkerState(state), at_s)
    if kind == "planner":
        return _planner(run, rest, at_s)
    return _requests(run.record.table, rest, at_s)


def _workers(run: RungRun, role: Role, state: WorkerState, at_s: FloatArray) -> FloatArray:
    times: list[float] = []
    counts: list[int] = []
    now: dict[str, WorkerState] = {}
    for event in run.record.worker_events:
        if event.role is role:
            now[event.worker_id] = event.state
            times.append(event.since_s)
            counts.append(sum(1 for each in now.values() if each is state))
    if not times:
        return np.full(len(at_s), np.nan)
    position = np.searchsorted(np.array(times), at_s, side="right")
    return np.array([0, *counts], dtype=np.float64)[position]


def _requests(table: RequestTable, what: str, at_s: FloatArray) -> FloatArray:
    # A request that never ended counts as ended after the last instant.
    ends_s = np.where(table.finish_ns >= 0, table.finish_ns / NS_PER_S, np.inf)
    if what == "started":
        return _cumulated(table.arrival_ns / NS_PER_S, at_s)
    if what == "open":
        return _cumulated(table.arrival_ns / NS_PER_S, at_s) - _cumulated(ends_s, at_s)
    if what in ("retried", "preempted"):
        column = table.retries if what == "retried" else table.preemptions
        return _cumulated(ends_s, at_s, np.maximum(column, 0).astype(np.float64))
    ended = table.status == RequestStatus(what).value
    # Requests that failed without an end of their own count at the last instant.
    last_s = np.where(np.isinf(ends_s[ended]), at_s[-1], ends_s[ended])
    return _cumulated(last_s, at_s)


def _cumulated(
    times_s: FloatArray, at_s: FloatArray, weights: FloatArray | None = None
) -> FloatArray:
    order = np.argsort(times_s, kind="stable")
    each = np.ones(len(times_s)) if weights is None else weights[order]
    total = np.concatenate([[0.0], np.cumsum(each)])
    return np.asarray(total[np.searchsorted(times_s[order], at_s, side="right")])


def _planner(run: RungRun, what: str, at_s: FloatArray) -> FloatArray:
    wanted = _at_start(run)
    times, hits = [], []
    for decision in run.decisions:
        changes = [t.replicas - wanted.get(t.role, t.replicas) for t in decision.targets]
        wanted |= {t.role: t.replicas for t in decision.targets}
        happened = {
            "ticks": True,
            "held": decision.held,
            "scaled_up": any(change > 0 for change in changes),
            "scaled_down": any(change < 0 for change in changes),
        }
        times.append(decision.now_s)
        hits.append(float(happened[what]))
    return _cumulated(np.array(times, dtype=np.float64), at_s, np.array(hits, dtype=np.float64))


def _at_start(run: RungRun) -> dict[Role, int]:
    first: Mapping[str, Role] = {
        event.worker_id: event.role for event in run.record.worker_events if event.since_s <= 0
    }
    roles = list(first.values())
    return {role: roles.count(role) for role in set(roles)}
