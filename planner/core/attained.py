"""What attainment the planner sees, and how dear a miss is to be for the one that is asked for.

Windows tell means, not shares, so shares are inferred: the time to the first token is taken as
exponential (of all distributions with that mean the one that assumes least), the mean ITL of a
request as normal with the spread that simulated engines show. Both are exact where it
matters: hardly anybody misses at a third of a target, and most do beyond it. Windows fade
within half an hour, and a few hundred requests at the asked attainment are assumed
beforehand, so that the price moves slowly and little is read from little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from contracts.observation import Traffic
from contracts.sla import SlaTarget
from planner.core.queueing import normal_tail

_FADE_S = 1800.0
_ITL_SPREAD_RATIO = 0.12
# So many requests at the attainment that is asked for are taken as seen beforehand.
_ASSUMED_REQUESTS = 500.0
_FACTORS = (0.7, 4.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attained:
    """Requests that arrived and those of them that missed a target, both fading with time."""

    requests: float = 0.0
    missed: float = 0.0


def with_window(before: Attained, traffic: Traffic, sla: SlaTarget, window_s: float) -> Attained:
    """The sums with one window more; one that shows no latency adds nothing."""
    if traffic.ttft_ms_mean is None and traffic.itl_ms_mean is None:
        return before
    kept = math.exp(-window_s / _FADE_S)
    return Attained(
        requests=kept * before.requests + traffic.requests_started,
        missed=kept * before.missed + traffic.requests_started * missed_share(traffic, sla),
    )


def missed_share(traffic: Traffic, sla: SlaTarget) -> float:
    """Share of a window's requests that missed a target, inferred from its means (0-1)."""
    attained = 1.0
    first_ms, token_ms = traffic.ttft_ms_mean, traffic.itl_ms_mean
    if first_ms is not None and first_ms > 0.0:
        attained -= math.exp(-sla.ttft_ms / first_ms)
    if token_ms is not None and token_ms > 0.0:
        attained *= 1.0 - normal_tail((sla.itl_ms / token_ms - 1.0) / _ITL_SPREAD_RATIO)
    return 1.0 - attained


def price_factor(seen: Attained, attainment_target: float) -> float:
    """By how much a miss is dearer than usual: above 1 with a deficit, below with a surplus."""
    allowed = 1.0 - attainment_target
    missed = seen.missed + allowed * _ASSUMED_REQUESTS
    found = missed / (seen.requests + _ASSUMED_REQUESTS) / allowed
    low, high = _FACTORS
    return min(high, max(low, found))
