"""Several local trends at once, each believed as far as it foretold the last windows.

One filter has to choose between a steady rate (little drift, a narrow band, blind to the
foot of a ramp) and a moving one (the opposite). Here four of them run side by side, from a
rate that hardly moves to one that turns within minutes. Each has a weight: the likelihood
of the windows that it foretold, older windows counting less. The forecast is the mixture,
given by its mean and standard deviation; disagreement of the filters widens it. Slopes decay,
since no ramp goes on for ever. Level and slope otherwise follow
:mod:`planner.core.forecast.kalman`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from planner.core.forecast.points import Forecast, RatePoint

# Variances that level and slope gain a second, relative to the squared level.
_DRIFTS = ((1e-7, 1e-12), (1e-6, 3e-10), (1e-6, 2e-9), (1e-6, 1e-8))
# A slope has decayed to a third after this time.
_DECAY_S = 600.0
# Weight of a window ten seconds older, and what that is for other windows.
_FORGET, _FORGET_WINDOW_S = 0.97, 10.0
_JUMP_SDS = 3.0
# Older windows hardly count.
_WINDOWS = 60
_FIRST_SLOPE_RATIO = 1e-4
# The drifts bound what happens; this share of their spread cost least on the training workloads.
_SPREAD_RATIO = 0.85


@dataclass(slots=True)
class _Filter:
    """Level, slope, their covariance, and the log likelihood of what it foretold."""

    q_level: float
    q_trend: float
    level: float
    slope: float = 0.0
    p00: float = 0.0
    p01: float = 0.0
    p11: float = 0.0
    weight: float = 0.0

    def see(self, point: RatePoint, dt: float, forget: float) -> None:
        """Move on by ``dt`` seconds and take in one window."""
        scale = _floor(self.level, point.window_s) ** 2
        decay = math.exp(-dt / _DECAY_S)
        reach = _DECAY_S * (1.0 - decay)
        level = self.level + reach * self.slope
        drift = dt * (self.q_level + self.q_trend * dt * dt / 3.0)
        p00 = self.p00 + reach * (2.0 * self.p01 + reach * self.p11) + scale * drift
        p01 = decay * (self.p01 + reach * self.p11) + scale * self.q_trend * dt * dt / 2.0
        p11 = decay * decay * self.p11 + scale * self.q_trend * dt
        noise = _floor(max(level, point.rate_per_s), point.window_s) / point.window_s
        innovation, total = point.rate_per_s - level, p00 + noise
        seen = -0.5 * (math.log(total) + innovation * innovation / total)
        self.weight = forget * self.weight + seen
        if innovation * innovation > _JUMP_SDS**2 * total:
            p00 += innovation * innovation
            total = p00 + noise
        gain0, gain1 = p00 / total, p01 / total
        self.level, self.slope = level + gain0 * innovation, decay * self.slope + gain1 * innovation
        self.p00, self.p01 = (1.0 - gain0) * p00, (1.0 - gain0) * p01
        self.p11 = p11 - gain1 * p01

    def ahead(self, horizon_s: float, window_s: float) -> tuple[float, float]:
        """Mean and variance of the rate after so many seconds."""
        reach = _DECAY_S * (1.0 - math.exp(-horizon_s / _DECAY_S))
        # Integral of the slope's own drift over the horizon, with the same decay.
        twice = _DECAY_S / 2.0 * (1.0 - math.exp(-2.0 * horizon_s / _DECAY_S))
        turned = self.q_trend * _DECAY_S**2 * max(0.0, horizon_s - 2.0 * reach + twice)
        scale = _floor(self.level, window_s) ** 2
        variance = self.p00 + reach * (2.0 * self.p01 + reach * self.p11)
        variance += scale * (self.q_level * horizon_s + turned)
        return self.level + reach * self.slope, max(0.0, variance)


def blend(points: Sequence[RatePoint], *, horizon_s: float) -> Forecast:
    """Mean and standard deviation of the mixture of all filters.

    Args:
        points: oldest first, at least one.
        horizon_s: from the end of the last window.
    """
    filters = _filtered(tuple(points[-_WINDOWS:]))
    window_s = points[-1].window_s
    best = max(each.weight for each in filters)
    weights = [math.exp(each.weight - best) for each in filters]
    total = sum(weights)
    ahead_s = horizon_s + window_s / 2.0
    parts = [each.ahead(ahead_s, window_s) for each in filters]
    mean = sum(w * mean for w, (mean, _) in zip(weights, parts, strict=True)) / total
    spread = sum(
        w * (_SPREAD_RATIO**2 * variance + (each - mean) ** 2)
        for w, (each, variance) in zip(weights, parts, strict=True)
    )
    slope = sum(w * each.slope for w, each in zip(weights, filters, strict=True)) / total
    return Forecast(
        rate_per_s=max(0.0, mean), slope_per_s2=slope, sd_per_s=math.sqrt(spread / total)
    )


@lru_cache(maxsize=8)
def _filtered(points: tuple[RatePoint, ...]) -> tuple[_Filter, ...]:
    """All filters after all points; nobody changes them afterwards."""
    first = points[0]
    level = first.rate_per_s
    filters = tuple(
        _Filter(
            q_level=q_level,
            q_trend=q_trend,
            level=level,
            p00=_floor(level, first.window_s) / first.window_s,
            p11=(_FIRST_SLOPE_RATIO * max(level, 1.0)) ** 2,
        )
        for q_level, q_trend in _DRIFTS
    )
    middle_s = first.at_s - first.window_s / 2.0
    for point in points[1:]:
        at_s = point.at_s - point.window_s / 2.0
        dt, middle_s = max(at_s - middle_s, 1e-9), at_s
        forget = _FORGET ** (dt / _FORGET_WINDOW_S)
        for each in filters:
            each.see(point, dt, forget)
    return filters


def _floor(level: float, window_s: float) -> float:
    """At least one request in a window, so that nothing is certain at zero."""
    return max(level, 1.0 / window_s)
