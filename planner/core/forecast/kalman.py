"""Local linear trend: level and slope, followed by a Kalman filter that allows jumps.

The state (level, slope) drifts: over dt seconds the level gains the variance q_level*dt and
the slope q_trend*dt, both times the squared level, so that the filter works alike at every
scale. Counting arrivals of a Poisson process for T seconds has the variance rate/T, which is
the observation noise. A window that lies far outside of what was expected widens the level's
variance, so that a step is believed at once instead of being smoothed away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from planner.core.forecast.points import Forecast, RatePoint

# An innovation of this many standard deviations is a jump.
_JUMP_SDS = 3.0
# Standard deviation of the slope before anything is known, relative to the level.
_FIRST_SLOPE_RATIO = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How fast the state moves and how noisy an observation is.

    Attributes:
        q_level: variance of the level for each second, relative to its square.
        q_trend: variance of the slope for each second, relative to the level's square.
        noise: observation variance in multiples of Poisson noise.
        logs: the rates are log(1 + rate); noise is transformed and drift not relative.
        absolute: nothing is relative and ``noise`` is the variance itself.
    """

    q_level: float
    q_trend: float
    noise: float
    logs: bool = False
    absolute: bool = False

    def scale(self, level: float, window_s: float) -> float:
        """What the variances of the state are multiplied with."""
        return 1.0 if self.logs or self.absolute else max(level, 1.0 / window_s) ** 2

    def observation(self, level: float, window_s: float) -> float:
        """Variance of one observation; for log(1 + rate) by the delta method."""
        if self.absolute:
            return self.noise
        rate = max(math.expm1(min(level, 50.0)) if self.logs else level, 1.0 / window_s)
        variance = self.noise * rate / window_s
        return variance / (1.0 + rate) ** 2 if self.logs else variance


def local_trend(points: Sequence[RatePoint], *, horizon_s: float, drift: Drift) -> Forecast:
    """Filter the points and extend level and slope over the horizon.

    Args:
        points: oldest first, at least one.
        horizon_s: from the end of the last window.
        drift: the assumed variances.
    """
    q_level, q_trend = drift.q_level, drift.q_trend
    level, slope = points[0].rate_per_s, 0.0
    noise = drift.observation(level, points[0].window_s)
    p00, p01, p11 = noise, 0.0, (_FIRST_SLOPE_RATIO * max(level, 1.0)) ** 2
    middle_s = points[0].at_s - points[0].window_s / 2.0
    for point in points[1:]:
        at_s = point.at_s - point.window_s / 2.0
        dt, middle_s = max(at_s - middle_s, 1e-9), at_s
        scale = drift.scale(level, point.window_s)
        level, p00 = (
            level + slope * dt,
            p00 + dt * (2.0 * p01 + dt * p11) + scale * dt * (q_level + q_trend * dt * dt / 3.0),
        )
        p01 += dt * p11 + scale * q_trend * dt * dt / 2.0
        p11 += scale * q_trend * dt
        noise = drift.observation(max(level, point.rate_per_s), point.window_s)
        innovation, total = point.rate_per_s - level, p00 + noise
        if innovation**2 > _JUMP_SDS**2 * total:
            p00 += innovation**2
            total = p00 + noise
        gain0, gain1 = p00 / total, p01 / total
        level, slope = level + gain0 * innovation, slope + gain1 * innovation
        p00, p01, p11 = (1.0 - gain0) * p00, (1.0 - gain0) * p01, p11 - gain1 * p01
    slope = _believed(slope, p11)
    ahead_s = horizon_s + points[-1].window_s / 2.0
    scale = drift.scale(level, points[-1].window_s)
    future = scale * ahead_s * (q_level + q_trend * ahead_s**2 / 3.0)
    variance = p00 + ahead_s * (2.0 * p01 + ahead_s * p11) + future
    return Forecast(
        rate_per_s=level + slope * ahead_s,
        slope_per_s2=slope,
        sd_per_s=math.sqrt(max(variance, 0.0)),
    )


def _believed(slope: float, variance: float) -> float:
    """The slope, shrunk by what noise alone would explain (positive-part James-Stein).

    Far ahead a slope that is mostly noise does more harm than none.
    """
    return slope * max(0.0, 1.0 - variance / slope**2) if slope else 0.0
