"""Performance curves of the picked engines, on the grid that the planner reads."""

from __future__ import annotations

import numpy as np

from contracts.curves import DecodeCurves, PrefillCurves
from contracts.plan import DeploymentPlan, EngineSpec, Role
from contracts.ports import TimerFactory
from contracts.units import FS_PER_NS, NS_PER_S
from profiler.measure.estimate import lone_prefill_ms
from simcore.perf import roofline

_FIRST_ISL = 100
_PREFILL_POINTS = 17
_PREFILL_MARGIN = 512
_DECODE_CONTEXTS = 7
_DECODE_OSL = 500
_USAGES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.75, 0.9, 1.0)


def context_limit(engine: EngineSpec, isl: int, osl: int) -> int:
    """Longest context on the grid: the model's, but at most four times the declared one.

    A grid up to 128k tokens would have no point between 100 and 8,000.
    """
    return min(engine.model.max_position, max(4 * (isl + osl), 16_384))


def curves_of(
    plan: DeploymentPlan, isl: int, osl: int, timer_for: TimerFactory = roofline
) -> tuple[PrefillCurves, DecodeCurves]:
    """Curves of the prefill and the decode engine; an aggregated engine gives both."""
    pools = {pool.role: pool.engine for pool in plan.topology.pools}
    prefill = pools.get(Role.PREFILL, next(iter(pools.values())))
    decode = pools.get(Role.DECODE, next(iter(pools.values())))
    return (
        prefill_curves(prefill, context_limit(prefill, isl, osl), timer_for),
        decode_curves(decode, context_limit(decode, isl, osl), timer_for),
    )


def prefill_curves(
    engine: EngineSpec, limit: int, timer_for: TimerFactory = roofline
) -> PrefillCurves:
    """TTFT and throughput of a lone prompt by length."""
    timer = timer_for(engine)
    lengths = np.linspace(_FIRST_ISL, limit - _PREFILL_MARGIN, _PREFILL_POINTS).round()
    budget = engine.limits.max_num_batched_tokens
    ttft_ms = np.array([lone_prefill_ms(timer, int(isl), budget) for isl in lengths])
    return PrefillCurves(
        prefill_isl=lengths,
        prefill_ttft=ttft_ms,
        prefill_thpt_per_gpu=lengths / ttft_ms * 1000.0 * engine.dp / engine.gpus,
    )


def decode_curves(
    engine: EngineSpec, limit: int, timer_for: TimerFactory = roofline
) -> DecodeCurves:
    """ITL and throughput of decode-only steps by KV usage and context, all ranks alike."""
    timer = timer_for(engine)
    room = engine.limits.kv_blocks_total * engine.limits.block_size_tokens
    rows: list[tuple[float, float, float, float]] = []
    for isl in np.linspace(_FIRST_ISL, limit - _DECODE_OSL, _DECODE_CONTEXTS):
        context = round(isl + _DECODE_OSL / 2)
        most = min(engine.limits.max_num_seqs, room // context)
        for requests in sorted({max(1, round(usage * most)) for usage in _USAGES}):
            step_s = timer.mixed_step_fs(requests, requests * context, []) / FS_PER_NS / NS_PER_S
            usage = requests * context / room
            rows.append((usage, context, step_s * 1e3, requests * engine.dp / step_s / engine.gpus))
    x, y, itl_ms, throughput = (np.array(column) for column in zip(*rows, strict=True))
    return DecodeCurves(
        x_kv_usage=x,
        y_context_length=y,
        z_itl=itl_ms,
        z_thpt_per_gpu=throughput,
        max_kv_tokens=room * engine.dp,
    )
