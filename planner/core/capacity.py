"""Requests a second that one replica serves within the targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.curves import DecodeCurves, FloatArray, PrefillCurves
from contracts.errors import InputError
from contracts.plan import Role
from contracts.sla import SlaTarget
from planner.core.config import PoolConfig
from planner.core.curves import decode_line, prefill_ttft_ms

_MS_PER_S = 1000.0
_AGG_PARTS = 16

UTILISATION_FLOOR_RATIO = 0.3
"""Below this utilisation further replicas hardly shorten the queue, so none are planned for it.

It also keeps the capacity continuous where the TTFT target meets the bare service time.
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CapacityModel:
    """Measured curves of the two phases; in an aggregated fleet of the same engine.

    Raises:
        InputError: a time, throughput or length is not finite and positive.
    """

    prefill: PrefillCurves
    decode: DecodeCurves

    def __post_init__(self) -> None:
        for curves, names in (
            (self.prefill, ("prefill_isl", "prefill_ttft", "prefill_thpt_per_gpu")),
            (self.decode, ("y_context_length", "z_itl", "z_thpt_per_gpu")),
        ):
            for name in names:
                values = getattr(curves, name)
                if not bool(np.all(np.isfinite(values) & (values > 0))):
                    raise InputError("curve values must be finite and above 0", path=name)
        usage = self.decode.x_kv_usage
        if not bool(np.all(np.isfinite(usage) & (usage >= 0))):
            raise InputError("curve values must be finite and at least 0", path="x_kv_usage")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Mean prompt and output tokens of the traffic, both at least 1."""

    isl: float
    osl: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What one replica can do.

    Attributes:
        requests_per_s_max: at full utilisation within the ITL target.
        utilisation_ratio: share of it that keeps waiting short and leaves headroom.
        requests_in_flight_max: decoding requests at full utilisation, ``None`` for prefill.
        notes: what people should know, for example targets that cannot be met.
    """

    requests_per_s_max: float
    utilisation_ratio: float
    requests_in_flight_max: float | None
    notes: tuple[str, ...] = ()

    @property
    def requests_per_s(self) -> float:
        """The rate that is planned for."""
        return self.requests_per_s_max * self.utilisation_ratio


def capacity(
    model: CapacityModel,
    pool: PoolConfig,
    lengths: Lengths,
    sla: SlaTarget,
    utilisation_target_ratio: float,
    *,
    context_isl: float | None = None,
) -> Capacity:
    """Capacity of one replica of a pool.

    Args:
        model: the curves.
        pool: role and GPUs of the replica.
        lengths: mean lengths of the traffic.
        sla: latency targets.
        utilisation_target_ratio: upper bound of the utilisation (0-1).
        context_isl: prompt tokens in context, when a cache holds some of them and
            ``lengths.isl`` are only those to compute.
    """
    context = lengths.isl if context_isl is None else context_isl
    if pool.role is Role.PREFILL:
        return _prefill(model, lengths, sla, utilisation_target_ratio)
    if pool.role is Role.DECODE:
        return _decode(
            model, pool, Lengths(isl=context, osl=lengths.osl), sla, utilisation_target_ratio
        )
    return _agg(model, pool, (lengths, context), sla, utilisation_target_ratio)


def md1_utilisation_limit(service_ms: float, wait_ms_mean_max: float) -> float:
    """Largest utilisation at which the mean wait of an M/D/1 queue stays within a bound.

    Pollaczek-Khinchine for constant service: W = rho*s / (2*(1 - rho)), so with
    a = 2*W/s the answer is a / (1 + a). Zero when the bound is not positive.
    """
    a = 2.0 * max(wait_ms_mean_max, 0.0) / service_ms
    return a / (1.0 + a)


def best_point(
    itl_ms: FloatArray, requests_per_s: FloatArray, itl_ms_max: float
) -> tuple[float, float, bool]:
    """Highest rate on a polyline whose ITL is within the target.

    The polyline is searched as a whole because measured ITL is not monotone; where it
    crosses the target, the crossing itself is a candidate.

    Args:
        itl_ms: shape (n,), in order of KV usage.
        requests_per_s: shape (n,).
        itl_ms_max: the target.

    Returns:
        Rate, ITL there, and whether the target is met. If it is met nowhere, the point
        with the lowest ITL.
    """
    within = itl_ms <= itl_ms_max
    if not bool(np.any(within)):
        at = int(np.argmin(itl_ms))
        return float(requests_per_s[at]), float(itl_ms[at]), False
    candidates = [(float(requests_per_s[i]), float(itl_ms[i])) for i in np.flatnonzero(within)]
    for i in np.flatnonzero(within[1:] != within[:-1]):
        share = (itl_ms_max - itl_ms[i]) / (itl_ms[i + 1] - itl_ms[i])
        rate = requests_per_s[i] + share * (requests_per_s[i + 1] - requests_per_s[i])
        candidates.append((float(rate), itl_ms_max))
    rate_per_s, itl_at_ms = max(candidates)
    return rate_per_s, itl_at_ms, True


def _prefill(
    model: CapacityModel, lengths: Lengths, sla: SlaTarget, utilisation: float
) -> Capacity:
    service_ms = prefill_ttft_ms(model.prefill, lengths.isl)
    ratio, notes = _ttft_utilisation(service_ms, service_ms, sla, utilisation)
    return Capacity(
        requests_per_s_max=_MS_PER_S / service_ms,
        utilisation_ratio=ratio,
        requests_in_flight_max=None,
        notes=(*notes, *_prefill_range_notes(model, lengths)),
    )


def _decode(
    model: CapacityModel, pool: PoolConfig, lengths: Lengths, sla: SlaTarget, utilisation: float
) -> Capacity:
    line = decode_line(model.decode, _context_tokens(lengths))
    rates = line.tokens_per_s_per_gpu * pool.gpus_per_replica / lengths.osl
    rate_per_s, itl_ms, met = best_point(line.itl_ms, rates, sla.itl_ms)
    return Capacity(
        requests_per_s_max=rate_per_s,
        utilisation_ratio=utilisation,
        requests_in_flight_max=_in_flight(rate_per_s, lengths, itl_ms),
        notes=(*_itl_notes(sla, itl_ms, met), *_decode_range_notes(model, lengths)),
    )


def shared_line(
    model: CapacityModel, pool: PoolConfig, lengths: Lengths, context_isl: float
) -> tuple[FloatArray, FloatArray]:
    """Requests a second and ITL (ms) of an aggregated engine, by KV usage.

    Prefill and decode share the engine's time: 1/mu = 1/mu_prefill + 1/mu_decode. While a
    share of the time goes to prompts, tokens come more slowly: with prefill time s and
    decode throughput d the ITL grows by 1 + s*d/OSL.

    Args:
        model: the curves.
        pool: the pool.
        lengths: prompt tokens to compute, and output tokens.
        context_isl: prompt tokens in context.
    """
    prefill_s = prefill_ttft_ms(model.prefill, lengths.isl) / _MS_PER_S
    line = decode_line(model.decode, context_isl + lengths.osl / 2.0).refined(_AGG_PARTS)
    decode_per_s = line.tokens_per_s_per_gpu * pool.gpus_per_replica / lengths.osl
    itl_ms = line.itl_ms * (1.0 + prefill_s * decode_per_s)
    return 1.0 / (prefill_s + 1.0 / decode_per_s), itl_ms


def _agg(
    model: CapacityModel,
    pool: PoolConfig,
    work: tuple[Lengths, float],
    sla: SlaTarget,
    utilisation: float,
) -> Capacity:
    """The highest rate whose ITL, shared with prompts, is within the target.

    A prompt also waits for the step that is running.
    """
    lengths, context_isl = work
    rates, itl_shared_ms = shared_line(model, pool, lengths, context_isl)
    rate_per_s, itl_ms, met = best_point(itl_shared_ms, rates, sla.itl_ms)
    service_ms = prefill_ttft_ms(model.prefill, lengths.isl)
    prefill_ratio, ttft_notes = _ttft_utilisation(service_ms, service_ms + itl_ms, sla, 1.0)
    return Capacity(
        requests_per_s_max=rate_per_s,
        utilisation_ratio=min(utilisation, prefill_ratio / (rate_per_s * service_ms / _MS_PER_S)),
        requests_in_flight_max=_in_flight(rate_per_s, lengths, itl_ms),
        notes=(
            *ttft_notes,
            *_itl_notes(sla, itl_ms, met),
            *_prefill_range_notes(model, lengths),
            *_decode_range_notes(model, Lengths(isl=context_isl, osl=lengths.osl)),
        ),
    )


def _ttft_utilisation(
    service_ms: float, unloaded_ms: float, sla: SlaTarget, utilisation: float
) -> tuple[float, tuple[str, ...]]:
    limit = md1_utilisation_limit(service_ms, sla.ttft_ms - unloaded_ms)
    if limit >= UTILISATION_FLOOR_RATIO:
        return min(utilisation, limit), ()
    note = f"TTFT target {sla.ttft_ms:g} ms is out of reach" if limit <= 0.0 else "tight TTFT"
    ratio = min(utilisation, UTILISATION_FLOOR_RATIO)
    return ratio, (f"{note}: an unloaded engine needs {unloaded_ms:.0f} ms",)


def _context_tokens(lengths: Lengths) -> float:
    return lengths.isl + lengths.osl / 2.0


def _in_flight(rate_per_s: float, lengths: Lengths, itl_ms: float) -> float:
    """Little's law: rate times the time a request spends decoding, at least one."""
    return max(1.0, rate_per_s * lengths.osl * itl_ms / _MS_PER_S)


def _itl_notes(sla: SlaTarget, itl_ms: float, met: bool) -> tuple[str, ...]:
    if met:
        return ()
    return (f"ITL target {sla.itl_ms:g} ms is out of reach: the best is {itl_ms:.1f} ms",)


def _prefill_range_notes(model: CapacityModel, lengths: Lengths) -> tuple[str, ...]:
    longest = float(np.max(model.prefill.prefill_isl))
    if lengths.isl <= longest:
        return ()
    return (f"ISL {lengths.isl:.0f} is beyond the profiled {longest:.0f}",)


def _decode_range_notes(model: CapacityModel, lengths: Lengths) -> tuple[str, ...]:
    longest, context = float(np.max(model.decode.y_context_length)), _context_tokens(lengths)
    if context <= longest:
        return ()
    return (f"context {context:.0f} is beyond the profiled {longest:.0f}",)
