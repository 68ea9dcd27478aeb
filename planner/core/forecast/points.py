"""What predictors read and answer."""

from __future__ import annotations

from dataclasses import dataclass

from planner.core.queueing import normal_quantile


@dataclass(frozen=True, slots=True, kw_only=True)
class RatePoint:
    """Arrivals a second of the window of length ``window_s`` that ended at ``at_s``."""

    at_s: float
    window_s: float
    rate_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Distribution of the arrival rate at one instant, taken as normal and cut at zero.

    Attributes:
        rate_per_s: mean.
        slope_per_s2: the slope (1/s per s) that was used, 0 for none.
        sd_per_s: standard deviation of the error, 0 when the predictor knows none.
    """

    rate_per_s: float
    slope_per_s2: float
    sd_per_s: float = 0.0

    def quantile(self, probability: float) -> float:
        """The rate that is not exceeded with this probability (0-1, both excluded)."""
        return max(0.0, self.rate_per_s + normal_quantile(probability) * self.sd_per_s)
