"""Closed-form estimate of every candidate, to find the few worth simulating.

An aggregated replica at rate r is a fixed point: a step holds n decodes and r * isl *
step prompt tokens, and by Little's law n = r * osl * step. Waiting for prefill follows
M/D/1: rho * s / (2 * (1 - rho)) with service time s. The highest rate within the
targets is found by bisection.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from contracts.plan import Role
from profiler.core.ports import Estimator
from profiler.core.request import (
    AggCandidate,
    Candidate,
    ConcurrencyLoad,
    DisaggCandidate,
    EngineChoice,
    RateLoad,
    Screened,
    SearchRequest,
    Sized,
)

MAX_NUM_SEQS = 256
_BISECTIONS = 24
_FIXED_POINT_STEPS = 12
# A queue this full is not planned for.
_UTILISATION_MAX = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class _Point:
    """Latencies of one replica at a rate; infinite when it cannot keep up."""

    ttft_ms: float
    itl_ms: float


_OVERLOAD = _Point(ttft_ms=math.inf, itl_ms=math.inf)


class Screen:
    """Estimates candidates of one request."""

    def __init__(self, request: SearchRequest, estimator: Estimator) -> None:
        self._request = request
        self._estimator = estimator

    def screen(self, candidate: Candidate) -> Screened:
        """Size a candidate for the load, or for the whole budget, and estimate it."""
        if isinstance(candidate, AggCandidate):
            return self._agg(candidate)
        return self._disagg(candidate)

    def _agg(self, candidate: AggCandidate) -> Screened:
        engine = candidate.engine

        def at(rate: float) -> _Point:
            return self._agg_point(engine, rate)

        most = self._highest_rate(at)
        if most is None:
            return self._hopeless(candidate, {Role.AGG: 1}, at(0.0))
        budget = self._request.total_gpus // engine.tp
        rate = self._offered(most * budget, at(most))
        replicas = max(1, math.ceil(rate / most)) if self._request.load else budget
        return self._sized(candidate, {Role.AGG: replicas}, rate, at(rate / replicas))

    def _disagg(self, candidate: DisaggCandidate) -> Screened:
        prefill, decode = candidate.prefill, candidate.decode
        transfer_ms = self._estimator.transfer_ms(prefill, decode, self._request.isl)

        def prefill_at(rate: float) -> _Point:
            return self._prefill_point(candidate, rate, transfer_ms)

        def decode_at(rate: float) -> _Point:
            return self._decode_point(decode, rate)

        most_prefill = self._highest_rate(prefill_at)
        most_decode = self._highest_rate(decode_at)
        ones = {Role.PREFILL: 1, Role.DECODE: 1}
        if most_prefill is None or most_decode is None:
            empty = _Point(ttft_ms=prefill_at(0.0).ttft_ms, itl_ms=decode_at(0.0).itl_ms)
            return self._hopeless(candidate, ones, empty)
        at_most = _Point(
            ttft_ms=prefill_at(most_prefill).ttft_ms, itl_ms=decode_at(most_decode).itl_ms
        )
        pools = _best_split(
            self._request.total_gpus, (prefill.tp, decode.tp), (most_prefill, most_decode)
        )
        rate = self._offered(min(pools[0] * most_prefill, pools[1] * most_decode), at_most)
        if self._request.load:
            pools = (math.ceil(rate / most_prefill), math.ceil(rate / most_decode))
        replicas = {Role.PREFILL: max(1, pools[0]), Role.DECODE: max(1, pools[1])}
        point = _Point(
            ttft_ms=prefill_at(rate / replicas[Role.PREFILL]).ttft_ms,
            itl_ms=decode_at(rate / replicas[Role.DECODE]).itl_ms,
        )
        return self._sized(candidate, replicas, rate, point)

    # -- one replica -----------------------------------------------------------------

    def _agg_point(self, engine: EngineChoice, rate: float) -> _Point:
        isl, osl = self._request.isl, self._request.osl
        context = isl + osl / 2
        step_ms = self._estimator.step_ms(
            engine, requests=1, context_tokens=context, chunk_tokens=0
        )
        requests = 1.0
        for _ in range(_FIXED_POINT_STEPS):
            requests = max(1.0, rate * osl * step_ms / 1e3)
            chunk = rate * isl * step_ms / 1e3
            if requests > self._seats(engine) or chunk > engine.max_num_batched_tokens:
                return _OVERLOAD
            step_ms = self._estimator.step_ms(
                engine, requests=requests, context_tokens=context, chunk_tokens=chunk
            )
        chunk = min(isl, engine.max_num_batched_tokens)
        service_ms = math.ceil(isl / chunk) * self._estimator.step_ms(
            engine, requests=requests, context_tokens=context, chunk_tokens=chunk
        )
        wait_ms = _md1_wait_ms(rate, service_ms)
        return _Point(ttft_ms=service_ms + wait_ms + step_ms / 2, itl_ms=step_ms)

    def _prefill_point(self, candidate: DisaggCandidate, rate: float, transfer_ms: float) -> _Point:
        service_ms = self._estimator.prefill_ms(candidate.prefill, self._request.isl)
        first_ms = self._decode_point(candidate.decode, 0.0).itl_ms
        ttft_ms = service_ms + _md1_wait_ms(rate, service_ms) + transfer_ms + 1.5 * first_ms
        return _Point(ttft_ms=ttft_ms, itl_ms=0.0)

    def _decode_point(self, engine: EngineChoice, rate: float) -> _Point:
        context = self._request.isl + self._request.osl / 2
        step_ms, requests = 0.0, 1.0
        for _ in range(_FIXED_POINT_STEPS):
            step_ms = self._estimator.step_ms(
                engine, requests=requests, context_tokens=context, chunk_tokens=0
            )
            requests = max(1.0, rate * self._request.osl * step_ms / 1e3)
            if requests > self._seats(engine):
                return _OVERLOAD
        return _Point(ttft_ms=0.0, itl_ms=step_ms)

    def _seats(self, engine: EngineChoice) -> float:
        """Requests that fit into an engine at once."""
        room = self._estimator.kv_tokens(engine) / (self._request.isl + self._request.osl)
        return min(MAX_NUM_SEQS, room)

    # -- sizing ----------------------------------------------------------------------

    def _meets(self, point: _Point) -> bool:
        sla = self._request.sla
        if sla.e2e_ms is not None:
            return point.ttft_ms + (self._request.osl - 1) * point.itl_ms <= sla.e2e_ms
        return point.ttft_ms <= sla.ttft_ms and point.itl_ms <= sla.itl_ms

    def _highest_rate(self, at: Callable[[float], _Point]) -> float | None:
        """Highest rate within the targets, ``None`` when even an idle replica misses them."""
        if not self._meets(at(0.0)):
            return None
        low, high = 0.0, 0.01
        while self._meets(at(high)):
            low, high = high, high * 4
            if high > 1e5:
                return low
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if self._meets(at(middle)) else (low, middle)
        return low or None

    def _offered(self, most: float, point: _Point) -> float:
        """The rate to be served: the declared one, or the most the budget sustains."""
        match self._request.load:
            case RateLoad(requests_per_s=rate):
                return rate
            case ConcurrencyLoad(requests=requests):
                latency_ms = point.ttft_ms + (self._request.osl - 1) * point.itl_ms
                return requests / latency_ms * 1e3
            case None:
                return most * 0.95

    def _sized(
        self, candidate: Candidate, replicas: dict[Role, int], rate: float, point: _Point
    ) -> Screened:
        sized = Sized(candidate=candidate, replicas=replicas, rate_per_s=rate)
        allowed = self._request.total_gpus
        fits = sized.gpus <= allowed
        return Screened(
            sized=sized,
            ttft_ms=point.ttft_ms,
            itl_ms=point.itl_ms,
            feasible=fits,
            reason="" if fits else f"GPU budget: needs {sized.gpus} GPUs, {allowed} allowed",
        )

    def _hopeless(self, candidate: Candidate, replicas: dict[Role, int], point: _Point) -> Screened:
        sla = self._request.sla
        if sla.e2e_ms is not None:
            e2e_ms = point.ttft_ms + (self._request.osl - 1) * point.itl_ms
            reason = f"E2E: {e2e_ms:.0f} ms when idle, target {sla.e2e_ms:g} ms"
        elif point.ttft_ms > sla.ttft_ms:
            reason = f"TTFT: {point.ttft_ms:.0f} ms when idle, target {sla.ttft_ms:g} ms"
        else:
            reason = f"ITL: {point.itl_ms:.1f} ms when idle, target {sla.itl_ms:g} ms"
        return Screened(
            sized=Sized(candidate=candidate, replicas=replicas, rate_per_s=0.0),
            ttft_ms=point.ttft_ms,
            itl_ms=point.itl_ms,
            feasible=False,
            reason=reason,
        )


def _md1_wait_ms(rate_per_s: float, service_ms: float) -> float:
    utilisation = rate_per_s * service_ms / 1e3
    if utilisation >= _UTILISATION_MAX:
        return math.inf
    return utilisation * service_ms / (2 * (1 - utilisation))


def _best_split(
    total_gpus: int, sizes: tuple[int, int], rates: tuple[float, float]
) -> tuple[int, int]:
    """Prefill and decode replicas that serve most within the budget; fewer GPUs on a tie."""
    best, best_key = (1, 1), (-1.0, 0)
    for prefill in range(1, (total_gpus - sizes[1]) // sizes[0] + 1):
        decode = (total_gpus - prefill * sizes[0]) // sizes[1]
        served = min(prefill * rates[0], decode * rates[1])
        decode = max(1, min(decode, math.ceil(served / rates[1])))
        key = (served, -(prefill * sizes[0] + decode * sizes[1]))
        if key > best_key:
            best, best_key = (prefill, decode), key
    return best
