"""Closed-form estimate of every candidate, to find the few worth simulating."""

from __future__ import annotations

import math

from contracts.plan import Role
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
    Preference,
    SearchRequest,
    Sized,
)
from profiler.core.results import Screened
from profiler.core.sizing import Offer, Pools, best_split, for_rate
from profiler.core.targets import Targets, targets_of

# Without a load, a deployment is loaded to this share of what it sustains.
_LOADED, _LOADED_FOR_LATENCY = 0.95, 0.5
# The optimistic estimates may be off by so much.
_OPTIMISM = 1.1


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
        most = agg_capacity(replica, targets)
        pools = Pools(
            gpus={Role.AGG: candidate.engine.gpus},
            rates={Role.AGG: most.rate_per_s},
            rates_max={Role.AGG: most.rate_max_per_s},
        )
        load = self._request.load
        if isinstance(load, ConcurrencyLoad):
            held = most.rate_per_s * self._latency_ms(most.point) / 1e3
            count = max(1, math.ceil(load.requests / held))
            point = running_for(
                replica.point, replica.seats, load.requests / count,
                lambda p: p.rate_per_s * self._latency_ms(p) / 1e3,
            )  # fmt: skip
            rate = load.requests / self._latency_ms(point) * 1e3
            offer = Offer(rate, {Role.AGG: count})
        else:
            offer = self._offer(pools)
            share = offer.rate_per_s / offer.replicas[Role.AGG]
            point = running_for(replica.point, replica.seats, share, lambda p: p.rate_per_s)
        return self._screened(candidate, pools, offer, (point, self._targets.missed_idle(at_rest)))

    # -- disaggregated -------------------------------------------------------------

    def _disagg(self, candidate: DisaggCandidate) -> Screened:
        prefill, decode = self._prefill(candidate.prefill), self._decode(candidate.decode)
        moved_ms = self._estimator.transfer_ms(
            candidate.prefill, candidate.decode, self._request.isl
        )
        at_rest = _joined(idle(prefill.point), idle(decode.point), moved_ms)
        found = [
            (targets, pair)
            for targets in self._targets.widened(at_rest).splits(at_rest)
            if (pair := self._pair(candidate, targets, moved_ms)) is not None
        ]
        gpus = {role: engine.gpus for role, engine in candidate.engines.items()}
        pools = min((_pools(gpus, pair) for _, pair in found), key=lambda p: p.unit_cost)
        offer = self._offer(pools)
        load = self._request.load
        if isinstance(load, ConcurrencyLoad):
            offer = self._held(load, pools, (prefill, decode), moved_ms)
        point = _joined(
            prefill.point(offer.rate_per_s / offer.replicas[Role.PREFILL]),
            running_for(
                decode.point, decode.seats,
                offer.rate_per_s / offer.replicas[Role.DECODE], lambda p: p.rate_per_s,
            ),
            moved_ms,
        )  # fmt: skip
        return self._screened(candidate, pools, offer, (point, self._targets.missed_idle(at_rest)))

    def _pair(
        self, candidate: DisaggCandidate, targets: Targets, moved_ms: float
    ) -> tuple[Capacity, Capacity] | None:
        """What both sides sustain when they share the targets like this."""
        decode = self._decode(candidate.decode)
        if idle(decode.point).itl_p90_ms > targets.itl_ms:
            return None
        key = candidate.decode, targets.itl_ms
        if key not in self._decode_capacities:
            self._decode_capacities[key] = decode_capacity(decode, targets)
        most = self._decode_capacities[key]
        budget_ms = targets.ttft_ms - moved_ms - most.point.ttft_p90_ms
        prefill = prefill_capacity(self._prefill(candidate.prefill), budget_ms)
        if prefill is None:
            # A full decode worker leaves no time; an idle one may.
            budget_ms = targets.ttft_ms - moved_ms - idle(decode.point).ttft_p90_ms
            prefill = prefill_capacity(self._prefill(candidate.prefill), budget_ms)
        return None if prefill is None else (prefill, most)

    def _held(
        self,
        load: ConcurrencyLoad,
        pools: Pools,
        replicas: tuple[PrefillReplica, DecodeReplica],
        moved_ms: float,
    ) -> Offer:
        """Replicas for a number of requests in flight, by Little's law."""
        prefill, decode = replicas
        steps = max(1, self._request.osl - 1)
        rate = pools.rates[Role.DECODE]
        counts = {Role.PREFILL: 1, Role.DECODE: 1}
        for _ in range(4):
            wanted = {role: max(1, math.ceil(rate / pools.rates[role])) for role in counts}
            counts = {role: max(counts[role], wanted[role]) for role in counts}
            lone_ms = prefill.point(0.0).ttft_ms + moved_ms
            point = running_for(
                decode.point, decode.seats, load.requests / counts[Role.DECODE],
                lambda p: p.rate_per_s * (lone_ms + p.ttft_ms + steps * p.itl_ms) / 1e3,
            )  # fmt: skip
            latency_ms = lone_ms + point.ttft_ms + steps * point.itl_ms
            if math.isinf(latency_ms):
                counts[Role.DECODE] *= 2
                continue
            rate = load.requests / latency_ms * 1e3
        return Offer(rate, counts)

    # -- both ----------------------------------------------------------------------

    def _offer(self, pools: Pools) -> Offer:
        """The declared rate with the replicas it takes, or all that the budget sustains."""
        load, total = self._request.load, self._request.total_gpus
        if load is not None and not isinstance(load, ConcurrencyLoad):
            return for_rate(pools, load.requests_per_s)
        alone = self._request.mode is PickMode.AUTOSCALE
        counts = dict.fromkeys(pools.gpus, 1) if alone else best_split(pools, total)
        latency = self._request.preference is Preference.LATENCY
        share = _LOADED_FOR_LATENCY if latency else _LOADED
        return Offer(share * min(pools.rates[role] * counts[role] for role in counts), counts)

    def _latency_ms(self, point: Point) -> float:
        return point.ttft_ms + (self._request.osl - 1) * point.itl_ms

    def _screened(
        self, candidate: Candidate, pools: Pools, offer: Offer, estimate: tuple[Point, str]
    ) -> Screened:
        point, reason = estimate
        total, load = self._request.total_gpus, self._request.load
        needed = pools.cost(offer.replicas)
        replicas = offer.replicas
        if needed > total:
            reason = reason or f"GPU budget: needs {needed} GPUs, {total} allowed"
            replicas = best_split(pools, total)
        latency_ms = self._latency_ms(point)
        whole = best_split(pools.optimistic, total)
        sized = Sized(
            candidate=candidate,
            replicas=replicas,
            rate_per_s=offer.rate_per_s,
            concurrency=round(load.requests) if isinstance(load, ConcurrencyLoad) else None,
            latency_ms=latency_ms if math.isfinite(latency_ms) else 0.0,
        )
        least = for_rate(pools.optimistic, offer.rate_per_s / _OPTIMISM).replicas
        return Screened(
            sized=sized,
            ttft_ms=point.ttft_ms,
            itl_ms=point.itl_ms,
            capacity_per_s=pools.rates,
            gpus_needed=needed,
            gpus_min=min(needed, pools.cost(least)),
            rate_max_per_s=_OPTIMISM
            * min(pools.rates_max[role] * count for role, count in whole.items()),
            unit_cost=pools.unit_cost,
            feasible=not reason,
            reason=reason,
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
