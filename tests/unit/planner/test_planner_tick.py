"""Decisions of single ticks and of short sequences, with exact numbers.

In the samples one prefill replica can serve 10 requests/s at ISL 1000 or less, one decode
replica 500 tokens/s, that is 2.5 requests/s at OSL 200. At a utilisation target of 0.8 they
are planned for 8 and 2 requests/s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from planner_samples import AGG, DISAGG, config, load, model, seen, workers

from contracts.decision import Decision
from contracts.observation import Observation, Unknown
from contracts.plan import Role
from contracts.sla import SlaTarget
from planner.core import (
    DisaggFleet,
    LoadPredictor,
    PlannerConfig,
    PlannerState,
    PoolConfig,
    tick,
)


def run(plan: PlannerConfig, observations: Sequence[Observation]) -> list[Decision]:
    state, decisions = PlannerState(), []
    for observation in observations:
        state, decision = tick(plan, model(), state, observation)
        decisions.append(decision)
    return decisions


def once(observation: Observation, **changes: Any) -> Decision:
    return run(config(**changes), [observation])[0]


def counts(decision: Decision) -> tuple[int | None, int | None]:
    return decision.replicas(Role.PREFILL), decision.replicas(Role.DECODE)


def blind(now_s: float, age_s: float = 5.0) -> Observation:
    return seen(now_s, 0.0, traffic=Unknown(reason="timeout", age_s=age_s))


@pytest.mark.parametrize(
    ("rate", "wanted"),
    [(0.1, (1, 1)), (2.0, (1, 1)), (2.1, (1, 2)), (8.0, (1, 4)), (16.0, (2, 8))],
)
def test_replicas_are_rate_over_capacity_rounded_up(rate, wanted):
    assert counts(once(seen(5.0, rate))) == wanted


def test_headroom_raises_the_count():
    assert counts(once(seen(5.0, 8.0), utilisation_target_ratio=0.5)) == (2, 7)


def test_figures_and_reason_carry_the_numbers():
    decision = once(seen(5.0, 8.0))
    assert decision.figures == {
        "rate_per_s": 8.0,
        "forecast_rate_per_s": 8.0,
        "forecast_slope_per_s2": 0.0,
        "lead_s": 25.0,
        "isl_mean_tokens": 900.0,
        "osl_mean_tokens": 200.0,
        "prefill_ready_replicas": 1.0,
        "prefill_position_replicas": 1.0,
        "prefill_need_replicas": 1.0,
        "prefill_wanted_replicas": 1.0,
        "prefill_target_replicas": 1.0,
        "prefill_backlog_requests": 0.0,
        "prefill_capacity_requests_per_s": 8.0,
        "prefill_utilisation_ratio": 0.8,
        "decode_ready_replicas": 1.0,
        "decode_position_replicas": 1.0,
        "decode_need_replicas": 4.0,
        "decode_wanted_replicas": 4.0,
        "decode_target_replicas": 4.0,
        "decode_backlog_requests": 0.0,
        "decode_capacity_requests_per_s": 2.0,
        "decode_utilisation_ratio": 0.8,
    }
    assert decision.reason == (
        "8 requests/s now, 8 expected in 25 s; "
        "prefill: 8 requests/s per replica, 1 wanted, 1 in place, stay; "
        "decode: 2 requests/s per replica, 4 wanted, 1 in place, go to 4."
    )


def test_agg_fleet_scales_its_one_pool():
    observation = seen(5.0, 8.0, workers=tuple(workers(Role.AGG, 1)), loads=(load(Role.AGG),))
    decision = once(observation, fleet=AGG, sla=SlaTarget(ttft_ms=10_000.0, itl_ms=1000.0))
    # 2 requests/s for each replica, 1.6 planned: 5 for 8.
    assert [(t.role, t.replicas) for t in decision.targets] == [(Role.AGG, 5)]


def test_rising_traffic_is_ordered_for_the_time_of_arrival():
    ramp = [seen(5.0 * i, 100.0 + 10.0 * i, lengths=(900.0, 10.0)) for i in range(6)]
    changes: dict[str, Any] = {"gpu_budget": None, "step_replicas_max": 99}
    trend = run(config(**changes), ramp)[-1]
    last = run(config(load_predictor=LoadPredictor.CONSTANT, **changes), ramp)[-1]
    # 150 requests/s now, 2 more every second, lead 25 s.
    assert trend.figures["forecast_rate_per_s"] == pytest.approx(200.0)
    assert counts(trend) == (25, 5)
    assert counts(last) == (19, 4)


def test_workers_on_order_count_and_draining_ones_do_not():
    observation = seen(
        5.0,
        8.0,
        workers=(
            *workers(Role.PREFILL, 1),
            *workers(Role.DECODE, ready=1, starting=2, draining=3),
        ),
    )
    decision = once(observation)
    assert decision.figures["decode_position_replicas"] == 3.0
    assert decision.figures["decode_ready_replicas"] == 1.0
    assert counts(decision) == (1, 4)


def test_excessive_queue_is_worked_off_in_the_drain_time():
    waiting = seen(
        5.0,
        4.0,
        loads=(load(Role.PREFILL, waiting_prefill_tokens=180_000), load(Role.DECODE)),
        decode=2,
    )
    # 200 prompts wait; one ready worker clears 10/s * 10 s = 100 within the TTFT target;
    # 100 in 10 s are 10 requests/s more.
    decision = once(waiting)
    assert decision.figures["prefill_backlog_requests"] == 100.0
    assert counts(decision) == (2, 2)
    assert "100 requests too many in the queue" in decision.reason


def test_queue_within_the_ttft_target_is_no_backlog():
    waiting = seen(
        5.0, 5.0, loads=(load(Role.PREFILL, waiting_prefill_tokens=90_000), load(Role.DECODE))
    )
    assert once(waiting).figures["prefill_backlog_requests"] == 0.0


def test_waiting_decode_requests_are_a_backlog():
    waiting = seen(5.0, 1.0, loads=(load(Role.PREFILL), load(Role.DECODE, waiting_requests=15)))
    # 2.5/s cleared within a TTFT target of 2 s: 10 are too many.
    decision = once(waiting, sla=SlaTarget(ttft_ms=2000.0, itl_ms=40.0))
    assert decision.figures["decode_backlog_requests"] == 10.0
    # 1 + 10/10 requests/s fill one replica.
    assert decision.figures["decode_need_replicas"] == pytest.approx(1.0)


def test_a_queue_counts_once():
    waiting = seen(
        5.0, 0.0, loads=(load(Role.PREFILL), load(Role.DECODE, waiting_requests=125)), decode=1
    )
    # 125 - 25 cleared in 10 s, 100 in the drain time of 10 s: 10 requests/s, 5 replicas;
    # 125 running ones would want 6.25.
    assert once(waiting).figures["decode_need_replicas"] == pytest.approx(5.0)


def test_requests_in_flight_keep_their_replicas():
    busy = seen(5.0, 0.0, loads=(load(Role.PREFILL), load(Role.DECODE, running_requests=50)))
    # 500 tokens/s at 40 ms: 20 requests in flight for each replica.
    decision = once(busy)
    assert decision.figures["decode_need_replicas"] == 2.5
    assert counts(decision) == (1, 3)


def test_down_only_after_the_lower_need_has_held():
    high = [seen(5.0, 8.0, decode=4)]
    low = [seen(t, 2.0, decode=4) for t in (10.0, 15.0, 20.0)]
    decisions = run(config(scale_down_hold_s=10.0), high + low)
    assert [d.replicas(Role.DECODE) for d in decisions] == [4, 4, 4, 1]
    assert "1 wanted, 4 in place, stay (not fewer before" in decisions[2].reason


def test_down_goes_to_the_highest_need_of_the_hold():
    rates = [8.0, 2.0, 5.9, 2.0]
    observations = [seen(5.0 * i, rate, decode=4) for i, rate in enumerate(rates)]
    decisions = run(config(scale_down_hold_s=10.0), observations)
    assert [d.replicas(Role.DECODE) for d in decisions] == [4, 4, 4, 3]


def test_up_is_never_delayed():
    decisions = run(config(), [seen(5.0, 2.0), seen(10.0, 8.0)])
    assert [d.replicas(Role.DECODE) for d in decisions] == [1, 4]


def test_an_order_is_repeated_while_the_inventory_lags_behind():
    decisions = run(config(), [seen(5.0, 8.0), seen(10.0, 6.0)])
    assert [d.replicas(Role.DECODE) for d in decisions] == [4, 4]


def test_measured_zero_traffic_lets_workers_go():
    observations = [seen(5.0 * i, 0.0, prefill=3, decode=4, lengths=None) for i in range(3)]
    decisions = run(config(), observations)
    assert [counts(d) for d in decisions] == [(3, 4), (3, 4), (1, 1)]
    assert not any(d.held for d in decisions)


def test_unknown_traffic_holds_and_says_why():
    decision = once(blind(5.0))
    assert decision.held
    assert decision.targets == ()
    assert decision.reason == "Hold: traffic is unknown (timeout; last read 5 s ago)."
    assert decision.figures["unknown_age_s"] == 5.0
    assert "which is stale" in once(blind(5.0, age_s=20.0)).reason


def test_unknown_traffic_restarts_the_hold_before_scaling_down():
    quiet = [seen(t, 0.0, decode=4) for t in (5.0, 10.0)]
    again = [seen(t, 0.0, decode=4) for t in (20.0, 25.0, 30.0)]
    decisions = run(config(scale_down_hold_s=10.0), [*quiet, blind(15.0), *again])
    assert [d.replicas(Role.DECODE) for d in decisions] == [4, 4, None, 4, 4, 1]


def test_too_long_a_window_holds():
    decision = once(seen(60.0, 10.0, window_s=55.0))
    assert decision.held
    assert "55 s" in decision.reason


def test_unknown_lengths_hold_until_the_first_completion():
    decisions = run(config(), [seen(5.0, 8.0, lengths=None), seen(10.0, 8.0)])
    assert decisions[0].held
    assert "lengths" in decisions[0].reason
    assert counts(decisions[1]) == (1, 4)


def test_expected_lengths_stand_in_for_unknown_ones():
    decision = once(seen(5.0, 8.0, lengths=None), isl_expected=900.0, osl_expected=200.0)
    assert counts(decision) == (1, 4)


def test_lengths_are_smoothed_over_requests():
    few = run(config(), [seen(5.0, 1.0), seen(10.0, 10.0, lengths=(500.0, 100.0))])
    # 50 of 250 requests count.
    assert few[1].figures["isl_mean_tokens"] == pytest.approx(820.0)
    assert few[1].figures["osl_mean_tokens"] == pytest.approx(180.0)
    many = run(config(), [seen(5.0, 1.0), seen(10.0, 400.0, lengths=(500.0, 100.0))])
    assert many[1].figures["isl_mean_tokens"] == pytest.approx(900.0 - 400.0 * 2000 / 2200)


def test_pool_without_load_is_not_shrunk_but_may_grow():
    loads = (load(Role.PREFILL),)
    quiet = [seen(5.0 * i, 1.0, prefill=3, decode=4, loads=loads) for i in range(4)]
    last = run(config(), quiet)[-1]
    assert counts(last) == (1, 4)
    assert "its load is unknown" in last.reason
    assert counts(once(seen(5.0, 16.0, loads=loads))) == (2, 8)


@pytest.mark.parametrize(("budget", "given"), [(5, (1, 4)), (7, (2, 5)), (10, (2, 8))])
def test_budget_goes_to_the_pool_that_is_covered_least(budget, given):
    # Needs 2 prefill (8 requests/s each) and 8 decode (2 requests/s each).
    decision = once(seen(5.0, 16.0), gpu_budget=budget)
    assert counts(decision) == given
    assert ("GPUs allows no more" in decision.reason) == (budget < 10)


def test_budget_counts_gpus_not_replicas():
    fleet = DisaggFleet(
        prefill=PoolConfig(role=Role.PREFILL, gpus_per_replica=1),
        decode=PoolConfig(role=Role.DECODE, gpus_per_replica=4),
    )
    # One decode replica serves 8 requests/s; 10 GPUs hold 2 of them and 2 prefill.
    decision = once(seen(5.0, 32.0), fleet=fleet, gpu_budget=10)
    assert counts(decision) == (2, 2)


def test_budget_takes_from_what_is_held_before_what_is_needed():
    fleet = DISAGG
    observations = [seen(5.0, 1.0, prefill=6, decode=2), seen(10.0, 16.0, prefill=6, decode=2)]
    decision = run(config(fleet=fleet, gpu_budget=8, scale_down_hold_s=60.0), observations)[-1]
    assert counts(decision) == (2, 6)


def test_floors_survive_the_budget():
    fleet = DisaggFleet(
        prefill=PoolConfig(role=Role.PREFILL, gpus_per_replica=1, min_replicas=3),
        decode=PoolConfig(role=Role.DECODE, gpus_per_replica=1),
    )
    assert counts(once(seen(5.0, 16.0), fleet=fleet, gpu_budget=5)) == (3, 2)


def test_step_limit_bounds_both_directions():
    assert counts(once(seen(5.0, 16.0), step_replicas_max=2)) == (2, 3)
    quiet = [seen(5.0 * i, 0.0, decode=7) for i in range(3)]
    last = run(config(step_replicas_max=2), quiet)[-1]
    assert last.replicas(Role.DECODE) == 5
    assert "at most 2 in one tick" in last.reason


def test_a_hopeless_target_is_in_the_reason():
    decision = once(seen(5.0, 1.0), sla=SlaTarget(ttft_ms=10_000.0, itl_ms=1.0))
    assert "ITL target 1 ms is out of reach: the best is 10.0 ms" in decision.reason


def test_state_is_bounded():
    state = PlannerState()
    for i in range(200):
        state, _ = tick(config(), model(), state, seen(5.0 * i, 3.0))
    assert len(state.rates) == 7
    assert len(state.needs) == 3
