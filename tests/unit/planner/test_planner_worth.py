"""What a replica is worth: least cost of misses and GPU time."""

from __future__ import annotations

import pytest
from planner_samples import AGG, model

from contracts.sla import SlaTarget
from planner.core.capacity import Lengths
from planner.core.forecast import Forecast
from planner.core.sizing import size_pool
from planner.core.worth import best_replicas, best_surge, jump_chance

ONE = size_pool(
    model(), AGG.pool, Lengths(isl=900.0, osl=200.0), SlaTarget(ttft_ms=2000.0, itl_ms=60.0)
)


def best(rate: float, sd: float = 0.0, price: float = 10.0, **changes: float) -> int:
    values = {"rate_per_s_max": 1000.0, "share": 1.0} | changes
    forecast = Forecast(rate_per_s=rate, slope_per_s2=0.0, sd_per_s=sd)
    return best_replicas(ONE, forecast, miss_price=price, **values)


def test_nothing_arrives_nothing_is_worth_it():
    assert best(0.0) == 0


def test_the_answer_costs_least():
    price = 10.0

    def cost(count: int) -> float:
        return count + price / ONE.plain.requests_per_s_max * 8.0 * ONE.missing(count, 8.0)

    found = best(8.0, price=price)
    assert cost(found) == pytest.approx(min(cost(count) for count in range(20)))


@pytest.mark.parametrize(("low", "high"), [(4.0, 8.0), (8.0, 30.0)])
def test_more_load_needs_more(low, high):
    assert best(low) < best(high)


def test_uncertain_rates_and_dear_misses_get_more_room():
    assert best(20.0, sd=4.0) > best(20.0, sd=1.0) >= best(20.0)
    assert best(20.0, sd=4.0, price=50.0) > best(20.0, sd=4.0, price=2.0)


def test_rates_beyond_the_bound_are_not_planned_for():
    assert best(20.0, sd=8.0, rate_per_s_max=20.0) < best(20.0, sd=8.0)


def test_a_share_of_the_capacity_scales_the_rate():
    assert best(10.0, share=0.5) == best(20.0)


def test_large_fleets_need_relatively_less_room():
    small, large = (best(rate) / (rate / ONE.plain.requests_per_s_max) for rate in (4.0, 100.0))
    assert large < small


def test_a_surge_costs_least_too():
    found = best_surge(
        miss_price=10.0,
        rate_per_s=6.0,
        backlog=300.0,
        served_per_s=1.5,
        paid_s=120.0,
        least_s=5.0,
    )

    def cost(count: float) -> float:
        return count * 120.0 + 10.0 / 1.5 * 6.0 * 300.0 / (count * 1.5)

    assert cost(found) <= min(cost(found * 0.95), cost(found * 1.05))


def test_a_surge_is_not_larger_than_what_one_tick_works_off():
    found = best_surge(
        miss_price=1000.0,
        rate_per_s=6.0,
        backlog=30.0,
        served_per_s=1.0,
        paid_s=1.0,
        least_s=10.0,
    )
    assert found == pytest.approx(3.0)


def test_a_forecast_below_zero_needs_no_surge():
    found = best_surge(
        miss_price=10.0,
        rate_per_s=-0.3,
        backlog=5.0,
        served_per_s=1.0,
        paid_s=60.0,
        least_s=10.0,
    )
    assert found == 0.0


def test_only_dear_misses_buy_a_reserve_against_jumps():
    def reserve(price: float, lead_s: float) -> int:
        jump = jump_chance(lead_s)
        return best(20.0, price=price, jump=jump) - best(20.0, price=price)

    assert reserve(24.0, 70.0) == 0
    found = [reserve(price, 70.0) for price in (300.0, 1000.0, 3000.0, 10_000.0)]
    assert found == sorted(found)
    assert found[-1] > found[0]


def test_the_reserve_grows_with_the_lead_time():
    assert jump_chance(0.0) == 0.0 < jump_chance(60.0) < jump_chance(600.0) < 0.01
    short, long = (best(20.0, price=2000.0, jump=jump_chance(s)) for s in (10.0, 300.0))
    assert long > short


def test_the_reserve_stays_within_the_bound_of_the_rate():
    bound = best(20.0, price=1e6, jump=0.1, rate_per_s_max=24.0)
    assert bound <= best(24.0, price=1e6) < best(20.0, price=1e6, jump=0.1)
