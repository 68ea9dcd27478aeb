"""The attainment that is asked for: its price, and what the planner sees of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planner_samples import config, model, seen
from planner_stories import agg, plan, run

from contracts.errors import InputError
from contracts.observation import Traffic, Unknown
from contracts.sla import SlaTarget
from planner.core import PlannerState, PolicyName, tick
from planner.core.attained import Attained, missed_share, price_factor, with_window
from planner.settings import load_settings, to_config

TARGET = SlaTarget(ttft_ms=3000.0, itl_ms=60.0)
FILE = "mode: agg\nprefill_engine_num_gpu: 1\ndecode_engine_num_gpu: 1\n"


def window(ttft_ms: float | None, itl_ms: float | None, requests: int = 50) -> Traffic:
    return Traffic(
        requests_started=requests, rate_per_s=requests / 10.0, isl_mean=900.0, osl_mean=200.0,
        ttft_ms_mean=ttft_ms, itl_ms_mean=itl_ms,
    )  # fmt: skip


# -- the price ------------------------------------------------------------------------


def test_a_miss_is_dearer_where_more_is_asked_for():
    prices = [plan(PolicyName.SLA, attainment_target=share).price for share in (0.9, 0.95, 0.99)]
    assert prices == sorted(prices)
    assert prices[-1] == pytest.approx(24.0)
    assert prices[0] == pytest.approx(24.0 / 10.0**0.5)
    assert plan(PolicyName.SLA, attainment_target=0.5).price > 1.0


def test_a_price_that_is_given_wins():
    given = plan(PolicyName.SLA, attainment_target=0.999, miss_price=7.0)
    assert given.price == 7.0
    assert run(given, [agg(0.0, 8.0, 6)])[0].figures["miss_price"] == 7.0


@pytest.mark.parametrize("share", [0.4, 0.99999, 1.0, float("nan")])
def test_shares_out_of_range_are_refused(share):
    with pytest.raises(InputError, match="out of range") as caught:
        config(attainment_target=share)
    assert caught.value.path == "attainment_target"


def test_the_setting_reaches_the_config():
    asked = to_config(load_settings(FILE + "attainment_target: 0.95\n", "planner.yaml"))
    assert asked.attainment_target == 0.95
    assert asked.miss_price is None
    assert to_config(load_settings(FILE, "planner.yaml")).attainment_target == 0.99
    assert asked.digest != replace(asked, attainment_target=0.99).digest
    with pytest.raises(InputError, match="attainment_target"):
        load_settings(FILE + "attainment_target: 1.0\n", "planner.yaml")


def test_more_is_ordered_where_more_is_asked_for():
    def need(share: float) -> float:
        settings = plan(PolicyName.SLA, attainment_target=share)
        return run(settings, [agg(0.0, 8.0, 9)])[0].figures["agg_need_replicas"]

    assert need(0.9999) > need(0.6)


# -- what is seen ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ttft_ms", "itl_ms", "low", "high"),
    [
        (300.0, 30.0, 0.0, 0.001),  # far within both
        (300.0, 60.0, 0.49, 0.51),  # half of the requests above the mean ITL
        (300.0, 90.0, 0.99, 1.0),
        (30_000.0, 30.0, 0.9, 1.0),
        (300.0, None, 0.0, 0.001),
        (None, 60.0, 0.49, 0.51),
    ],
)
def test_shares_follow_from_means(ttft_ms, itl_ms, low, high):
    assert low <= missed_share(window(ttft_ms, itl_ms), TARGET) <= high


def test_windows_add_up_and_fade():
    once = with_window(Attained(), window(300.0, 90.0), TARGET, 10.0)
    assert once.requests == 50.0
    assert once.missed == pytest.approx(50.0, rel=0.01)
    later = with_window(once, window(300.0, 30.0), TARGET, 7200.0)
    assert later.missed < 0.02 * once.missed


def test_what_shows_no_latency_says_nothing():
    before = Attained(requests=100.0, missed=5.0)
    assert with_window(before, window(None, None), TARGET, 10.0) == before


def test_missing_data_changes_nothing():
    state = PlannerState(attained=Attained(requests=100.0, missed=5.0))
    blind = seen(5.0, 0.0, traffic=Unknown(reason="lost", age_s=5.0))
    after, _ = tick(config(policy=PolicyName.SLA), model(), state, blind)
    assert after.attained == state.attained


def test_a_deficit_makes_a_miss_dearer_and_a_surplus_cheaper_within_bounds():
    def factor(requests: float, missed: float) -> float:
        return price_factor(Attained(requests=requests, missed=missed), 0.99)

    assert factor(0.0, 0.0) == 1.0
    assert factor(1000.0, 10.0) == pytest.approx(1.0)
    assert 1.0 < factor(1000.0, 20.0) < factor(1000.0, 30.0) <= factor(1000.0, 1000.0) == 4.0
    assert 1.0 > factor(100.0, 0.0) > factor(1000.0, 0.0) >= factor(1e6, 0.0) == 0.7
