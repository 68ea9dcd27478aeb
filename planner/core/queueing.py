"""How long requests wait, and how many are in flight: the tails, not the means.

Waiting uses the usual two-moment approximations of GI/G/c queues: the probability to wait
at all is rho**(sqrt(2*(c+1)) - 1) (Sakasegawa 1977), and given that, the wait is about
exponential with mean s*(ca2+cs2)/2 / (c*(1-rho)) (Kingman; Whitt 1993).
"""

from __future__ import annotations

import math

# Servers are found to this precision.
_PRECISION = 1e-4


def normal_quantile(probability: float) -> float:
    """Inverse of the standard normal distribution, error below 5e-4.

    Abramowitz and Stegun, Handbook of Mathematical Functions, formula 26.2.23.
    """
    if probability < 0.5:
        return -normal_quantile(1.0 - probability)
    t = math.sqrt(-2.0 * math.log(max(1.0 - probability, 1e-300)))
    top = 2.515517 + t * (0.802853 + t * 0.010328)
    bottom = 1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308))
    return t - top / bottom


def normal_tail(z: float) -> float:
    """P(Z > z) of the standard normal distribution."""
    return 0.5 * math.erfc(z / math.sqrt(2.0))


def wait_tail(
    *, servers: float, rate_per_s: float, service_s: float, variability: float, wait_s: float
) -> float:
    """P(wait > wait_s) with ``servers`` servers behind one queue; 1 when they cannot keep up.

    Args:
        servers: may be fractional.
        rate_per_s: arrivals.
        service_s: mean service time.
        variability: (ca2 + cs2) / 2, squared coefficients of variation of gaps and service.
        wait_s: the wait that is asked about; below 0 nobody is in time.
    """
    utilisation = rate_per_s * service_s / servers
    if utilisation >= 1.0 or wait_s < 0.0:
        return 1.0
    waits = math.pow(utilisation, math.sqrt(2.0 * (servers + 1.0)) - 1.0)
    mean_s = service_s * variability / (servers * (1.0 - utilisation))
    return waits * math.exp(-wait_s / mean_s)


def servers_for_wait(
    *, rate_per_s: float, service_s: float, variability: float, wait_s: float, miss_ratio: float
) -> float:
    """Fewest (fractional) servers with P(wait > wait_s) <= miss_ratio.

    Infinite when ``wait_s`` is negative, since more servers do not shorten a service.
    """
    if rate_per_s <= 0.0:
        return 0.0
    if wait_s < 0.0:
        return math.inf

    def misses(servers: float) -> bool:
        tail = wait_tail(
            servers=servers,
            rate_per_s=rate_per_s,
            service_s=service_s,
            variability=variability,
            wait_s=wait_s,
        )
        return tail > miss_ratio

    low = rate_per_s * service_s
    high = low + 1.0
    while misses(high):
        low, high = high, high * 2.0
    while high - low > _PRECISION:
        middle = (low + high) / 2.0
        low, high = (middle, high) if misses(middle) else (low, middle)
    return high
