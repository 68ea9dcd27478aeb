"""What observed latencies say about the curves, one cause at a time.

Three causes make an observed latency differ from the curves': the engine is faster or slower
(model error: seen in ITL at the number of requests that really run), prompts hit the prefix
cache (seen in a TTFT below that of prompts of this length in the queue that they make), and
queueing (the rest of the TTFT, which is modelled and never folded into a factor). Each
factor is the median of the last windows, so single odd ones do not count, and only windows in
which no worker came or went are used.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from contracts.curves import PrefillCurves
from contracts.observation import Observation, PoolLoad, Traffic
from contracts.plan import Role
from planner.core.capacity import CapacityModel, Lengths
from planner.core.config import PlannerConfig, PoolConfig
from planner.core.curves import prefill_ttft_ms
from planner.core.inventory import inventory
from planner.core.sizing import Corrections, predicted_itl_ms
from planner.core.state import PlannerState, Residual

KEPT = 15
_COUNT_MIN = 5
_MS_PER_S = 1000.0
_ITL_RATIO_BOUNDS = (0.7, 2.0)
_HIT_RATIO_MAX = 0.95
_HIT_PRECISION = 1e-3
# A queue that is seen for one window has not grown to what a higher utilisation would make it.
_UTILISATION_MAX = 0.8


def window_residual(
    config: PlannerConfig,
    model: CapacityModel,
    state: PlannerState,
    observation: Observation,
    traffic: Traffic,
    lengths: Lengths,
) -> Residual | None:
    """Residuals of one window; ``None`` when workers came or went, or nothing was seen."""
    ready = ready_counts(config, observation)
    if ready != state.ready or 0 in ready:
        return None
    itl_ratio = hit_ratio = None
    known = corrections(state.residuals).hit_ratio
    computed = Lengths(isl=max(1.0, lengths.isl * (1.0 - known)), osl=lengths.osl)
    for pool, servers in zip(config.pools, ready, strict=True):
        load = next((each for each in observation.loads if each.role is pool.role), None)
        if load is not None and _shows_itl(pool, load):
            itl_ratio = _itl_ratio(model, pool, load, servers, traffic, (computed, lengths.isl))
        if pool.role is not Role.DECODE and traffic.ttft_ms_mean is not None:
            step_ms = (traffic.itl_ms_mean or 0.0) if pool.role is Role.AGG else 0.0
            rate_per_ms = traffic.rate_per_s / servers / _MS_PER_S
            first_ms = traffic.ttft_ms_mean - step_ms
            hit_ratio = _hit_ratio(model.prefill, lengths.isl, first_ms, rate_per_ms)
    if itl_ratio is None and hit_ratio is None:
        return None
    return Residual(itl_ratio=itl_ratio, hit_ratio=hit_ratio)


def ready_counts(config: PlannerConfig, observation: Observation) -> tuple[int, ...]:
    """Ready workers of each pool."""
    return tuple(inventory(observation, pool.role).ready for pool in config.pools)


def corrections(residuals: Sequence[Residual]) -> Corrections:
    """Medians of the last windows; neutral until enough were seen."""
    itl = [each.itl_ratio for each in residuals if each.itl_ratio is not None]
    hits = [each.hit_ratio for each in residuals if each.hit_ratio is not None]
    low, high = _ITL_RATIO_BOUNDS
    return Corrections(
        itl_ratio=min(high, max(low, statistics.median(itl))) if len(itl) >= _COUNT_MIN else 1.0,
        hit_ratio=statistics.median(hits) if len(hits) >= _COUNT_MIN else 0.0,
    )


def _shows_itl(pool: PoolConfig, load: PoolLoad) -> bool:
    """Somebody runs; in an aggregated pool nobody waits, since the queue's prompts cost ITL too.

    A decode pool that is full runs as many as it can for as long as its queue lasts, so its
    latencies belong to them. Without these windows one that is slower than its curve, and
    therefore always has a queue, would never be seen to be slower.
    """
    if pool.role is Role.PREFILL or load.running_requests == 0:
        return False
    return pool.role is Role.DECODE or load.waiting_requests == 0


def _itl_ratio(
    model: CapacityModel,
    pool: PoolConfig,
    load: PoolLoad,
    servers: int,
    traffic: Traffic,
    work: tuple[Lengths, float],
) -> float | None:
    if traffic.itl_ms_mean is None or traffic.itl_ms_mean <= 0.0:
        return None
    predicted = predicted_itl_ms(
        model, pool, work[0], load.running_requests / servers, context_isl=work[1]
    )
    return traffic.itl_ms_mean / predicted


def _hit_ratio(curves: PrefillCurves, isl: float, first_ms: float, rate_per_ms: float) -> float:
    """Share of the prompt that cannot have been computed in the time to the first token.

    The time is that of a lone prefill of the rest, and of waiting for those before it. Of all
    queues with that service M/D/1 has about the least wait (Pollaczek-Khinchine: rho*s /
    (2*(1-rho))), so that hits are rather seen too low than too high.

    Args:
        curves: of the prefill.
        isl: tokens of the prompt.
        first_ms: mean time to the first token, without the step that it waits for.
        rate_per_ms: prompts that one replica gets.
    """

    def expected_ms(hits: float) -> float:
        service_ms = prefill_ttft_ms(curves, isl * (1.0 - hits))
        busy = min(rate_per_ms * service_ms, _UTILISATION_MAX)
        return service_ms * (1.0 + busy / (2.0 * (1.0 - busy)))

    if first_ms >= expected_ms(0.0):
        return 0.0
    low, high = 0.0, _HIT_RATIO_MAX
    while high - low > _HIT_PRECISION:
        middle = (low + high) / 2.0
        low, high = (middle, high) if expected_ms(middle) > first_ms else (low, middle)
    return high
