"""Which engines need not be deployed, by an estimate or by what others have shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from contracts.errors import InfeasibleError, InputError, UnsupportedError
from contracts.plan import EngineSpec, Role
from contracts.ports import TimerFactory
from contracts.sla import SlaTarget
from contracts.units import FS_PER_NS, NS_PER_MS
from profiler.measure.estimate import lone_prefill_ms
from profiler.thorough.candidates import EngineCandidate
from profiler.thorough.pick import TTFT_CORRECTION
from profiler.thorough.wish import Wish

# An estimate may be off by a third; only what is far beyond its target is hopeless.
HOPELESS_RATIO = 3.0


def idle_latency_ms(engine: EngineSpec, wish: Wish, timer_for: TimerFactory) -> tuple[float, float]:
    """Estimated TTFT and ITL of an engine with one request; NaN where there is no estimate."""
    try:
        timer = timer_for(engine)
    except (UnsupportedError, InfeasibleError, InputError):
        return math.nan, math.nan
    ttft_ms = lone_prefill_ms(timer, wish.isl, engine.limits.max_num_batched_tokens)
    context = wish.isl + wish.osl // 2
    itl_ms = timer.mixed_step_fs(1, context, []) / FS_PER_NS / NS_PER_MS
    return ttft_ms, itl_ms


def hopeless(
    candidates: Sequence[EngineCandidate], wish: Wish, role: Role, timer_for: TimerFactory
) -> dict[str, str]:
    """Labels and reasons of engines whose estimate is far beyond the target.

    The one with the best estimate is never among them, so that something is measured.
    """
    latencies = {c.label: idle_latency_ms(c.engine, wish, timer_for) for c in candidates}
    excesses = {label: _excess(found, wish, role) for label, found in latencies.items()}
    known = {label: value for label, value in excesses.items() if not math.isnan(value)}
    if not known:
        return {}
    best = min(known.values())
    return {
        label: f"hopeless: the estimate without load is {value:.1f} times the target"
        for label, value in known.items()
        if value > HOPELESS_RATIO and value > best
    }


def dominated(
    candidate: EngineCandidate,
    measured: Sequence[tuple[EngineCandidate, float, bool]],
    wish: Wish,
) -> str | None:
    """Why an engine can only be worse than smaller ones of its family, ``None`` if it may not.

    Args:
        candidate: the next engine.
        measured: engines so far, with their best tokens a second for each GPU within the
            target, and whether there was any.
        wish: what is searched for; who prefers latency gets every size measured.
    """
    if wish.latency_first:
        return None
    family = [
        (other.shape.gpus, value)
        for other, value, good in measured
        if good
        and other.shape.family == candidate.shape.family
        and other.shape.gpus < candidate.shape.gpus
    ]
    if len(family) < 2:
        return None
    (_, before), (gpus, last) = sorted(family)[-2:]
    if last >= before:
        return None
    return (
        f"dominated: with {gpus} GPUs the target holds already and the throughput of each GPU "
        f"falls with the size ({before:.0f} to {last:.0f} tokens/s)"
    )


def ttft_good(ttft_ms: float, sla: SlaTarget) -> bool:
    """Whether a lone prompt leaves room for a queue."""
    target = sla.ttft_ms if sla.e2e_ms is None else sla.e2e_ms
    return ttft_ms * TTFT_CORRECTION < target


def _excess(latency: tuple[float, float], wish: Wish, role: Role) -> float:
    ttft_ms, itl_ms = latency
    sla = wish.sla
    if sla.e2e_ms is not None:
        parts: Mapping[Role, float] = {
            Role.PREFILL: ttft_ms,
            Role.DECODE: itl_ms * (wish.osl - 1),
            Role.AGG: ttft_ms + itl_ms * (wish.osl - 1),
        }
        return parts[role] / sla.e2e_ms
    if role is Role.PREFILL:
        return ttft_ms / sla.ttft_ms
    if role is Role.DECODE:
        return itl_ms / sla.itl_ms
    return max(ttft_ms / sla.ttft_ms, itl_ms / sla.itl_ms)
