"""One cell of the benchmark: a policy with one knob on one workload, start-up and fault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from contracts.decision import RoleTarget
from contracts.faults import Fault, LateStart, SlowWorker, WorkerCrash
from contracts.observation import ClusterSnapshot
from contracts.units import NS_PER_S
from harness.bench.fleet import GPU_BUDGET, BenchFleet, capacity_model
from harness.bench.lineup import ENTRANTS
from harness.bench.score import Score, score
from harness.bench.traces import TRACES, trace_workload
from harness.bench.workloads import SHAPES, BenchWorkload, synthetic
from planner.adapters.sim import sim_control
from planner.core import PlannerConfig, PolicyName
from planner.core.capacity import Lengths
from planner.core.sizing import Corrections, size_pool
from planner.loop import Planner
from simcore.simulation import PeriodicControl, simulate

# Faults happen when every synthetic workload is busy; workers that never become ready are
# those that are ordered while the load of most of them rises.
FAULT_S = 3000.0
_NEVER_FROM_S = 2300.0
_NEVER_FOR_S = 900.0
_BLIND_S = 120.0
_SLOW_S = 900.0
_NEVER_S = 1e6
_FIRST_S = 120.0
_START_MISS_RATIO = 0.01

FAULTS = ("none", "crash", "slow-worker", "stale-metrics", "never-ready")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Cell:
    """What is run; everything else follows from these."""

    workload: str
    startup_s: float
    fault: str
    seed: int
    entrant: str
    knob: float


def run_cell(cell: Cell, traces: Path | None = None) -> Score:
    """Simulate one cell.

    Args:
        cell: what to run.
        traces: folder of the trace files, for workloads that are traces.
    """
    bench = realised(cell.workload, cell.seed, traces)
    config = ENTRANTS[cell.entrant].configure(bench, cell.startup_s, cell.knob)
    plan = bench.fleet.deployment(first_replicas(bench, config), cell.startup_s, bench.sla)
    planner = Planner(config, capacity_model())
    blind_s = (FAULT_S, FAULT_S + _BLIND_S) if cell.fault == "stale-metrics" else None
    record = simulate(
        plan,
        bench.workload,
        faults=_faults(cell.fault, bench.fleet),
        control=_blinded(planner, blind_s),
    )
    return score(bench, plan, record, planner.decisions, blind_s)


@lru_cache(maxsize=4)
def realised(name: str, seed: int, traces: Path | None) -> BenchWorkload:
    """The workload; equal for all policies, start-up times and faults."""
    if name in SHAPES:
        return synthetic(SHAPES[name], seed)
    return trace_workload(TRACES[name], seed, traces)


def first_replicas(bench: BenchWorkload, config: PlannerConfig) -> tuple[int, ...]:
    """Workers of each pool that are ready when a run begins.

    Those with a schedule begin with its first point, all others with what the first two
    minutes need, so that nobody is judged by how the run was set up.
    """
    if config.policy is PolicyName.SCHEDULE:
        return tuple(min(GPU_BUDGET, max(1, n)) for n in config.schedule[0].replicas)
    count = int((bench.workload.arrival_ns < _FIRST_S * NS_PER_S).sum())
    lengths = Lengths(
        isl=float(bench.workload.isl[: max(1, count)].mean()),
        osl=float(bench.workload.osl[: max(1, count)].mean()),
    )
    hits = Corrections(hit_ratio=bench.hit_ratio(0.0))
    needs = [
        size_pool(capacity_model(), pool, lengths, bench.sla, hits).replicas(
            count / _FIRST_S, _START_MISS_RATIO
        )
        for pool in bench.fleet.pools.pools
    ]
    return tuple(int(min(GPU_BUDGET, max(1, -(-need // 1)))) for need in needs)


def _faults(name: str, fleet: BenchFleet) -> tuple[Fault, ...]:
    role = fleet.roles[-1]
    match name:
        case "crash":
            return (WorkerCrash(at_s=FAULT_S, role=role),)
        case "slow-worker":
            return (SlowWorker(at_s=FAULT_S, role=role, duration_s=_SLOW_S, factor=2.0),)
        case "never-ready":
            return (LateStart(at_s=_NEVER_FROM_S, duration_s=_NEVER_FOR_S, extra_s=_NEVER_S),)
    return ()


def _blinded(planner: Planner, blind_s: tuple[float, float] | None) -> PeriodicControl:
    """The planner's control, without telemetry for a while."""
    control = sim_control(planner)
    if blind_s is None:
        return control
    start_s, end_s = blind_s

    def act(snapshot: ClusterSnapshot) -> Sequence[RoleTarget]:
        if start_s <= snapshot.now_s < end_s:
            return planner.on_telemetry_lost(snapshot.now_s, "metrics are lost").targets
        return control.act(snapshot)

    return PeriodicControl(interval_s=control.interval_s, act=act)
