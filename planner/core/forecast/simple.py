"""Last value and moving average."""

from __future__ import annotations

import math
from collections.abc import Sequence

from planner.core.forecast.points import Forecast, RatePoint


def last_value(points: Sequence[RatePoint]) -> Forecast:
    """The last rate; its error is taken as that of a Poisson count."""
    last = points[-1]
    return Forecast(
        rate_per_s=last.rate_per_s,
        slope_per_s2=0.0,
        sd_per_s=math.sqrt(last.rate_per_s / last.window_s),
    )


def moving_average(points: Sequence[RatePoint], window_points: int) -> Forecast:
    """Mean of the last windows, weighted by their lengths, with their scatter."""
    used = points[-window_points:]
    span_s = sum(point.window_s for point in used)
    mean = sum(point.rate_per_s * point.window_s for point in used) / span_s
    scatter = sum((point.rate_per_s - mean) ** 2 for point in used) / max(1, len(used) - 1)
    return Forecast(
        rate_per_s=mean,
        slope_per_s2=0.0,
        sd_per_s=math.sqrt(max(scatter, mean / span_s)),
    )
