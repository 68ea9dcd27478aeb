"""How much one replica, or a pair of prefill and decode replicas, sustains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from profiler.core.replica import (
    OVERLOAD,
    UTILISATION_MAX,
    AggReplica,
    DecodeReplica,
    Point,
    PrefillReplica,
)
from profiler.core.targets import Targets

_BISECTIONS = 12
# The load of a replica that serves one request at a time, now and then.
_IDLE = 1e-3
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """The most that one replica sustains.

    Attributes:
        running: requests that run on each rank then.
        point: latencies then.
        rate_max_per_s: the same on average instead of in the 90th percentile.
    """

    running: float
    point: Point
    rate_max_per_s: float

    @property
    def rate_per_s(self) -> float:
        """Requests a second."""
        return self.point.rate_per_s


def agg_capacity(replica: AggReplica, targets: Targets, servers: int) -> Capacity:
    """Of one of several aggregated replicas; the targets must hold when they are idle."""

    def at(running: float) -> Point:
        return replica.point(running, servers)

    running = most_running(at, replica.seats, targets.late)
    optimist = most_running(at, replica.seats, targets.late_on_average)
    return Capacity(running=running, point=at(running), rate_max_per_s=at(optimist).rate_per_s)


def decode_capacity(replica: DecodeReplica, targets: Targets) -> Capacity:
    """Of a decode replica, as far as ITL goes."""

    def slow(point: Point) -> bool:
        return point.itl_p90_ms > targets.itl_ms

    def slow_on_average(point: Point) -> bool:
        return point.itl_ms > targets.itl_ms

    running = most_running(replica.point, replica.seats, slow)
    optimist = most_running(replica.point, replica.seats, slow_on_average)
    return Capacity(
        running=running,
        point=replica.point(running),
        rate_max_per_s=replica.point(optimist).rate_per_s,
    )


def prefill_capacity(replica: PrefillReplica, budget_ms: float, servers: int) -> Capacity | None:
    """Of one of several prefill replicas that have so many ms for a prompt.

    ``None`` when that is too few.
    """
    top = replica.most_per_s * UTILISATION_MAX

    def most(late: Callable[[Point], bool]) -> float:
        low, high = 0.0, top
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            low, high = (low, middle) if late(replica.point(middle, servers)) else (middle, high)
        return low

    if replica.point(_IDLE * top).ttft_p90_ms > budget_ms:
        return None
    rate = most(lambda point: point.ttft_p90_ms > budget_ms)
    optimist = most(lambda point: point.ttft_ms > budget_ms)
    return Capacity(running=0.0, point=replica.point(rate, servers), rate_max_per_s=optimist)


def most_running(at: Callable[[float], Point], seats: int, late: Callable[[Point], bool]) -> float:
    """The most running requests of a rank that are not late; below one when one is too many."""
    if late(at(1.0)):
        low, high = _IDLE, 1.0
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            low, high = (low, middle) if late(at(middle)) else (middle, high)
        return low
    low_n, high_n = 1, seats + 1
    while high_n - low_n > 1:
        middle_n = (low_n + high_n) // 2
        low_n, high_n = (low_n, middle_n) if late(at(middle_n)) else (middle_n, high_n)
    return float(low_n)


def idle(at: Callable[[float], Point]) -> Point:
    """Latencies of an idle replica."""
    return at(_IDLE)


def running_for(
    at: Callable[[float], Point], most: float, wanted: float, of: Callable[[Point], float]
) -> Point:
    """The point at which ``of`` reaches ``wanted``, ``OVERLOAD`` beyond the most requests."""
    low, high = _IDLE, most
    if of(at(high)) < wanted * (1 - _ROUNDING):
        return OVERLOAD
    for _ in range(_BISECTIONS):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if of(at(middle)) >= wanted else (middle, high)
    return at(high)
