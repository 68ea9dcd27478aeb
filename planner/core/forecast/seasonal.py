"""Prophet-like: a trend plus Fourier terms of one season, by ridge regression."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from contracts.curves import FloatArray
from planner.core.forecast.points import Forecast, RatePoint
from planner.core.forecast.simple import last_value

_POINTS_MIN = 5
_HARMONICS = 3
_RIDGE = 1e-3


def seasonal(
    points: Sequence[RatePoint], *, horizon_s: float, season_s: float, window_points: int
) -> Forecast:
    """Fit trend and season to the last windows and read them at the horizon.

    The season counts only when the windows span at least half of it; otherwise, and with
    ``season_s`` 0, only the trend remains. Fewer than five windows give the last value.
    """
    used = points[-window_points:]
    if len(used) < _POINTS_MIN:
        return last_value(points)
    times = np.array([point.at_s for point in used])
    rates = np.array([point.rate_per_s for point in used])
    span_s = float(times[-1] - times[0])
    season_s = season_s if span_s >= season_s / 2.0 else 0.0
    design = _design(times, times[-1], span_s, season_s)
    penalty = _RIDGE * len(used) * np.eye(design.shape[1])
    penalty[0, 0] = 0.0
    weights = np.linalg.solve(design.T @ design + penalty, design.T @ rates)
    residuals = rates - design @ weights
    ahead = _design(np.array([times[-1] + horizon_s]), times[-1], span_s, season_s)
    mean = float((ahead @ weights)[0])
    freedom = max(1, len(used) - design.shape[1])
    return Forecast(
        rate_per_s=max(0.0, mean),
        slope_per_s2=(mean - float(rates[-1])) / horizon_s if horizon_s > 0 else 0.0,
        sd_per_s=math.sqrt(float(residuals @ residuals) / freedom),
    )


def _design(times: FloatArray, origin_s: float, span_s: float, season_s: float) -> FloatArray:
    offset = (times - origin_s) / max(span_s, 1e-9)
    columns = [np.ones(len(times)), offset]
    if season_s > 0.0:
        for harmonic in range(1, _HARMONICS + 1):
            phase = 2.0 * math.pi * harmonic * times / season_s
            columns += [np.sin(phase), np.cos(phase)]
    return np.stack(columns, axis=1)
