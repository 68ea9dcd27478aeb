"""Why latencies of two runs of the same requests differ, request by request."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from contracts.observation import WorkerState
from contracts.plan import Role
from contracts.records import RequestTable
from contracts.units import NS_PER_S
from harness.store import RungRun

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A group of requests whose latencies differ for one reason.

    Attributes:
        mean_ms: their share of the difference of the means over all paired requests; the
            causes of one metric add up to it.
    """

    name: str
    metric: str
    requests: int
    mean_ms: float


def attribute(left: RungRun, right: RungRun) -> tuple[Cause, ...]:
    """Split the difference of mean TTFT and mean E2E (right minus left) by cause.

    Every request that has the latency on both sides belongs to the first cause that fits:
    the deployment has other roles; a fault hit the request, differently on the two sides; it
    was in flight while the two runs had different numbers of ready workers, which is the
    planner's doing; it was preempted a different number of times; or none of these, which
    leaves event loop, operating system and client on a wall clock. Empty when the requests
    differ.
    """
    one, other = left.record.table, right.record.table
    if not _same_requests(one, other):
        return ()
    groups = _groups(left, right)
    causes = []
    for metric in ("ttft_ms", "e2e_ms"):
        apart = getattr(other, metric) - getattr(one, metric)
        known = ~np.isnan(apart)
        count = int(np.count_nonzero(known))
        for name, members in groups.items():
            chosen = members & known
            if count and np.any(chosen):
                causes.append(
                    Cause(
                        name=name,
                        metric=metric,
                        requests=int(np.count_nonzero(chosen)),
                        mean_ms=float(apart[chosen].sum()) / count,
                    )
                )
    return tuple(causes)


def _same_requests(one: RequestTable, other: RequestTable) -> bool:
    return (
        len(one) == len(other)
        and bool(np.array_equal(one.arrival_ns, other.arrival_ns))
        and bool(np.array_equal(one.isl, other.isl))
        and bool(np.array_equal(one.osl, other.osl))
    )


def _groups(left: RungRun, right: RungRun) -> dict[str, BoolArray]:
    one, other = left.record.table, right.record.table
    roles = [{event.role for event in run.record.worker_events} for run in (left, right)]
    tests = {
        "another topology": np.full(len(one), roles[0] != roles[1]),
        "hit by a fault": _hit(left, right),
        "another number of workers": _other_workers(left, right),
        "preempted a different number of times": _preempted(one, other),
        "the same circumstances": np.ones(len(one), dtype=np.bool_),
    }
    taken = np.zeros(len(one), dtype=np.bool_)
    groups = {}
    for name, members in tests.items():
        groups[name] = members & ~taken
        taken |= members
    return groups


def _hit(left: RungRun, right: RungRun) -> BoolArray:
    """Retried differently; where a client recorded one side, retried at all."""
    one, other = left.record.table.retries, right.record.table.retries
    if left.load is None and right.load is None:
        return np.asarray(one != other)
    return np.asarray((one > 0) | (other > 0))


def _preempted(one: RequestTable, other: RequestTable) -> BoolArray:
    seen = (one.preemptions >= 0) & (other.preemptions >= 0)
    return np.asarray(seen & (one.preemptions != other.preemptions))


def _other_workers(left: RungRun, right: RungRun) -> BoolArray:
    """Requests in flight at some instant at which the runs had different ready workers."""
    edges, differ = _different_s(left, right)
    table = right.record.table
    start_s = table.arrival_ns / NS_PER_S
    end_s = np.where(table.finish_ns >= 0, table.finish_ns / NS_PER_S, np.inf)
    hit = np.zeros(len(table), dtype=np.bool_)
    for low, high, apart in zip(edges[:-1], edges[1:], differ, strict=True):
        if apart:
            hit |= (start_s < high) & (end_s > low)
    return hit


def _different_s(left: RungRun, right: RungRun) -> tuple[FloatArray, list[bool]]:
    """Instants at which either side changes, and whether they differ in between.

    Changes of the two sides that lie within a quarter of a second count as one, because
    wall-clock rungs poll.
    """
    steps = [_ready_counts(run) for run in (left, right)]
    times = sorted({at_s for side in steps for at_s, _ in side})
    edges = np.array([*times, np.inf])
    differ = []
    for low, high in pairwise(edges):
        states = [_state_at(side, float(low)) for side in steps]
        differ.append(states[0] != states[1] and high - low > 0.25)
    return edges, differ


def _ready_counts(run: RungRun) -> list[tuple[float, dict[Role, int]]]:
    now: dict[str, tuple[Role, WorkerState]] = {}
    steps = []
    for event in run.record.worker_events:
        now[event.worker_id] = (event.role, event.state)
        ready = [role for role, state in now.values() if state is WorkerState.READY]
        steps.append((event.since_s, {role: ready.count(role) for role in set(ready)}))
    return steps


def _state_at(steps: list[tuple[float, dict[Role, int]]], at_s: float) -> dict[Role, int]:
    state: dict[Role, int] = {}
    for since_s, counts in steps:
        if since_s > at_s:
            break
        state = counts
    return state
