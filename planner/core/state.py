"""What the planner remembers from one tick to the next."""

from __future__ import annotations

from dataclasses import dataclass, field

from planner.core.attained import Attained
from planner.core.forecast.points import RatePoint
from planner.core.spread import SpreadSeen


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedPoint:
    """Replicas needed at one tick, fractional, in the order of the fleet's pools.

    Attributes:
        replicas: those that are worth keeping.
        wanted: those that are worth ordering, where that differs.
    """

    at_s: float
    replicas: tuple[float, ...]
    wanted: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A change of one pool's target: ``direction`` is +1 or -1."""

    at_s: float
    pool: int
    direction: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowDecision:
    """What the slow loop of the policy ``throughput`` last decided."""

    at_s: float
    replicas: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """What one window says about the curves; ``None`` where it says nothing.

    Attributes:
        itl_ratio: observed over predicted ITL.
        hit_ratio: share of prompt tokens that cannot have been computed in the TTFT.
    """

    itl_ratio: float | None
    hit_ratio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerState:
    """Memory of the planner; a fresh one knows nothing.

    Attributes:
        rates: measured arrival rates, oldest first, within the trend history.
        isl_mean: smoothed prompt tokens, ``None`` until some were seen.
        osl_mean: smoothed output tokens, ``None`` until some were seen.
        needs: needs within the scale-down hold, oldest first.
        sighted_since_s: first tick since which demand was known without a gap.
        moves: changes of targets within the last hour, oldest first.
        slow: the slow loop's last decision.
        ordered: since when each starting worker is on order, by its id.
        starts_s: start-up times that were seen, oldest first.
        given_up: how often in a row starting workers were given up.
        residuals: of the last windows in which nothing started or went.
        ready: ready workers of each pool at the last tick.
        attained: what was seen of the attainment.
        spread: what was seen of how much lengths differ.
    """

    rates: tuple[RatePoint, ...] = ()
    isl_mean: float | None = None
    osl_mean: float | None = None
    needs: tuple[NeedPoint, ...] = ()
    sighted_since_s: float | None = None
    moves: tuple[Move, ...] = ()
    slow: SlowDecision | None = None
    ordered: tuple[tuple[str, float], ...] = ()
    starts_s: tuple[float, ...] = ()
    given_up: int = 0
    residuals: tuple[Residual, ...] = ()
    ready: tuple[int, ...] = ()
    attained: Attained = field(default_factory=Attained)
    spread: SpreadSeen = field(default_factory=SpreadSeen)
