"""What each policy proposes, and what the constraints make of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from planner_samples import DISAGG, load, model, seen, workers
from planner_stories import agg, plan, run, sizes

from contracts.observation import Observation, Unknown, WorkerState, WorkerView
from contracts.plan import Role
from contracts.sla import SlaTarget
from planner.core import (
    POLICIES,
    DisaggFleet,
    LoadPredictor,
    PlannerState,
    Policy,
    PolicyName,
    PoolConfig,
    SchedulePoint,
    SingleFleet,
    Thresholds,
    tick,
)
from planner.core.inventory import Inventory, patience_s
from planner.core.policies import PoolProposal, Proposal, View
from planner.core.targets import choose_targets


def test_unknown_is_not_zero_for_any_policy_that_looks():
    blind = agg(5.0, 0.0, 4, traffic=Unknown(reason="timeout", age_s=5.0))
    for name in (PolicyName.SLA, PolicyName.HEADROOM, PolicyName.THROUGHPUT, PolicyName.REACTIVE):
        decision = run(plan(name), [agg(0.0, 4.0, 4), blind])[-1]
        assert decision.held
        assert decision.targets == ()


def test_start_up_times_are_learnt_from_what_is_seen():
    settings = plan(PolicyName.SLA, startup_s=20.0)
    state = PlannerState()
    for i in range(4):
        starting = WorkerView(
            worker_id=f"w{i}", role=Role.AGG, state=WorkerState.STARTING, since_s=100.0 * i
        )
        ready = replace(starting, state=WorkerState.READY, since_s=100.0 * i + 50.0)
        for view, at_s in ((starting, 100.0 * i + 10.0), (ready, 100.0 * i + 55.0)):
            state, decision = tick(
                settings, model(), state, seen(at_s, 2.0, workers=(view,), loads=(load(Role.AGG),))
            )
    assert state.starts_s == (50.0,) * 4
    assert decision.figures["startup_s"] == 50.0
    assert decision.figures["lead_s"] == 55.0


def test_workers_that_never_get_ready_are_given_up_and_ordered_anew():
    settings = plan(PolicyName.SLA, load_predictor=LoadPredictor.CONSTANT, startup_s=20.0)
    fresh, late, after = (
        agg(50.0, 4.0, 1, 2), agg(100.0, 4.0, 1, 2), agg(105.0, 4.0, 1, 0)
    )  # fmt: skip
    decisions = run(settings, [fresh, late, after])
    assert (decisions[0].replicas(Role.AGG) or 0) >= 3
    # Starting workers go before ready ones, so this target gives up the two stuck ones.
    assert decisions[1].replicas(Role.AGG) == 1
    assert "2 are starting for too long and are given up" in decisions[1].reason
    assert decisions[2].replicas(Role.AGG) == decisions[0].replicas(Role.AGG)


def test_patience_grows_while_nothing_starts():
    settings = plan(PolicyName.SLA, load_predictor=LoadPredictor.CONSTANT, startup_s=20.0)
    state, _ = tick(settings, model(), PlannerState(), agg(100.0, 4.0, 1, 2))
    assert (state.given_up, patience_s(settings, state)) == (1, 120.0)
    starting = agg(105.0, 4.0, 1, 1).workers
    state, _ = tick(settings, model(), state, agg(105.0, 4.0, 1, workers=starting))
    assert state.given_up == 1
    started = tuple(replace(w, state=WorkerState.READY, since_s=50.0) for w in starting)
    state, _ = tick(settings, model(), state, agg(110.0, 4.0, 1, workers=started))
    assert (state.given_up, patience_s(settings, state)) == (0, 60.0)


def test_stuck_workers_are_ordered_past_while_others_start():
    def some(now_s: float, late: int) -> Observation:
        early = workers(Role.AGG, 1, late)
        new = WorkerView(
            worker_id="new", role=Role.AGG, state=WorkerState.STARTING, since_s=now_s - 5.0
        )
        return agg(now_s, 4.0, workers=(*early, new))

    settings = plan(PolicyName.SLA, load_predictor=LoadPredictor.CONSTANT, startup_s=20.0)
    clean, stuck = (run(settings, [some(100.0, late)])[0] for late in (0, 2))
    assert stuck.replicas(Role.AGG) == (clean.replicas(Role.AGG) or 0) + 2
    assert "not counted on" in stuck.reason


def test_stuck_workers_do_not_break_the_budget():
    settings = plan(PolicyName.SLA, gpu_budget=4)
    crowd = (
        *workers(Role.AGG, 1, 2),
        WorkerView(worker_id="new", role=Role.AGG, state=WorkerState.STARTING, since_s=95.0),
    )
    assert run(settings, [agg(100.0, 8.0, workers=crowd)])[0].replicas(Role.AGG) == 4


# -- throughput -----------------------------------------------------------------------


def test_throughput_is_rate_over_capacity_without_headroom():
    settings = plan(
        PolicyName.THROUGHPUT,
        fleet=DISAGG,
        sla=SlaTarget(ttft_ms=10_000.0, itl_ms=40.0),
        utilisation_target_ratio=1.0,
        use_load=False,
        load_predictor=LoadPredictor.CONSTANT,
    )
    decision = run(settings, [seen(5.0, 10.0, decode=1)])[0]
    # 10 and 2.5 requests/s for each replica.
    assert (decision.replicas(Role.PREFILL), decision.replicas(Role.DECODE)) == (1, 4)


def test_throughput_decides_at_the_slow_interval_only():
    settings = plan(
        PolicyName.THROUGHPUT,
        use_load=False,
        slow_interval_s=20.0,
        trend_history_s=60.0,
        load_predictor=LoadPredictor.CONSTANT,
    )
    rates = [2.0, 16.0, 16.0, 16.0, 16.0]
    decisions = run(settings, [agg(5.0 * i, rate, 1) for i, rate in enumerate(rates)])
    found = [size or 0 for size in sizes(decisions)]
    assert found[0] == found[3] < found[4]


def test_throughputs_fast_loop_moves_by_one_and_waits_for_starts():
    target = SlaTarget(ttft_ms=2000.0, itl_ms=25.0)
    settings = plan(PolicyName.THROUGHPUT, slow_interval_s=3600.0, use_forecast=False, sla=target)
    busy = load(Role.AGG, running_requests=200)
    calm = load(Role.AGG, running_requests=1)
    assert sizes(run(settings, [agg(5.0, 4.0, 4, load=busy)])) == [5]
    assert sizes(run(settings, [agg(5.0, 4.0, 4, 1, load=busy)])) == [5]
    assert sizes(run(settings, [agg(5.0, 4.0, 4, load=calm)])) == [3]


def test_throughputs_slow_decision_is_a_floor_for_the_fast_loop():
    settings = plan(PolicyName.THROUGHPUT, slow_interval_s=3600.0)
    decision = run(settings, [agg(5.0, 16.0, 1, load=load(Role.AGG, running_requests=1))])[0]
    assert (decision.replicas(Role.AGG) or 0) > 4


# -- reactive -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "ready", "wanted"), [(0.95, 4, 5), (0.5, 4, 4), (0.2, 4, 3), (0.2, 1, 1)]
)
def test_reactive_follows_kv_usage_by_one(usage, ready, wanted):
    settings = plan(PolicyName.REACTIVE, thresholds=Thresholds(decode_up=0.9, decode_down=0.3))
    decision = run(settings, [agg(5.0, 4.0, ready, load=load(Role.AGG, kv_usage_ratio=usage))])[0]
    assert decision.replicas(Role.AGG) == wanted


def test_reactive_refuses_to_go_where_it_would_come_back_from():
    settings = plan(PolicyName.REACTIVE, thresholds=Thresholds(decode_up=0.5, decode_down=0.3))
    decision = run(settings, [agg(5.0, 4.0, 2, load=load(Role.AGG, kv_usage_ratio=0.26))])[0]
    assert decision.replicas(Role.AGG) == 2
    assert "the rest would have KV usage 0.52" in decision.reason


def test_reactive_prefill_scales_on_queued_tokens():
    settings = plan(
        PolicyName.REACTIVE,
        fleet=SingleFleet(pool=DISAGG.prefill),
        thresholds=Thresholds(prefill_up=1000.0, prefill_down=100.0),
    )

    def size(tokens: int) -> int | None:
        queue = load(Role.PREFILL, waiting_prefill_tokens=tokens)
        view = seen(5.0, 1.0, prefill=2, loads=(queue, load(Role.DECODE)))
        return run(settings, [view])[0].replicas(Role.PREFILL)

    assert [size(tokens) for tokens in (0, 400, 2000)] == [1, 2, 3]


# -- schedule, plug-ins ---------------------------------------------------------------


def test_schedule_is_followed_even_without_telemetry():
    points = (SchedulePoint(at_s=0.0, replicas=(2,)), SchedulePoint(at_s=10.0, replicas=(5,)))
    settings = plan(PolicyName.SCHEDULE, schedule=points)
    blind = agg(10.0, 0.0, 2, traffic=Unknown(reason="lost", age_s=1.0))
    assert sizes(run(settings, [agg(0.0, 1.0, 2), agg(5.0, 1.0, 2), blind])) == [2, 2, 5]


def test_a_policy_of_ones_own_is_constrained_like_the_others():
    def propose(view: View) -> Proposal:
        pools = tuple(
            PoolProposal(
                pool=pool, stock=stock, load_known=True, at_least=99, at_most=99,
                wanted=99, need=99.0,
            )
            for pool, stock in zip(view.config.pools, view.stocks, strict=True)
        )  # fmt: skip
        return Proposal(state=view.state, pools=pools)

    mine = {**POLICIES, "sla": Policy(name="sla", propose=propose)}
    settings = plan(PolicyName.SLA, gpu_budget=16, step_replicas_max=50)
    decision = run(settings, [agg(5.0, 1.0, 1)], policies=mine)[0]
    assert decision.replicas(Role.AGG) == 16


# -- constraints ----------------------------------------------------------------------


def both(**limits: Any) -> DisaggFleet:
    return DisaggFleet(
        prefill=PoolConfig(role=Role.PREFILL, gpus_per_replica=1, **limits),
        decode=PoolConfig(role=Role.DECODE, gpus_per_replica=1, **limits),
    )


def test_the_budget_goes_where_attainment_gains_most():
    settings = plan(
        PolicyName.SLA,
        fleet=both(),
        sla=SlaTarget(ttft_ms=1000.0, itl_ms=40.0),
        gpu_budget=6,
        load_predictor=LoadPredictor.CONSTANT,
    )
    decision = run(settings, [seen(5.0, 9.0)])[0]
    prefill, decode = decision.replicas(Role.PREFILL), decision.replicas(Role.DECODE)
    # Decode needs four times as many, but prefill alone must not be the bottleneck.
    assert (prefill, decode) in {(1, 5), (2, 4)}
    assert "the budget of 6 GPUs allows no more" in decision.reason


@pytest.mark.parametrize(("known", "given"), [(True, (6, 3)), (False, (2, 7))])
def test_nobody_is_given_the_workers_of_a_pool_of_unknown_load(known, given):
    settings = plan(PolicyName.SLA, fleet=both(), gpu_budget=9)
    prefill, decode = settings.pools
    proposals = [
        PoolProposal(
            pool=pool, stock=Inventory(ready=ready, position=ready), load_known=load_known,
            at_least=wanted, at_most=wanted, wanted=wanted, need=float(wanted),
        )
        for pool, ready, load_known, wanted in ((prefill, 2, True, 8), (decode, 7, known, 4))
    ]  # fmt: skip
    targets = choose_targets(settings, proposals)
    assert tuple(target.replicas for target in targets) == given


def test_a_ceiling_of_replicas_is_kept():
    decision = run(plan(PolicyName.SLA, fleet=both(max_replicas=2)), [seen(5.0, 16.0)])[0]
    assert all(target.replicas <= 2 for target in decision.targets)
    assert "at most 2 replicas" in decision.reason


def test_the_power_limit_is_kept():
    fleet = both(watts_per_replica=700.0)
    settings = plan(PolicyName.SLA, fleet=fleet, gpu_budget=None, power_limit_w=2900.0)
    decision = run(settings, [seen(5.0, 16.0)])[0]
    assert sum(target.replicas for target in decision.targets) == 4
    assert "power limit of 2900 W" in decision.reason


def test_the_gpu_floor_is_filled():
    settings = plan(PolicyName.SLA, fleet=both(), gpu_floor=6)
    decision = run(settings, [seen(5.0, 1.0)])[0]
    assert sum(target.replicas for target in decision.targets) == 6
    assert "at least 6 GPUs" in decision.reason
