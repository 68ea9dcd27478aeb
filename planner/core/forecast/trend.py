"""Last value plus a trend that is real and growing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from planner.core.forecast.points import Forecast, RatePoint

_TREND_POINTS_MIN = 4
_TREND_STANDARD_ERRORS = 2.0


def forecast_rate(points: Sequence[RatePoint], *, lead_s: float, growth_max: float) -> Forecast:
    """The rate ``lead_s`` after the last point.

    The trend is the least-squares slope over all points. It counts only when it is
    positive and above twice its standard error, where the error of each point is at
    least the counting noise of Poisson arrivals, sqrt(rate/window); otherwise noise
    would be extrapolated over the whole lead time and, as falling trends are ignored,
    always upwards.

    Args:
        points: oldest first, at least one.
        lead_s: how far ahead.
        growth_max: the result is at most this multiple of the last rate.
    """
    last_per_s = points[-1].rate_per_s
    slope_per_s2 = _significant_slope(points)
    raised_per_s = min(last_per_s + slope_per_s2 * lead_s, last_per_s * growth_max)
    return Forecast(rate_per_s=max(last_per_s, raised_per_s), slope_per_s2=slope_per_s2)


def _significant_slope(points: Sequence[RatePoint]) -> float:
    count = len(points)
    if count < _TREND_POINTS_MIN:
        return 0.0
    mean_at_s = sum(p.at_s for p in points) / count
    mean_per_s = sum(p.rate_per_s for p in points) / count
    spread_s2 = sum((p.at_s - mean_at_s) ** 2 for p in points)
    if spread_s2 <= 0.0:
        return 0.0
    slope = sum((p.at_s - mean_at_s) * (p.rate_per_s - mean_per_s) for p in points) / spread_s2
    residuals = sum((p.rate_per_s - mean_per_s - slope * (p.at_s - mean_at_s)) ** 2 for p in points)
    mean_window_s = sum(p.window_s for p in points) / count
    variance = max(residuals / (count - 2), mean_per_s / mean_window_s)
    return slope if slope > _TREND_STANDARD_ERRORS * math.sqrt(variance / spread_s2) else 0.0
