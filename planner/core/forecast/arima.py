"""ARIMA(p, d, 0) by least squares, order chosen by AIC.

Moving-average terms are left out: an autoregression of a few lags stands in for them, needs
no iterative fit, and so never fails to converge. The variance of the forecast h steps ahead
is s2 * sum of squared psi weights (Box and Jenkins).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from contracts.curves import FloatArray
from planner.core.forecast.points import Forecast, RatePoint
from planner.core.forecast.simple import last_value

_POINTS_MIN = 5
_LAGS_MAX = 3


def autoregressive(
    points: Sequence[RatePoint], *, horizon_s: float, window_points: int
) -> Forecast:
    """Fit the last windows and forecast; the last value with fewer than five of them.

    Windows are taken as equally long and following each other.
    """
    used = points[-window_points:]
    series = np.array([point.rate_per_s for point in used])
    if len(series) < _POINTS_MIN:
        return last_value(points)
    if float(np.ptp(series)) == 0.0:
        return Forecast(rate_per_s=float(series[-1]), slope_per_s2=0.0)
    step_s = max((used[-1].at_s - used[0].at_s) / (len(used) - 1), 1e-9)
    steps = max(1, math.ceil(horizon_s / step_s))
    fits = [
        _fit(series, lags, difference)
        for difference in (0, 1)
        for lags in range(_LAGS_MAX + 1)
        if len(series) - difference - lags >= lags + 3
    ]
    _, lags, difference, weights, variance = min(fits, key=lambda fit: fit[0])
    mean = _extend(series, lags, difference, weights, steps)
    spread = _psi_sum(lags, difference, weights, steps)
    return Forecast(
        rate_per_s=max(0.0, mean),
        slope_per_s2=(mean - float(series[-1])) / (steps * step_s),
        sd_per_s=math.sqrt(variance * spread),
    )


def _fit(
    series: FloatArray, lags: int, difference: int
) -> tuple[float, int, int, FloatArray, float]:
    """AIC, order, weights (constant first) and residual variance of one order.

    All orders are judged on the same last values, so that their AICs compare.
    """
    values = np.diff(series) if difference else series
    skip = _LAGS_MAX + 1 - difference
    skip = skip if len(values) - skip > lags + 2 else lags
    target = values[skip:]
    columns = [np.ones(len(target))]
    columns += [values[skip - lag : len(values) - lag] for lag in range(1, lags + 1)]
    design = np.stack(columns, axis=1)
    weights: FloatArray = np.asarray(
        np.linalg.lstsq(design, target, rcond=None)[0], dtype=np.float64
    )
    residuals = target - design @ weights
    squares = float(residuals @ residuals)
    count, parameters = len(target), lags + 1
    aic = count * math.log(max(squares / count, 1e-12)) + 2 * parameters
    return aic, lags, difference, weights, squares / max(1, count - parameters)


def _extend(
    series: FloatArray, lags: int, difference: int, weights: FloatArray, steps: int
) -> float:
    values = list(np.diff(series) if difference else series)
    total = float(series[-1])
    value = total
    for _ in range(steps):
        value = float(weights[0] + sum(weights[lag] * values[-lag] for lag in range(1, lags + 1)))
        values.append(value)
        total += value
    return total if difference else value


def _psi_sum(lags: int, difference: int, weights: FloatArray, steps: int) -> float:
    psi = [1.0]
    for index in range(1, steps):
        psi.append(sum(weights[lag] * psi[index - lag] for lag in range(1, min(lags, index) + 1)))
    used = np.cumsum(psi) if difference else np.array(psi)
    return float(used @ used)
