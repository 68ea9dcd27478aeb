"""Figures of one run: attainment, cost, scaling, recovery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from contracts.decision import Decision
from contracts.observation import WorkerState, WorkerView
from contracts.plan import DeploymentPlan
from contracts.records import RunRecord
from contracts.units import NS_PER_S
from harness.bench.workloads import BenchWorkload
from harness.store.cost import gpu_seconds

_WINDOW_S = 60.0
_WINDOW_TARGET = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One run.

    Attributes:
        offered: requests.
        attainment: share of offered requests that completed with TTFT and mean ITL within
            the targets; unfinished ones count as misses.
        gpu_hours: from the order of a worker to its release, until the workload is over and
            the last request is done.
        goodput_per_gpu_hour: requests within the targets for each GPU-hour.
        scaling_events: changes of how many workers of a pool are wanted.
        direction_changes_per_h: changes from growing to shrinking and back of the pool that
            turns most, for each hour; a run shorter than an hour counts as one.
        violation_minutes: minutes in which fewer than nine of ten arrivals were in target.
        recover_s: longest unbroken such time.
        late_attainment: attainment of the requests that arrive in the last third.
        held_ratio: share of ticks that held.
        blind_removals: workers that were let go in a tick without telemetry.
    """

    offered: int
    attainment: float
    gpu_hours: float
    goodput_per_gpu_hour: float
    scaling_events: int
    direction_changes_per_h: float
    violation_minutes: float
    recover_s: float
    late_attainment: float
    held_ratio: float
    blind_removals: int


def score(
    bench: BenchWorkload,
    plan: DeploymentPlan,
    record: RunRecord,
    decisions: Sequence[Decision],
    blind_s: tuple[float, float] | None,
) -> Score:
    """Judge one run.

    Args:
        bench: what was offered.
        plan: where it ran.
        record: what happened.
        decisions: of the planner, in order.
        blind_s: from when to when telemetry was lost.
    """
    table = record.table
    single = table.completed & (table.osl <= 1)
    good = (table.ttft_ms <= bench.sla.ttft_ms) & ((table.itl_ms <= bench.sla.itl_ms) | single)
    end_s = max(bench.duration_s, float(table.finish_ns.max()) / NS_PER_S)
    seen = tuple(event for event in record.worker_events if event.since_s <= end_s)
    gpu_s = gpu_seconds(replace(record, worker_events=seen, duration_s=end_s), plan) or 0.0
    by_role = [
        _order_steps([event for event in seen if event.role is role], bench.duration_s)
        for role in bench.fleet.roles
    ]
    steps = [step for each in by_role for step in each]
    turns = max(sum(a != b for (_, a), (_, b) in pairwise(each)) for each in by_role)
    arrival_s = table.arrival_ns / NS_PER_S
    late = good[arrival_s >= bench.duration_s * 2 / 3]
    minutes, longest_s = _violations(arrival_s, good)
    removed = 0
    if blind_s is not None:
        removed = sum(step < 0 and blind_s[0] < at_s < blind_s[1] for at_s, step in steps)
    return Score(
        offered=len(table),
        attainment=float(good.mean()),
        gpu_hours=gpu_s / 3600.0,
        goodput_per_gpu_hour=float(good.sum()) / (gpu_s / 3600.0) if gpu_s else 0.0,
        scaling_events=len(steps),
        direction_changes_per_h=turns / max(1.0, bench.duration_s / 3600.0),
        violation_minutes=minutes,
        recover_s=longest_s,
        late_attainment=float(late.mean()) if len(late) else 1.0,
        held_ratio=float(np.mean([d.held for d in decisions])) if decisions else 0.0,
        blind_removals=removed,
    )


def _order_steps(events: Sequence[WorkerView], until_s: float) -> list[tuple[float, int]]:
    """Instants after the start at which workers were ordered (+1) or let go (-1).

    A cancelled start counts as let go; a worker that failed was not let go, and the order
    of its replacement counts like any other.
    """
    changes: dict[float, int] = {}
    known: set[str] = set()
    leaving: set[str] = set()
    for event in events:
        if event.since_s > until_s:
            break
        if event.worker_id not in known:
            known.add(event.worker_id)
            changes[event.since_s] = changes.get(event.since_s, 0) + 1
        elif event.state is WorkerState.DRAINING or (
            event.state is WorkerState.STOPPED and event.worker_id not in leaving
        ):
            leaving.add(event.worker_id)
            changes[event.since_s] = changes.get(event.since_s, 0) - 1
    return [(at_s, 1 if n > 0 else -1) for at_s, n in sorted(changes.items()) if n and at_s > 0]


def _violations(
    arrival_s: npt.NDArray[np.float64], good: npt.NDArray[np.bool_]
) -> tuple[float, float]:
    """Minutes of violation and the longest of them in a row, in seconds."""
    window = (arrival_s // _WINDOW_S).astype(np.int64)
    offered = np.bincount(window)
    met = np.bincount(window, weights=good.astype(np.float64))
    bad = (offered > 0) & (met < _WINDOW_TARGET * offered)
    longest = current = 0
    for value in bad.tolist():
        current = current + 1 if value else 0
        longest = max(longest, current)
    return float(bad.sum()) * _WINDOW_S / 60.0, longest * _WINDOW_S
