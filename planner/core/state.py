"""What the planner remembers from one tick to the next."""

from __future__ import annotations

from dataclasses import dataclass

from planner.core.forecast import RatePoint


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedPoint:
    """Replicas needed at one tick, fractional, in the order of the fleet's pools."""

    at_s: float
    replicas: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerState:
    """Memory of the planner; a fresh one knows nothing.

    Attributes:
        rates: measured arrival rates, oldest first, within the trend history.
        isl_mean: smoothed prompt tokens, ``None`` until some were seen.
        osl_mean: smoothed output tokens, ``None`` until some were seen.
        needs: needs within the scale-down hold, oldest first.
        sighted_since_s: first tick since which demand was known without a gap.
    """

    rates: tuple[RatePoint, ...] = ()
    isl_mean: float | None = None
    osl_mean: float | None = None
    needs: tuple[NeedPoint, ...] = ()
    sighted_since_s: float | None = None
