"""Forecasts against straight lines, steps and noise."""

from __future__ import annotations

import pytest

from planner.core.forecast import RatePoint, forecast_rate


def points(*rates: float, step_s: float = 5.0) -> list[RatePoint]:
    return [
        RatePoint(at_s=i * step_s, window_s=step_s, rate_per_s=rate) for i, rate in enumerate(rates)
    ]


def test_a_clear_ramp_is_extended_over_the_lead_time():
    found = forecast_rate(points(100, 110, 120, 130, 140, 150), lead_s=20.0, growth_max=10.0)
    assert found.slope_per_s2 == pytest.approx(2.0)
    assert found.rate_per_s == pytest.approx(190.0)


def test_growth_is_capped():
    found = forecast_rate(points(100, 110, 120, 130, 140, 150), lead_s=1000.0, growth_max=1.5)
    assert found.rate_per_s == pytest.approx(225.0)


def test_a_falling_trend_is_ignored():
    found = forecast_rate(points(150, 140, 130, 120, 110, 100), lead_s=20.0, growth_max=10.0)
    assert (found.rate_per_s, found.slope_per_s2) == (100.0, 0.0)


def test_a_rise_within_counting_noise_is_ignored():
    # 2 requests/s in 5 s windows: one more request in a window is no trend.
    found = forecast_rate(points(2.0, 2.0, 2.2, 2.2, 2.4), lead_s=60.0, growth_max=10.0)
    assert (found.rate_per_s, found.slope_per_s2) == (2.4, 0.0)


def test_scatter_beyond_counting_noise_is_no_trend_either():
    found = forecast_rate(points(100, 300, 100, 300, 100, 300), lead_s=20.0, growth_max=10.0)
    assert (found.rate_per_s, found.slope_per_s2) == (300.0, 0.0)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_too_few_points_give_the_last_value(count):
    found = forecast_rate(points(*[100.0 * (i + 1) for i in range(count)]), lead_s=9, growth_max=9)
    assert found.rate_per_s == 100.0 * count


def test_zero_stays_zero():
    found = forecast_rate(points(0, 0, 0, 0, 0, 0), lead_s=60.0, growth_max=2.0)
    assert found.rate_per_s == 0.0
