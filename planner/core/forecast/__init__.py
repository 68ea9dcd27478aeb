"""Predictors: from past arrival rates to the distribution of a future one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from planner.core.config import LoadPredictor, PredictorSettings
from planner.core.forecast.arima import autoregressive
from planner.core.forecast.blend import blend
from planner.core.forecast.kalman import Drift, local_trend
from planner.core.forecast.points import Forecast, RatePoint
from planner.core.forecast.seasonal import seasonal
from planner.core.forecast.simple import last_value, moving_average
from planner.core.forecast.trend import forecast_rate

__all__ = ["Forecast", "RatePoint", "forecast_rate", "predict"]


def predict(
    name: LoadPredictor,
    points: Sequence[RatePoint],
    *,
    horizon_s: float,
    settings: PredictorSettings,
    growth_max: float,
) -> Forecast:
    """Forecast the rate ``horizon_s`` seconds after the last window.

    Idle windows before the first arrival say nothing and are skipped.

    Args:
        name: which predictor.
        points: oldest first, at least one.
        horizon_s: how far ahead.
        settings: its knobs.
        growth_max: ``trend`` answers at most this multiple of the last rate.
    """
    first = next((i for i, point in enumerate(points) if point.rate_per_s > 0.0), len(points) - 1)
    points = points[first:]
    if not settings.log1p:
        return _dispatch(name, points, horizon_s, settings, growth_max)
    logs = [replace(point, rate_per_s=math.log1p(point.rate_per_s)) for point in points]
    found = _dispatch(name, logs, horizon_s, settings, growth_max)
    rate = math.expm1(min(found.rate_per_s, 700.0))
    return Forecast(
        rate_per_s=max(0.0, rate),
        slope_per_s2=found.slope_per_s2 * (1.0 + rate),
        sd_per_s=found.sd_per_s * (1.0 + rate),
    )


def _dispatch(
    name: LoadPredictor,
    points: Sequence[RatePoint],
    horizon_s: float,
    settings: PredictorSettings,
    growth_max: float,
) -> Forecast:
    match name:
        case LoadPredictor.CONSTANT:
            return last_value(points)
        case LoadPredictor.MOVING_AVERAGE:
            return moving_average(points, settings.window_points)
        case LoadPredictor.TREND:
            return forecast_rate(points, lead_s=horizon_s, growth_max=growth_max)
        case LoadPredictor.ARIMA:
            return autoregressive(points, horizon_s=horizon_s, window_points=settings.window_points)
        case LoadPredictor.PROPHET:
            return seasonal(
                points,
                horizon_s=horizon_s,
                season_s=settings.season_s,
                window_points=settings.window_points,
            )
        case LoadPredictor.BLEND:
            return blend(points, horizon_s=horizon_s)
        case LoadPredictor.KALMAN:
            if len(points) < settings.kalman_min_points:
                return last_value(points)
            return local_trend(
                points,
                horizon_s=horizon_s,
                drift=Drift(
                    q_level=settings.kalman_q_level,
                    q_trend=settings.kalman_q_trend,
                    noise=settings.kalman_r,
                    logs=settings.log1p,
                    absolute=settings.kalman_absolute,
                ),
            )
