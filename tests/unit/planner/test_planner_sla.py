"""The policy ``sla``: room for tails and doubts, backlogs, idle workers, turns, a new start."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from planner_samples import load, model
from planner_stories import agg, plan, run, sizes

from contracts.observation import Observation
from contracts.plan import Role
from planner.core import AggFleet, LoadPredictor, PlannerState, PolicyName, PoolConfig, tick
from planner.core.policies.hold import kept
from planner.core.state import NeedPoint


def steady(rate: float, ready: int, ticks: int, **changes: Any) -> list[Observation]:
    return [agg(5.0 * i, rate, ready, **changes) for i in range(ticks)]


def test_sla_leaves_room_for_the_tail():
    settings = plan(PolicyName.SLA, load_predictor=LoadPredictor.CONSTANT)
    found = run(settings, steady(8.0, 6, 1))[0]
    by_means = 8.0 / found.figures["agg_capacity_requests_per_s"]
    assert by_means < found.figures["agg_need_replicas"] <= 2 * by_means


def test_sla_utilisation_is_a_knob_in_both_directions():
    def need(ratio: float) -> float:
        settings = plan(PolicyName.SLA, utilisation_target_ratio=ratio)
        return run(settings, steady(8.0, 9, 1))[0].figures["agg_need_replicas"]

    assert need(0.5) > need(1.0) > need(2.0)


def test_sla_leaves_more_room_where_a_miss_costs_more():
    def need(price: float) -> float:
        settings = plan(PolicyName.SLA, miss_price=price)
        return run(settings, steady(8.0, 9, 1))[0].figures["agg_need_replicas"]

    assert need(1000.0) > need(2.0)


def test_sla_does_not_order_what_only_one_tick_wanted():
    settings = plan(PolicyName.SLA, startup_s=95.0, load_predictor=LoadPredictor.CONSTANT)
    calm = [4.0] * 14
    rates = [*calm, 6.5, 4.0, 4.0]
    once = run(settings, [agg(5.0 * i, rate, 5) for i, rate in enumerate(rates)])
    assert once[14].figures["agg_need_replicas"] > 5
    assert sizes(once)[14:] == [5, 5, 5]
    rates = calm + [6.5] * 6
    longer = run(settings, [agg(5.0 * i, rate, 5) for i, rate in enumerate(rates)])
    assert (sizes(longer)[-1] or 0) > 5


def test_sla_orders_at_once_where_misses_are_dear():
    def first_order_s(price: float) -> float:
        settings = plan(
            PolicyName.SLA,
            startup_s=95.0,
            load_predictor=LoadPredictor.CONSTANT,
            miss_price=price,
            use_load=False,
        )
        steps = [agg(5.0 * i, 4.0 if i < 14 else 12.0, 9) for i in range(24)]
        sized = run(settings, steps)
        return next(d.now_s for d in sized if (d.replicas(Role.AGG) or 0) > 9)

    assert first_order_s(240.0) == 70.0
    assert first_order_s(24.0) == 80.0


def test_sla_a_small_fleet_pays_more_for_a_miss_unless_the_price_is_given():
    def need(rate: float, ready: int = 9, **changes: Any) -> float:
        settings = plan(PolicyName.SLA, load_predictor=LoadPredictor.CONSTANT, **changes)
        return run(settings, steady(rate, ready, 1))[0].figures["agg_need_replicas"]

    price = plan(PolicyName.SLA, attainment_target=0.9).price
    rates = [0.1 * step for step in range(5, 40)]
    asked = [need(rate, attainment_target=0.9) for rate in rates]
    given = [need(rate, miss_price=price) for rate in rates]
    assert all(a >= g for a, g in zip(asked, given, strict=True))
    assert sum(asked) > sum(given)
    large = [need(40.0, 80, attainment_target=0.9), need(40.0, 80, miss_price=price)]
    assert large[0] == large[1]


def test_sla_lets_many_idle_workers_go_sooner_than_one():
    settings = plan(
        PolicyName.SLA,
        scale_down_hold_s=100.0,
        load_predictor=LoadPredictor.CONSTANT,
        step_replicas_max=20,
    )

    def first_removal_s(ready: int) -> float:
        # Busy until 150 s, so that the whole hold was seen when the load falls.
        story = [agg(5.0 * i, 4.0 * ready if i < 30 else 4.0, ready) for i in range(80)]
        decisions = run(settings, story)
        return next(d.now_s for d in decisions if (d.replicas(Role.AGG) or ready) < ready)

    kept = run(settings, steady(4.0, 12, 1))[0].figures["agg_need_replicas"]
    one, many = first_removal_s(int(kept) + 1), first_removal_s(int(kept) + 6)
    assert one == pytest.approx(245.0)
    assert many == pytest.approx(165.0)


@pytest.mark.parametrize(("rate", "replicas"), [(4.0, 4), (16.0, 12)])
def test_sla_starts_anew_without_a_jump(rate, replicas):
    settings = plan(
        PolicyName.SLA, load_predictor=LoadPredictor.BLEND, interval_s=10.0, trend_history_s=900.0
    )
    counts = np.random.Generator(np.random.PCG64(4)).poisson(rate * 10.0, 80) / 10.0
    busy = load(Role.AGG, running_requests=int(rate * 8))
    story = [agg(10.0 * i, count, replicas, load=busy) for i, count in enumerate(counts)]
    found = [size or 0 for size in sizes(run(settings, story))]
    assert found[:6] == [replicas] * 6
    assert set(found) <= {replicas, replicas + 1}


def test_sla_keeps_its_workers_while_a_backlog_is_there():
    settings = plan(PolicyName.SLA, scale_down_hold_s=0.0, load_predictor=LoadPredictor.CONSTANT)
    queue = load(Role.AGG, waiting_requests=200)
    assert sizes(run(settings, steady(1.0, 12, 3, load=queue))) == [12, 12, 12]


def test_sla_orders_for_the_backlog_only_what_orders_on_the_way_do_not_serve():
    settings = plan(PolicyName.SLA, load_predictor=LoadPredictor.CONSTANT, gpu_budget=64)
    queue = load(Role.AGG, waiting_requests=200)
    alone, helped = (
        run(settings, [agg(0.0, 4.0, 3, starting, load=queue)])[0] for starting in (0, 6)
    )
    assert alone.figures["agg_backlog_requests"] > helped.figures["agg_backlog_requests"]
    assert (alone.replicas(Role.AGG) or 0) > 3


def test_sla_does_not_turn_around_more_often_than_allowed():
    settings = plan(
        PolicyName.SLA,
        scale_down_hold_s=0.0,
        direction_changes_max=2,
        load_predictor=LoadPredictor.CONSTANT,
        step_replicas_max=20,
    )
    position, state, seen_sizes = 2, PlannerState(), []
    for i in range(60):
        observation = agg(5.0 * i, 8.0 if i % 4 < 2 else 1.0, position)
        state, decision = tick(settings, model(), state, observation)
        position = decision.replicas(Role.AGG) or position
        seen_sizes.append(position)
    changes = [b - a for a, b in pairwise(seen_sizes) if a != b]
    turns = sum((a > 0) != (b > 0) for a, b in pairwise(changes))
    assert turns <= 2


def test_sla_scales_to_zero_and_back():
    fleet = AggFleet(pool=PoolConfig(role=Role.AGG, gpus_per_replica=1, min_replicas=0))
    settings = plan(PolicyName.SLA, fleet=fleet, isl_expected=900.0, osl_expected=200.0)
    idle = [agg(5.0 * i, 0.0, 1, lengths=None) for i in range(3)]
    decisions = run(settings, [*idle, agg(15.0, 1.0, 0)])
    assert sizes(decisions)[:3] == [1, 1, 0]
    assert (decisions[3].replicas(Role.AGG) or 0) >= 1


@pytest.mark.parametrize(
    ("idle_s", "foreseen", "stays"), [(300.0, 5, 4), (80.0, 5, 5), (80.0, 4, 4), (50.0, 4, 5)]
)
def test_one_that_nobody_foresees_goes_after_a_fifth_of_the_hold(idle_s, foreseen, stays):
    settings = plan(PolicyName.SLA, scale_down_hold_s=300.0)
    needs = tuple(
        NeedPoint(at_s=10.0 * i, replicas=(5.0 if 10.0 * i <= 600.0 - idle_s else 4.0,))
        for i in range(61)
    )
    state = PlannerState(needs=needs, sighted_since_s=0.0)
    assert kept(settings, state, 0, 5, foreseen) == stays
