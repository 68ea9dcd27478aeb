"""What one replica more is worth: misses that it avoids against the GPU time that it costs.

The newsvendor's rule. A replica costs its GPUs for as long as it is there; a request that
misses its target is taken to cost as much as serving ``miss_price`` requests. Over the
distribution of the rate at which the fleet will have to serve, the best number of replicas
is the one with the least sum of both. A rate that is known well thus gets little headroom,
one that is uncertain (a long lead time, a slope that is still hard to see, a jump) gets
much, and a large fleet gets relatively less than a small one. A jump that nobody foresees is
part of the distribution: improbable within one lead time, so that only dear misses buy a
reserve against it, the more the longer the lead time is.
"""

from __future__ import annotations

import math
from itertools import pairwise

from planner.core.forecast.points import Forecast
from planner.core.queueing import normal_quantile
from planner.core.sizing import Sizing

_POINTS = 15
# Middles of equally probable parts of the standard normal distribution.
_SPREADS = tuple(normal_quantile((point + 0.5) / _POINTS) for point in range(_POINTS))
# Up to so many replicas each number is tried, beyond that one in a hundred.
_FINE = 100
_ROUNDING = 1e-9

# One jump in so many seconds is reckoned with.
_JUMP_EVERY_S = 86_400.0
# A jump multiplies the rate by more than x with probability x ** -4. Ratios and their shares.
_JUMP_EDGES = (1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 4.0)
_JUMPS = tuple(
    (math.sqrt(low * high), low**-4.0 - (high**-4.0 if high < _JUMP_EDGES[-1] else 0.0))
    for low, high in pairwise(_JUMP_EDGES)
)


def jump_chance(lead_s: float) -> float:
    """Probability (0-1) that the rate jumps up within a lead time, when nobody could order."""
    return -math.expm1(-lead_s / _JUMP_EVERY_S)


def best_replicas(
    one: Sizing,
    forecast: Forecast,
    *,
    miss_price: float,
    rate_per_s_max: float,
    share: float,
    jump: float = 0.0,
) -> int:
    """Replicas with the least expected cost; the smallest number of equal ones.

    Args:
        one: one replica of the pool.
        forecast: of the rate.
        miss_price: cost of a miss in costs of serving a request at full utilisation.
        rate_per_s_max: rates above are taken as this.
        share: of a replica's capacity that is planned for; 1 is all of it.
        jump: probability that the rate has jumped up without warning by then (0-1).
    """
    spreads = _SPREADS if forecast.sd_per_s > 0.0 else (0.0,)
    points = [
        (max(0.0, forecast.rate_per_s + spread * forecast.sd_per_s), (1.0 - jump) / len(spreads))
        for spread in spreads
    ]
    if jump > 0.0:
        points += [(ratio * forecast.rate_per_s, jump * part) for ratio, part in _JUMPS]
    rates = [(min(rate, rate_per_s_max) / share, weight) for rate, weight in points]
    # Misses are in requests a second; a replica serves so many a second at full utilisation.
    price = miss_price / one.plain.requests_per_s_max
    # Below what the lowest rate keeps busy everybody misses, so none at all is cheaper.
    first = math.floor(min(rates)[0] / one.plain.requests_per_s_max)
    found, least = 0, price * sum(rate * weight for rate, weight in rates)
    count = max(1, first)
    while True:
        missed = price * sum(rate * weight * one.missing(count, rate) for rate, weight in rates)
        if count + missed < least - _ROUNDING:
            found, least = count, count + missed
        if missed < 1.0 or count > least:
            return found
        count += max(1, count // _FINE)


def best_surge(
    *,
    miss_price: float,
    rate_per_s: float,
    backlog: float,
    served_per_s: float,
    paid_s: float,
    least_s: float,
) -> float:
    """Replicas, fractional, beyond those for the arrivals, to work off a backlog.

    While a backlog lasts every arrival misses. With m more replicas it lasts
    backlog / (m * served) seconds, and they cost m * paid beyond the work itself; the sum of
    both is least at m = sqrt(price * rate * backlog / paid) / served. Nothing is gained by
    working it off sooner than the planner looks again.

    Args:
        miss_price: as above.
        rate_per_s: arrivals; a forecast below 0 is none.
        backlog: requests too many when the replicas would serve.
        served_per_s: requests a second of one replica.
        paid_s: time for which a replica costs without serving: its start and the hold.
        least_s: time between two ticks.
    """
    arrivals = max(0.0, rate_per_s)
    best = math.sqrt(miss_price * arrivals * backlog / max(paid_s, 1.0)) / served_per_s
    return min(best, backlog / served_per_s / least_s)
