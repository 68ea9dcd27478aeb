"""The planner in the simulator's loop: a burst, a small budget, bit-equal repetition."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from planner_samples import AGG, DISAGG

from contracts.curves import DecodeCurves, PrefillCurves
from contracts.observation import WorkerState
from contracts.plan import DeploymentPlan, EngineSpec, Role
from contracts.ports import PrefillChunk
from contracts.records import RunRecord
from contracts.streams import RandomStreams
from contracts.units import FS_PER_S
from contracts.workload import Workload
from planner.adapters.sim import sim_control
from planner.core import CapacityModel, PlannerConfig
from planner.loop import Planner
from simcore.perf import roofline
from simcore.simulation import simulate
from simcore.workload import BurstArrivals, Lengths, synthesize

STARTUP_S = 10.0
BUDGET = 5


def curves(engine: EngineSpec) -> CapacityModel:
    """What a profiler would find: times of the same step-time model."""
    timer = roofline(engine)
    isl = np.array([1000.0, 2000.0, 4000.0, 8000.0])
    ttft_s = np.array(
        [timer.mixed_step_fs(0, 0, [PrefillChunk(int(n), 0)]) / FS_PER_S for n in isl]
    )
    kv_tokens = engine.limits.kv_blocks_total * engine.limits.block_size_tokens
    rows = []
    for context in (2000, 4000, 8000):
        for requests in (1, 8, 16, 32):
            cost = timer.decode_cost(requests)
            step_s = (cost.base_fs + cost.slope_fs * requests * context) / FS_PER_S
            rows.append((requests * context / kv_tokens, context, step_s * 1e3, requests / step_s))
    usage, contexts, itl_ms, tokens_per_s = np.array(rows, dtype=np.float64).T
    return CapacityModel(
        prefill=PrefillCurves(
            prefill_isl=isl, prefill_ttft=ttft_s * 1e3, prefill_thpt_per_gpu=isl / ttft_s
        ),
        decode=DecodeCurves(
            x_kv_usage=usage,
            y_context_length=contexts,
            z_itl=itl_ms,
            z_thpt_per_gpu=tokens_per_s,
            max_kv_tokens=kv_tokens,
        ),
    )


@pytest.fixture(scope="module")
def burst() -> Workload:
    return synthesize(
        BurstArrivals(base_rate_per_s=2.0, peak_rate_per_s=15.0, start_s=60.0, length_s=60.0),
        duration_s=200.0,
        isl=Lengths(mean=4000),
        osl=Lengths(mean=100),
        streams=RandomStreams(7),
    )


def run(plan: DeploymentPlan, burst: Workload, **changes: Any) -> tuple[Planner, RunRecord]:
    config = PlannerConfig(
        fleet=AGG if plan.topology.kind == "agg" else DISAGG,
        sla=plan.sla,
        interval_s=5.0,
        startup_s=STARTUP_S,
        gpu_budget=BUDGET,
        scale_down_hold_s=20.0,
        backlog_drain_s=15.0,
        stale_after_s=15.0,
        trend_history_s=30.0,
        **changes,
    )
    planner = Planner(config, curves(plan.topology.pools[0].engine))
    return planner, simulate(plan, burst, control=sim_control(planner))


def attainment(record: RunRecord) -> float:
    table = record.table
    return float(np.mean((table.ttft_ms <= 500.0) & (table.itl_ms <= 50.0)))


def occupied_max(record: RunRecord) -> int:
    """Most workers that were starting, ready or draining at once."""
    holding = (WorkerState.STARTING, WorkerState.READY, WorkerState.DRAINING)
    alive: set[str] = set()
    most = 0
    for event in record.worker_events:
        (alive.add if event.state in holding else alive.discard)(event.worker_id)
        most = max(most, len(alive))
    return most


def test_a_burst_is_scaled_up_and_down_again(make_agg_plan, burst):
    plan = make_agg_plan(1, startup_s=STARTUP_S, gpu_budget=BUDGET)
    planner, record = run(plan, burst)
    static = simulate(plan, burst)
    sizes = [d.replicas(Role.AGG) for d in planner.decisions if not d.held]
    assert len(record.table) == len(burst) > 1000
    assert sizes[0] == 1
    assert max(sizes) >= 3
    assert sizes[-1] == 1
    assert attainment(record) > attainment(static) + 0.3
    assert planner.counts.scaled_up >= 1
    assert planner.counts.scaled_down >= 1


def test_the_first_order_comes_in_the_first_window_of_the_burst(make_agg_plan, burst):
    plan = make_agg_plan(1, startup_s=STARTUP_S, gpu_budget=BUDGET)
    planner, _ = run(plan, burst)
    first = next(d for d in planner.decisions if (d.replicas(Role.AGG) or 0) > 1)
    assert first.now_s == 65.0


def test_the_clock_starts_with_a_baseline_at_zero(make_agg_plan, burst):
    plan = make_agg_plan(1, startup_s=STARTUP_S, gpu_budget=BUDGET)
    planner, _ = run(plan, burst, isl_expected=4000.0, osl_expected=100.0)
    times = [d.now_s for d in planner.decisions[:3]]
    assert times == [0.0, 5.0, 10.0]
    assert [d.held for d in planner.decisions[:3]] == [True, False, False]


def test_prefill_and_decode_share_the_budget(make_disagg_plan, burst):
    plan = dataclasses.replace(make_disagg_plan(1, 1, startup_s=STARTUP_S), gpu_budget=BUDGET)
    planner, record = run(plan, burst)
    decided = [d for d in planner.decisions if not d.held]
    assert max(d.replicas(Role.PREFILL) or 0 for d in decided) >= 2
    assert all(sum(t.replicas for t in d.targets) <= BUDGET for d in decided)
    assert 3 <= occupied_max(record) <= BUDGET
    assert attainment(record) > attainment(simulate(plan, burst)) + 0.3


def test_repetition_is_bit_equal(make_agg_plan, burst):
    plan = make_agg_plan(1, startup_s=STARTUP_S, gpu_budget=BUDGET)
    (first, record), (second, again) = run(plan, burst), run(plan, burst)
    assert first.decisions == second.decisions
    assert len(first.decisions) > 30
    assert record.digest == again.digest
