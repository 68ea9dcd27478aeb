"""How many replicas of each role a rate takes, and how a budget is split."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from contracts.plan import Role

# Ratios this close to a whole number are that number.
_ROUNDING = 1e-6


class Offer(NamedTuple):
    """A rate, and the replicas of each role that are to serve it."""

    rate_per_s: float
    replicas: dict[Role, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pools:
    """One replica of each role.

    Attributes:
        gpus: of one replica.
        rates: requests a second that one replica sustains.
        rates_max: the same, optimistically.
    """

    gpus: dict[Role, int]
    rates: dict[Role, float]
    rates_max: dict[Role, float]

    @property
    def optimistic(self) -> Pools:
        """The same replicas at their optimistic rates."""
        return Pools(gpus=self.gpus, rates=self.rates_max, rates_max=self.rates_max)

    @property
    def unit_cost(self) -> float:
        """GPUs for each request a second."""
        return sum(self.gpus[role] / self.rates[role] for role in self.gpus)

    def cost(self, replicas: Mapping[Role, int]) -> int:
        """GPUs of so many replicas."""
        return sum(self.gpus[role] * count for role, count in replicas.items())


def count_for(rate_per_s: float, sustained: Callable[[int], float], most: int) -> int:
    """The fewest replicas that sustain a rate together.

    Args:
        rate_per_s: of all replicas.
        sustained: what each of so many replicas sustains; grows with their number.
        most: beyond so many, each is taken to sustain as much as one of these.
    """
    each = sustained(most)
    for count in range(max(1, math.ceil(rate_per_s / each - _ROUNDING)), most):
        if count * sustained(count) >= rate_per_s * (1 - _ROUNDING):
            return count
    return max(most, math.ceil(rate_per_s / each - _ROUNDING))


def for_rate(pools: Pools, rate_per_s: float) -> Offer:
    """The replicas that a rate takes."""
    return Offer(
        rate_per_s,
        {
            role: max(1, math.ceil(rate_per_s / rate - _ROUNDING))
            for role, rate in pools.rates.items()
        },
    )


def best_split(pools: Pools, total_gpus: int) -> dict[Role, int]:
    """Replicas that serve most within the budget; fewer GPUs on a tie. At least one of each."""
    if Role.AGG in pools.gpus:
        return {Role.AGG: max(1, total_gpus // pools.gpus[Role.AGG])}
    size_p, size_d = pools.gpus[Role.PREFILL], pools.gpus[Role.DECODE]
    rate_p, rate_d = pools.rates[Role.PREFILL], pools.rates[Role.DECODE]
    best, best_key = (1, 1), (-1.0, 0)
    for prefill in range(1, (total_gpus - size_d) // size_p + 1):
        decode = (total_gpus - prefill * size_p) // size_d
        served = min(prefill * rate_p, decode * rate_d)
        decode = max(1, min(decode, math.ceil(served / rate_d - _ROUNDING)))
        key = (served, -(prefill * size_p + decode * size_d))
        if key > best_key:
            best, best_key = (prefill, decode), key
    return {Role.PREFILL: best[0], Role.DECODE: best[1]}
