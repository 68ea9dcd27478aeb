"""How many replicas a rate needs so that few requests miss a target: tails, not means."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from contracts.plan import Role
from contracts.sla import SlaTarget
from planner.core.capacity import (
    UTILISATION_FLOOR_RATIO,
    Capacity,
    CapacityModel,
    Lengths,
    capacity,
    shared_line,
)
from planner.core.config import PoolConfig
from planner.core.curves import decode_line, prefill_ttft_ms
from planner.core.queueing import normal_quantile, normal_tail, servers_for_wait, wait_tail
from planner.core.spread import USUAL, Spread, itl_noise

_MS_PER_S = 1000.0

# Prompts and gaps are taken as exponential: (ca2 + cs2) / 2 with both at one.
VARIABILITY = 1.0

# A request's mean ITL averages over its stay, in which the number of its neighbours changes.
# Averaged over one service time, 2/3 of the variance of the number in an M/D/inf queue is left.
STAY_AVERAGE_RATIO = math.sqrt(2.0 / 3.0)

_RUNS_RATIO = 2.0
_LESS, _SLOPE_MIN = 0.7, 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrections:
    """Factors learnt from residuals, one for each cause.

    Attributes:
        itl_ratio: observed over predicted ITL.
        hit_ratio: share of prompt tokens that need no computing (0-0.95).
    """

    itl_ratio: float = 1.0
    hit_ratio: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """One replica of a pool as a queue.

    Attributes:
        service_s: time that one prompt keeps a replica busy, ``None`` for decode.
        slack_s: time that a prompt may wait within the TTFT target.
        in_flight_max: requests that decode at once within the ITL target, ``None`` for
            prefill.
        stay_s: time that a request decodes then.
        plain: the capacity by means, for backlogs and for people.
        noise: relative spread of a request's ITL beyond the usual, in requests in flight, for
            equal parts of the requests; empty for none.
    """

    service_s: float | None
    slack_s: float
    in_flight_max: float | None
    stay_s: float
    plain: Capacity
    noise: tuple[float, ...] = ()

    def replicas(self, rate_per_s: float, miss_ratio: float) -> float:
        """Fewest (fractional) replicas at which at most ``miss_ratio`` miss a target."""
        if rate_per_s <= 0.0:
            return 0.0
        need = rate_per_s / self.plain.requests_per_s_max
        if self.service_s is not None:
            tail = servers_for_wait(
                rate_per_s=rate_per_s,
                service_s=self.service_s,
                variability=VARIABILITY,
                wait_s=self.slack_s,
                miss_ratio=miss_ratio,
            )
            # Where waiting cannot be kept short, replicas beyond this hardly shorten it.
            most = rate_per_s * self.service_s / UTILISATION_FLOOR_RATIO
            need = max(need, min(tail, most))
        if self.in_flight_max is not None:
            mean = rate_per_s * self.stay_s
            spread = STAY_AVERAGE_RATIO * math.sqrt(mean)
            need = max(need, (mean + normal_quantile(1 - miss_ratio) * spread) / self.in_flight_max)
        return need

    def attainment(self, replicas: int, rate_per_s: float) -> float:
        """Expected share of requests within their target with so many replicas.

        Below saturation the tails of waiting and of requests in flight; above it the
        share that can be served at all, halved because a queue grows.
        """
        if rate_per_s <= 0.0:
            return 1.0
        if replicas <= 0:
            return 0.0
        share = replicas * self.plain.requests_per_s_max / rate_per_s
        found = 1.0
        if self.service_s is not None:
            found -= wait_tail(
                servers=replicas,
                rate_per_s=rate_per_s,
                service_s=self.service_s,
                variability=VARIABILITY,
                wait_s=max(self.slack_s, 0.0),
            )
        if self.in_flight_max is not None:
            mean = rate_per_s * self.stay_s
            spread = max(STAY_AVERAGE_RATIO * math.sqrt(mean), 1e-9)
            found *= 1.0 - normal_tail((replicas * self.in_flight_max - mean) / spread)
        return max(found, 0.5 * min(share, 1.0))

    def missing(self, replicas: int, rate_per_s: float) -> float:
        """Expected share of requests that miss their target when the rate stays for minutes.

        Misses come in runs, since a queue that has grown takes time to go: twice the tail
        fits the simulated engines up to a fifth of misses, and beyond that nearly all miss.
        """
        if rate_per_s <= 0.0:
            return 0.0
        if replicas <= 0:
            return 1.0
        found = 0.0
        if self.service_s is not None:
            found += wait_tail(
                servers=replicas,
                rate_per_s=rate_per_s,
                service_s=self.service_s,
                variability=VARIABILITY,
                wait_s=max(self.slack_s, 0.0),
            )
        if self.in_flight_max is not None and _RUNS_RATIO * found < 1.0:
            mean = rate_per_s * self.stay_s
            spread = max(STAY_AVERAGE_RATIO * math.sqrt(mean), 1e-9)
            room = replicas * self.in_flight_max
            found += normal_tail((room - mean) / spread)
            return min(1.0, _RUNS_RATIO * found + self._noisy(room, mean, spread))
        return min(1.0, _RUNS_RATIO * found)

    def _noisy(self, room: float, mean: float, spread: float) -> float:
        """Share of requests that miss ITL by their own bad luck, which does not come in runs."""
        if not self.noise:
            return 0.0
        plain = normal_tail((room - mean) / spread)
        tails = [normal_tail((room - mean) / math.hypot(spread, room * own)) for own in self.noise]
        return max(0.0, sum(tails) / len(tails) - plain)


def size_pool(
    model: CapacityModel,
    pool: PoolConfig,
    lengths: Lengths,
    sla: SlaTarget,
    corrections: Corrections = Corrections(),
    spread: Spread = USUAL,
) -> Sizing:
    """One replica of a pool, seen through the curves and what was learnt about them.

    Prompts that hit the prefix cache compute less; an engine that is slower than its
    curves has to meet a tighter ITL on them.
    """
    computed = Lengths(
        isl=max(1.0, lengths.isl * (1.0 - corrections.hit_ratio)),
        osl=lengths.osl,
    )
    target = SlaTarget(ttft_ms=sla.ttft_ms, itl_ms=sla.itl_ms / corrections.itl_ratio)
    plain = capacity(model, pool, computed, target, 1.0, context_isl=lengths.isl)
    prefill_ms = prefill_ttft_ms(model.prefill, computed.isl)
    if pool.role is Role.PREFILL:
        return Sizing(
            service_s=prefill_ms / _MS_PER_S,
            slack_s=(sla.ttft_ms - prefill_ms) / _MS_PER_S,
            in_flight_max=None,
            stay_s=0.0,
            plain=plain,
        )
    most = plain.requests_in_flight_max or 1.0
    stay_s = most / plain.requests_per_s_max
    if pool.role is Role.DECODE:
        # As many in flight as the curve says, each for longer: room for KV may bind, not ITL.
        slower = corrections.itl_ratio
        stay_s *= slower
        plain = replace(plain, requests_per_s_max=plain.requests_per_s_max / slower)
        return Sizing(service_s=None, slack_s=0.0, in_flight_max=most, stay_s=stay_s, plain=plain)
    step_ms = stay_s / computed.osl * _MS_PER_S
    noise = itl_noise(
        spread,
        osl=computed.osl,
        prefill_s=prefill_ms / _MS_PER_S,
        prefill_share=min(1.0, plain.requests_per_s_max * prefill_ms / _MS_PER_S),
        itl_s=step_ms / _MS_PER_S,
    )
    if noise:
        rising = _itl_slope(model, pool, computed, most, lengths.isl)
        noise = tuple(min(1.0, each / rising) for each in noise)
    return Sizing(
        service_s=prefill_ms / _MS_PER_S,
        slack_s=(sla.ttft_ms - prefill_ms - step_ms) / _MS_PER_S,
        in_flight_max=most,
        stay_s=stay_s,
        plain=plain,
        noise=noise,
    )


def _itl_slope(
    model: CapacityModel, pool: PoolConfig, lengths: Lengths, in_flight: float, context_isl: float
) -> float:
    """By how much ITL grows, relative to itself, with the number in flight (d log / d log)."""
    high, low = (
        predicted_itl_ms(model, pool, lengths, number, context_isl=context_isl)
        for number in (in_flight, _LESS * in_flight)
    )
    return max(_SLOPE_MIN, math.log(high / low) / -math.log(_LESS))


def predicted_itl_ms(
    model: CapacityModel,
    pool: PoolConfig,
    lengths: Lengths,
    in_flight: float,
    *,
    context_isl: float | None = None,
) -> float:
    """ITL with so many requests decoding on one replica, prompts of an aggregated one included.

    Args:
        model: the curves.
        pool: the pool.
        lengths: prompt tokens to compute, and output tokens.
        in_flight: requests that decode.
        context_isl: prompt tokens in context, when a cache holds some of them.
    """
    context_isl = lengths.isl if context_isl is None else context_isl
    if pool.role is Role.AGG:
        rates, itl_ms = shared_line(model, pool, lengths, context_isl)
    else:
        line = decode_line(model.decode, context_isl + lengths.osl / 2.0)
        rates = line.tokens_per_s_per_gpu * pool.gpus_per_replica / lengths.osl
        itl_ms = line.itl_ms
    running = rates * lengths.osl * itl_ms / _MS_PER_S
    order = np.argsort(running, kind="stable")
    return float(np.interp(in_flight, running[order], itl_ms[order]))
