"""Predictors against straight lines, steps, seasons and noise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from planner.core.config import LoadPredictor, PredictorSettings
from planner.core.forecast import Forecast, RatePoint, forecast_rate, predict

NAMES = list(LoadPredictor)


def points(*rates: float, step_s: float = 5.0) -> list[RatePoint]:
    return [
        RatePoint(at_s=i * step_s, window_s=step_s, rate_per_s=rate) for i, rate in enumerate(rates)
    ]


def found(name: LoadPredictor, *rates: float, horizon_s: float = 20.0, **knobs: object) -> Forecast:
    return predict(
        name,
        points(*rates),
        horizon_s=horizon_s,
        settings=PredictorSettings(**knobs),
        growth_max=10.0,
    )


def test_a_clear_ramp_is_extended_over_the_lead_time():
    ramp = forecast_rate(points(100, 110, 120, 130, 140, 150), lead_s=20.0, growth_max=10.0)
    assert ramp.slope_per_s2 == pytest.approx(2.0)
    assert ramp.rate_per_s == pytest.approx(190.0)


def test_growth_is_capped():
    ramp = forecast_rate(points(100, 110, 120, 130, 140, 150), lead_s=1000.0, growth_max=1.5)
    assert ramp.rate_per_s == pytest.approx(225.0)


def test_a_falling_trend_is_ignored():
    fall = forecast_rate(points(150, 140, 130, 120, 110, 100), lead_s=20.0, growth_max=10.0)
    assert (fall.rate_per_s, fall.slope_per_s2) == (100.0, 0.0)


def test_a_rise_within_counting_noise_is_ignored():
    # 2 requests/s in 5 s windows: one more request in a window is no trend.
    noise = forecast_rate(points(2.0, 2.0, 2.2, 2.2, 2.4), lead_s=60.0, growth_max=10.0)
    assert (noise.rate_per_s, noise.slope_per_s2) == (2.4, 0.0)


def test_scatter_beyond_counting_noise_is_no_trend_either():
    noise = forecast_rate(points(100, 300, 100, 300, 100, 300), lead_s=20.0, growth_max=10.0)
    assert (noise.rate_per_s, noise.slope_per_s2) == (300.0, 0.0)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_too_few_points_give_the_last_value(count):
    rates = points(*[100.0 * (i + 1) for i in range(count)])
    assert forecast_rate(rates, lead_s=9, growth_max=9).rate_per_s == 100.0 * count


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("log1p", [False, True])
def test_zero_stays_zero(name, log1p):
    assert found(name, *[0.0] * 8, log1p=log1p).rate_per_s == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("log1p", [False, True])
def test_a_constant_rate_is_forecast_as_such(name, log1p):
    assert found(name, *[40.0] * 40, log1p=log1p).rate_per_s == pytest.approx(40.0, rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_one_window_is_enough(name):
    assert found(name, 7.0).rate_per_s == pytest.approx(7.0)


@pytest.mark.parametrize("name", [n for n in NAMES if n is not LoadPredictor.TREND])
def test_higher_quantiles_are_higher_and_none_is_negative(name):
    rng = np.random.Generator(np.random.PCG64(1))
    forecast = found(name, *rng.poisson(3.0, 30).astype(float))
    quantiles = [forecast.quantile(p) for p in (0.01, 0.1, 0.5, 0.9, 0.99)]
    assert quantiles == sorted(quantiles)
    assert quantiles[0] >= 0.0
    assert quantiles[-1] > quantiles[2]


@pytest.mark.parametrize("name", [LoadPredictor.KALMAN, LoadPredictor.PROPHET, LoadPredictor.TREND])
def test_ramps_are_followed(name):
    ramp = found(name, *[100.0 + i for i in range(80)], horizon_s=100.0)
    # 179 now, 0.2/s more each second.
    assert ramp.rate_per_s == pytest.approx(199.0, rel=0.04)


def test_arima_finds_the_drift_of_a_ramp():
    ramp = found(LoadPredictor.ARIMA, *[100.0 + 10.0 * i for i in range(40)], horizon_s=20.0)
    assert ramp.rate_per_s == pytest.approx(530.0, rel=0.01)


def test_arima_returns_to_the_mean_of_an_autoregressive_series():
    rng = np.random.Generator(np.random.PCG64(3))
    values = [50.0]
    for _ in range(200):
        values.append(50.0 + 0.5 * (values[-1] - 50.0) + rng.normal(0.0, 2.0))
    values[-1] = 60.0
    far = found(LoadPredictor.ARIMA, *values, horizon_s=200.0, window_points=200)
    assert far.rate_per_s == pytest.approx(50.0, abs=2.0)


def test_the_filter_believes_a_step_at_once():
    steady = [3.0, 3.2, 2.8, 3.0, 3.1, 2.9] * 5
    before = found(LoadPredictor.KALMAN, *steady, horizon_s=0.0)
    after = found(LoadPredictor.KALMAN, *steady, 9.0, horizon_s=0.0)
    assert before.rate_per_s == pytest.approx(3.0, abs=0.2)
    assert after.rate_per_s > 7.0


def test_the_filter_smooths_counting_noise():
    rng = np.random.Generator(np.random.PCG64(5))
    rates = rng.poisson(25.0, 60) / 5.0
    level = found(LoadPredictor.KALMAN, *rates, horizon_s=0.0)
    assert level.rate_per_s == pytest.approx(5.0, abs=0.5)
    assert level.sd_per_s < 0.5


def test_the_filters_quantiles_cover_what_comes():
    rng = np.random.Generator(np.random.PCG64(8))
    inside = 0
    for _ in range(100):
        rates = rng.poisson(30.0, 31) / 5.0
        forecast = found(LoadPredictor.KALMAN, *rates[:-1], horizon_s=5.0)
        inside += forecast.quantile(0.05) <= 6.0 <= forecast.quantile(0.95)
    assert inside >= 80


def test_absolute_variances_are_upstreams():
    rates = [10.0, 12.0, 11.0, 13.0, 12.0, 14.0]
    slow = found(
        LoadPredictor.KALMAN, *rates, kalman_absolute=True, kalman_q_level=1e-9,
        kalman_q_trend=1e-12, kalman_r=1.0,
    )  # fmt: skip
    fast = found(
        LoadPredictor.KALMAN, *rates, kalman_absolute=True, kalman_q_level=10.0,
        kalman_q_trend=1e-12, kalman_r=1e-3,
    )  # fmt: skip
    assert abs(fast.rate_per_s - 14.0) < abs(slow.rate_per_s - 14.0)


def test_few_points_give_the_filters_last_value():
    assert found(LoadPredictor.KALMAN, 3.0, 9.0, kalman_min_points=5).rate_per_s == 9.0


def test_the_season_comes_back():
    rates = [50.0 + 20.0 * math.sin(2.0 * math.pi * i / 24.0) for i in range(48)]
    forecast = found(
        LoadPredictor.PROPHET, *rates, horizon_s=35.0, season_s=120.0, window_points=48
    )
    # Seven windows after the last one: position 54, a quarter of a season after a start.
    assert forecast.rate_per_s == pytest.approx(70.0, rel=0.05)


def test_idle_windows_before_the_first_arrival_say_nothing():
    assert found(LoadPredictor.MOVING_AVERAGE, 0.0, 0.0, 4.0, 4.0).rate_per_s == 4.0
    assert found(LoadPredictor.MOVING_AVERAGE, 4.0, 0.0, 0.0, 4.0).rate_per_s == 2.0


def test_the_blend_is_narrow_on_a_steady_rate_and_wide_on_a_moving_one():
    rng = np.random.Generator(np.random.PCG64(4))
    steady = rng.poisson(100.0, 90) / 5.0
    moving = rng.poisson(100.0 + 80.0 * np.sin(np.arange(90) / 12.0)) / 5.0
    calm, busy = (
        found(LoadPredictor.BLEND, *rates, horizon_s=300.0).sd_per_s for rates in (steady, moving)
    )
    assert calm < 0.7 * busy


def test_the_blend_follows_a_ramp_but_not_for_ever():
    ramp = [5.0 + 0.05 * i for i in range(90)]
    near = found(LoadPredictor.BLEND, *ramp, horizon_s=30.0)
    far = found(LoadPredictor.BLEND, *ramp, horizon_s=3000.0)
    # 9.45 now, 0.01/s more each second.
    assert near.rate_per_s == pytest.approx(9.8, abs=0.2)
    assert 12.0 < far.rate_per_s < 9.45 + 0.01 * 900.0
    assert far.sd_per_s > near.sd_per_s


def test_the_blend_believes_a_step_within_two_windows():
    rates = [3.0, 3.2, 2.8, 3.0, 3.1, 2.9] * 8
    after = found(LoadPredictor.BLEND, *rates, 9.0, 9.1, horizon_s=0.0)
    assert after.rate_per_s > 6.5
