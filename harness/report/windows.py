"""Cuts a run into equal windows and counts or measures in each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.observation import WorkerState, WorkerView
from contracts.plan import Role
from contracts.records import RequestTable, RunRecord
from contracts.units import NS_PER_S

FloatArray = npt.NDArray[np.float64]
WIDTHS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)
WINDOWS_MAX = 80


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Windows:
    """A run in windows; arrays have one element for each window.

    Attributes:
        width_s: length of each window.
        start_s: shape (n,), beginnings.
        offered_per_s: arrivals.
        completed_per_s: requests whose last token came in the window.
        ttft_ms: ``p50`` and ``p95`` of the requests that arrived in the window; NaN
            where none of them got a token.
        itl_ms: likewise.
    """

    width_s: float
    start_s: FloatArray
    offered_per_s: FloatArray
    completed_per_s: FloatArray
    ttft_ms: dict[str, FloatArray]
    itl_ms: dict[str, FloatArray]

    @property
    def middle_s(self) -> FloatArray:
        """Middle of each window."""
        return self.start_s + self.width_s / 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Replicas:
    """Workers of one role over time; each count holds from its instant to the next."""

    role: Role
    at_s: FloatArray
    ready: FloatArray
    starting: FloatArray


def horizon_s(record: RunRecord) -> float:
    """End of the last thing that happened."""
    table = record.table
    ends = [record.duration_s]
    ends += [event.since_s for event in record.worker_events]
    if len(table):
        ends += [float(table.arrival_ns.max()) / NS_PER_S, float(table.finish_ns.max()) / NS_PER_S]
    return max(ends)


def cut(table: RequestTable, end_s: float) -> Windows:
    """Windows over a table that has rows."""
    width_s = next((w for w in WIDTHS_S if end_s / w <= WINDOWS_MAX), end_s / WINDOWS_MAX)
    count = max(int(np.ceil(end_s / width_s)), 1)
    edges_s = np.arange(count + 1, dtype=np.float64) * np.float64(width_s)
    arrival_s = table.arrival_ns / NS_PER_S
    finish_s = table.finish_ns[table.completed] / NS_PER_S
    window = np.minimum((arrival_s / width_s).astype(np.int64), count - 1)
    return Windows(
        width_s=width_s,
        start_s=edges_s[:-1],
        offered_per_s=np.bincount(window, minlength=count) / width_s,
        completed_per_s=np.histogram(finish_s, edges_s)[0] / width_s,
        ttft_ms=_percentiles(table.ttft_ms, window, count),
        itl_ms=_percentiles(table.itl_ms, window, count),
    )


def replicas(events: Sequence[WorkerView], end_s: float) -> tuple[Replicas, ...]:
    """Worker counts of each role that had workers, entry pool first."""
    seen = {event.role for event in events}
    return tuple(_replicas(role, events, end_s) for role in Role if role in seen)


def _replicas(role: Role, events: Sequence[WorkerView], end_s: float) -> Replicas:
    states: dict[str, WorkerState] = {}
    counts: dict[float, tuple[int, int]] = {}
    for event in events:
        if event.role is role:
            states[event.worker_id] = event.state
            now = list(states.values())
            counts[event.since_s] = now.count(WorkerState.READY), now.count(WorkerState.STARTING)
    at_s = [*counts, end_s]
    ready = [ready for ready, _ in counts.values()]
    starting = [starting for _, starting in counts.values()]
    return Replicas(
        role=role,
        at_s=np.array(at_s, dtype=np.float64),
        ready=np.array([*ready, ready[-1]], dtype=np.float64),
        starting=np.array([*starting, starting[-1]], dtype=np.float64),
    )


def _percentiles(
    values: FloatArray, window: npt.NDArray[np.int64], count: int
) -> dict[str, FloatArray]:
    found = {"p50": np.full(count, np.nan), "p95": np.full(count, np.nan)}
    known = ~np.isnan(values)
    order = np.argsort(window[known], kind="stable")
    sorted_values, sorted_window = values[known][order], window[known][order]
    for number, start, size in zip(
        *np.unique(sorted_window, return_index=True, return_counts=True), strict=True
    ):
        inside = sorted_values[start : start + size]
        found["p50"][number], found["p95"][number] = np.percentile(inside, (50, 95))
    return found
