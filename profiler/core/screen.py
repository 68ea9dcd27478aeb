"""Closed-form estimate of every candidate, to find the few worth simulating."""

from __future__ import annotations

import math
from collections.abc import Callable

from contracts.plan import Role
from contracts.sla import OptimizationType
from profiler.core.capacity import (
    Capacity,
    agg_capacity,
    decode_capacity,
    idle,
    prefill_capacity,
    running_for,
)
from profiler.core.ports import Estimator
from profiler.core.replica import AggReplica, DecodeReplica, Point, PrefillReplica
from profiler.core.request import (
    AggCandidate,
    Candidate,
    ConcurrencyLoad,
    DisaggCandidate,
    EngineChoice,
    PickMode,
    SearchRequest,
    Sized,
)
from profiler.core.results import Screened
from profiler.core.sizing import Offer, Pools, best_split, count_for, for_rate
from profiler.core.targets import Miss, Targets, targets_of

# Without a load, a deployment is loaded to this share of what it sustains.
_LOADED, _LOADED_FOR_LATENCY = 0.95, 0.5
# The optimistic estimates may be off by so much.
_OPTIMISM = 1.1
# A deployment is sized for so much more than its load: near saturation queues build up over
# minutes, and whether a simulation sees that is a matter of its seed.
RESERVE = 1.1
# Pools with so many prefill replicas, and what one of their decode replicas sustains.
_PoolsWith = Callable[[int], tuple[Pools, Capacity]]


class Screen:
    """Estimates candidates of one request."""

    def __init__(self, request: SearchRequest, estimator: Estimator) -> None:
        self._request = request
        self._estimator = estimator
        self._targets = targets_of(request.sla, request.osl)
        self._prefills: dict[EngineChoice, PrefillReplica] = {}
        self._decodes: dict[EngineChoice, DecodeReplica] = {}
        self._decode_capacities: dict[tuple[EngineChoice, float], Capacity] = {}

    def screen(self, candidate: Candidate) -> Screened:
        """Size a candidate for the load, or for the whole budget, and estimate it."""
        if isinstance(candidate, AggCandidate):
            return self._agg(candidate)
        return self._disagg(candidate)

    # -- aggregated ----------------------------------------------------------------

    def _agg(self, candidate: AggCandidate) -> Screened:
        replica = AggReplica(self._request, self._estimator, candidate.engine)
        at_rest = idle(replica.point)
        targets = self._targets.widened(at_rest)
        size = candidate.engine.gpus
        most = max(1, self._request.total_gpus // size)

        def capacity(count: int) -> Capacity:
            return agg_capacity(replica, targets, min(count, most))

        load = self._request.load
        if isinstance(load, ConcurrencyLoad):
            count, rate = self._held_agg(replica, load, capacity, most)
        elif load is not None:
            rate = load.requests_per_s
            count = count_for(RESERVE * rate, lambda n: capacity(n).rate_per_s, most)
        else:
            count = 1 if self._request.mode is PickMode.AUTOSCALE else most
            rate = self._loaded * count * capacity(count).rate_per_s
        chosen = capacity(count)
        pools = Pools(
            gpus={Role.AGG: size},
            rates={Role.AGG: chosen.rate_per_s},
            rates_max={Role.AGG: chosen.rate_max_per_s},
        )
        point = running_for(
            lambda running: replica.point(running, count),
            chosen.running, rate / count, lambda p: p.rate_per_s,
        )  # fmt: skip
        offer = Offer(rate, {Role.AGG: count})
        return self._screened(candidate, pools, offer, (point, self._targets.missed_idle(at_rest)))

    def _held_agg(
        self,
        replica: AggReplica,
        load: ConcurrencyLoad,
        capacity: Callable[[int], Capacity],
        most: int,
    ) -> tuple[int, float]:
        """Replicas for requests in flight, and the rate at which they end (Little's law)."""

        def held(count: int) -> float:
            return in_flight(capacity(count).point)

        def in_flight(point: Point) -> float:
            return point.rate_per_s * self._latency_ms(point) / 1e3

        count = count_for(RESERVE * load.requests, held, most)
        point = running_for(
            lambda running: replica.point(running, count),
            capacity(count).running, load.requests / count, in_flight,
        )  # fmt: skip
        overload = math.isinf(point.rate_per_s)
        return count, count * (capacity(count).rate_per_s if overload else point.rate_per_s)

    # -- disaggregated -------------------------------------------------------------

    def _disagg(self, candidate: DisaggCandidate) -> Screened:
        prefill, decode = self._prefill(candidate.prefill), self._decode(candidate.decode)
        moved_ms = self._estimator.transfer_ms(
            candidate.prefill, candidate.decode, self._request.isl
        )
        at_rest = _joined(idle(prefill.point), idle(decode.point), moved_ms)
        splits = self._targets.widened(at_rest).splits(at_rest)
        gpus = {role: engine.gpus for role, engine in candidate.engines.items()}

        def pools_with(count: int) -> tuple[Pools, Capacity]:
            """The cheapest way to share the targets, with so many prefill replicas."""
            found = [
                (_pools(gpus, pair), pair[1])
                for targets in splits
                if (pair := self._pair(candidate, targets, (moved_ms, count))) is not None
            ]
            return min(found, key=lambda each: each[0].unit_cost)

        offer = self._offer(candidate, pools_with, moved_ms)
        pools, most = pools_with(offer.replicas[Role.PREFILL])
        point = _joined(
            prefill.point(
                offer.rate_per_s / offer.replicas[Role.PREFILL], offer.replicas[Role.PREFILL]
            ),
            running_for(
                decode.point, most.running,
                offer.rate_per_s / offer.replicas[Role.DECODE], lambda p: p.rate_per_s,
            ),
            moved_ms,
        )  # fmt: skip
        return self._screened(candidate, pools, offer, (point, self._targets.missed_idle(at_rest)))

    def _pair(
        self, candidate: DisaggCandidate, targets: Targets, prefills: tuple[float, int]
    ) -> tuple[Capacity, Capacity] | None:
        """What both sides sustain when they share the targets like this."""
        decode, (moved_ms, count) = self._decode(candidate.decode), prefills
        if idle(decode.point).itl_p90_ms > targets.itl_ms:
            return None
        key = candidate.decode, targets.itl_ms
        if key not in self._decode_capacities:
            self._decode_capacities[key] = decode_capacity(decode, targets)
        most = self._decode_capacities[key]
        # A full decode worker may leave no time for the prompt where an idle one does.
        for point in (most.point, idle(decode.point)):
            budget_ms = targets.ttft_ms - moved_ms - point.ttft_p90_ms
            prefill = prefill_capacity(self._prefill(candidate.prefill), budget_ms, count)
            if prefill is not None:
                return prefill, most
        return None

    def _offer(self, candidate: DisaggCandidate, pools_with: _PoolsWith, moved_ms: float) -> Offer:
        """The declared load with the replicas it takes, or all that the budget sustains."""
        load = self._request.load
        most = max(1, self._request.total_gpus // candidate.prefill.gpus)
        if load is None:
            return self._whole_budget(pools_with, most)
        if isinstance(load, ConcurrencyLoad):
            rate = self._closed_loop_rate(candidate, load, pools_with(most), moved_ms)
        else:
            rate = load.requests_per_s
        sure = RESERVE * rate
        prefills = count_for(sure, lambda n: pools_with(n)[0].rates[Role.PREFILL], most)
        decodes = for_rate(pools_with(prefills)[0], sure).replicas[Role.DECODE]
        return Offer(rate, {Role.PREFILL: prefills, Role.DECODE: decodes})

    def _closed_loop_rate(
        self,
        candidate: DisaggCandidate,
        load: ConcurrencyLoad,
        pools: tuple[Pools, Capacity],
        moved_ms: float,
    ) -> float:
        """Requests that end in a second, by Little's law; emptier decode workers are faster."""
        decode, steps = self._decode(candidate.decode), self._request.osl - 1
        lone_ms = self._prefill(candidate.prefill).alone_ms + moved_ms
        running, rate = pools[1].running, 0.0
        for _ in range(2):
            point = decode.point(running)
            rate = load.requests / (lone_ms + point.ttft_ms + steps * point.itl_ms) * 1e3
            decodes = for_rate(pools[0], rate).replicas[Role.DECODE]
            running = min(running, load.requests / decodes / candidate.decode.dp)
        return rate

    def _whole_budget(self, pools_with: _PoolsWith, most: int) -> Offer:
        if self._request.mode is PickMode.AUTOSCALE:
            counts = {Role.PREFILL: 1, Role.DECODE: 1}
            pools = pools_with(1)[0]
        else:
            pools = pools_with(max(1, most // 2))[0]
            counts = best_split(pools, self._request.total_gpus)
            pools = pools_with(counts[Role.PREFILL])[0]
            counts = best_split(pools, self._request.total_gpus)
        served = min(pools.rates[role] * counts[role] for role in counts)
        return Offer(self._loaded * served, counts)

    # -- both ----------------------------------------------------------------------

    @property
    def _loaded(self) -> float:
        """Share of what is sustained that is asked for without a load."""
        latency = self._request.preference is OptimizationType.LATENCY
        return _LOADED_FOR_LATENCY if latency else _LOADED

    def _latency_ms(self, point: Point) -> float:
        return point.ttft_ms + (self._request.osl - 1) * point.itl_ms

    def _screened(
        self, candidate: Candidate, pools: Pools, offer: Offer, estimate: tuple[Point, Miss]
    ) -> Screened:
        point, miss = estimate
        total, load = self._request.total_gpus, self._request.load
        needed = pools.cost(offer.replicas)
        least = for_rate(pools.optimistic, offer.rate_per_s / _OPTIMISM).replicas
        gpus_min = min(needed, pools.cost(least))
        if gpus_min > total and needed / total > miss.factor:
            miss = Miss(needed / total, f"GPU budget: needs {needed} GPUs, {total} allowed")
        latency_ms = self._latency_ms(point)
        whole = best_split(pools.optimistic, total)
        sized = Sized(
            candidate=candidate,
            replicas=offer.replicas if needed <= total else best_split(pools, total),
            rate_per_s=offer.rate_per_s,
            concurrency=max(1, round(load.requests)) if isinstance(load, ConcurrencyLoad) else None,
            latency_ms=latency_ms if math.isfinite(latency_ms) else 0.0,
        )
        return Screened(
            sized=sized,
            ttft_ms=point.ttft_ms,
            itl_ms=point.itl_ms,
            capacity_per_s=pools.rates,
            gpus_needed=needed,
            gpus_min=gpus_min,
            rate_max_per_s=_OPTIMISM
            * min(pools.rates_max[role] * count for role, count in whole.items()),
            unit_cost=pools.unit_cost,
            feasible=not miss.reason,
            reason=miss.reason,
            miss=miss.factor,
        )

    def _prefill(self, choice: EngineChoice) -> PrefillReplica:
        if choice not in self._prefills:
            self._prefills[choice] = PrefillReplica(self._request, self._estimator, choice)
        return self._prefills[choice]

    def _decode(self, choice: EngineChoice) -> DecodeReplica:
        if choice not in self._decodes:
            self._decodes[choice] = DecodeReplica(self._request, self._estimator, choice)
        return self._decodes[choice]


def _pools(gpus: dict[Role, int], pair: tuple[Capacity, Capacity]) -> Pools:
    prefill, decode = pair
    return Pools(
        gpus=gpus,
        rates={Role.PREFILL: prefill.rate_per_s, Role.DECODE: decode.rate_per_s},
        rates_max={Role.PREFILL: prefill.rate_max_per_s, Role.DECODE: decode.rate_max_per_s},
    )


def _joined(prefill: Point, decode: Point, moved_ms: float) -> Point:
    """What a request sees of both sides."""
    return Point(
        rate_per_s=min(prefill.rate_per_s, decode.rate_per_s),
        ttft_ms=prefill.ttft_ms + moved_ms + decode.ttft_ms,
        ttft_p90_ms=prefill.ttft_p90_ms + moved_ms + decode.ttft_p90_ms,
        itl_ms=decode.itl_ms,
        itl_p90_ms=decode.itl_p90_ms,
    )
