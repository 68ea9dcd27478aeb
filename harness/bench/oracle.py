"""Clairvoyant schedules: what could be done by someone who knows the trace.

The need N*(t) is the smoothed realised rate over a replica's capacity at the lengths and
prefix hits of that time, with one knob: the utilisation. Keeping or re-ordering a replica is
decided level by level: replica number k is needed in intervals; between two of them it stays
when the gap is shorter than a start-up, since ordering it again costs that much GPU time.
For a cost that is a sum over levels this is the optimum of the dynamic program over N(t).

*Lead-time feasible*: orders are placed one start-up time before they are needed, never before
the run begins; the simulator then plays them like anybody's. *Instantaneous*: N*(t) itself,
with neither start-up nor minimum stay; a bound that nobody can reach.

*At once*: what can be attained by whoever is not told of a jump. A fleet of a given size
waits for it, orders the whole GPU budget at the very instant of the jump, and keeps it. With
so many replicas before the jump no planner that learns of it from what it observes attains
more; the cost is beside the point.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from contracts.units import NS_PER_S
from harness.bench.fleet import GPU_BUDGET, capacity_model
from harness.bench.workloads import BenchWorkload
from planner.core import SchedulePoint
from planner.core.capacity import Lengths
from planner.core.sizing import Corrections, size_pool

IntArray = npt.NDArray[np.int64]

GRID_S = 30.0
_SMOOTH_S = 90.0
_STAY_S_MIN = 30.0


def needs(bench: BenchWorkload, utilisation: float) -> IntArray:
    """Replicas of each pool needed on the grid, shape (pools, n), at least 1.

    Args:
        bench: the workload.
        utilisation: share of the capacity by means that is used; the knob.
    """
    found = np.ceil(loads(bench) / utilisation - 1e-9).astype(np.int64)
    return np.clip(found, 1, GPU_BUDGET)


def split(bench: BenchWorkload, gpus: int) -> tuple[int, ...]:
    """GPUs dealt to the pools as the whole workload needs them, at least one each."""
    means = loads(bench).mean(axis=1)
    first = [max(1, round(gpus * float(mean / means.sum()))) for mean in means[:-1]]
    return (*first, max(1, gpus - sum(first)))


def loads(bench: BenchWorkload) -> npt.NDArray[np.float64]:
    """Fractional replicas that the realised rate keeps busy on the grid, shape (pools, n)."""
    arrivals_s = bench.workload.arrival_ns / NS_PER_S
    edges = np.arange(0.0, bench.duration_s + GRID_S, GRID_S)
    found = []
    for start_s in edges[:-1]:
        middle_s = start_s + GRID_S / 2
        low_s = max(0.0, middle_s - _SMOOTH_S / 2)
        high_s = min(bench.duration_s, middle_s + _SMOOTH_S / 2)
        low, high = np.searchsorted(arrivals_s, (low_s, high_s))
        if low == high:
            found.append([0.0] * len(bench.fleet.roles))
            continue
        lengths = Lengths(
            isl=float(bench.workload.isl[low:high].mean()),
            osl=float(bench.workload.osl[low:high].mean()),
        )
        hits = Corrections(hit_ratio=bench.hit_ratio(middle_s))
        rate_per_s = (high - low) / (high_s - low_s)
        found.append(
            [
                rate_per_s
                / size_pool(
                    capacity_model(), pool, lengths, bench.sla, hits
                ).plain.requests_per_s_max
                for pool in bench.fleet.pools.pools
            ]
        )
    return np.array(found).T


def instantaneous_gpu_hours(bench: BenchWorkload, utilisation: float) -> float:
    """Cost of N*(t) itself."""
    return float(needs(bench, utilisation).sum()) * GRID_S / 3600.0


def lead_time_schedule(
    bench: BenchWorkload, utilisation: float, startup_s: float
) -> tuple[SchedulePoint, ...]:
    """The cheapest schedule that covers N*(t) with orders that take ``startup_s``."""
    wanted = needs(bench, utilisation)
    changes: dict[float, IntArray] = {}
    for pool, row in enumerate(wanted):
        one = np.zeros(len(wanted), dtype=np.int64)
        one[pool] = 1
        for level in range(1, int(row.max()) + 1):
            for start_s, end_s in _intervals(row >= level, max(startup_s, _STAY_S_MIN)):
                order_s = max(0.0, start_s - startup_s)
                changes[order_s] = changes.get(order_s, 0 * one) + one
                changes[end_s] = changes.get(end_s, 0 * one) - one
    replicas, points = np.zeros(len(wanted), dtype=np.int64), []
    for at_s in sorted(changes):
        replicas = replicas + changes[at_s]
        counts = tuple(np.maximum(1, replicas).tolist())
        points.append(SchedulePoint(at_s=at_s, replicas=counts))
    return tuple(points)


def at_once_schedule(bench: BenchWorkload, replicas: int) -> tuple[SchedulePoint, ...]:
    """So many replicas, and everything from the jump on; without a jump, a static deployment."""
    points = [SchedulePoint(at_s=0.0, replicas=split(bench, replicas))]
    if bench.jump_s is not None:
        points.append(SchedulePoint(at_s=bench.jump_s, replicas=split(bench, GPU_BUDGET)))
    return tuple(points)


def _intervals(needed: npt.NDArray[np.bool_], gap_s: float) -> list[tuple[float, float]]:
    """Times in which a level is kept; gaps up to ``gap_s`` are bridged."""
    found: list[tuple[float, float]] = []
    for index in np.flatnonzero(needed):
        start_s, end_s = float(index) * GRID_S, float(index + 1) * GRID_S
        if found and start_s - found[-1][1] <= gap_s:
            found[-1] = (found[-1][0], end_s)
        else:
            found.append((start_s, end_s))
    return found
