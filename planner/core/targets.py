"""From fractional needs to whole targets: hysteresis, step limit, floors, GPU budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from planner.core.config import PlannerConfig, PoolConfig
from planner.core.demand import PoolDemand
from planner.core.state import NeedPoint, PlannerState

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolTarget:
    """Outcome for one pool.

    Attributes:
        wanted: replicas that the present need alone asks for, floor included.
        replicas: the target after hysteresis, step limit and budget.
        notes: why ``replicas`` differs from ``wanted``.
    """

    wanted: int
    replicas: int
    notes: tuple[str, ...]


def whole_replicas(need: float, pool: PoolConfig) -> int:
    """The need rounded up, never below the pool's floor."""
    return max(pool.min_replicas, math.ceil(need - _ROUNDING))


def choose_targets(
    config: PlannerConfig, state: PlannerState, demands: Sequence[PoolDemand], now_s: float
) -> tuple[PoolTarget, ...]:
    """Targets of all pools, in their order.

    Up at once: the highest need within the hold decides. Down only when needs are known
    without a gap for the whole hold; until then nothing goes below the inventory position.
    """
    held_s = 0.0 if state.sighted_since_s is None else now_s - state.sighted_since_s
    may_shrink = held_s >= config.scale_down_hold_s
    peaks = [max(point.replicas[i] for point in state.needs) for i in range(len(demands))]
    drafts = [
        _draft(config, demand, peak, may_shrink)
        for demand, peak in zip(demands, peaks, strict=True)
    ]
    return _within_budget(config, drafts, peaks)


def remember_need(
    config: PlannerConfig, points: Sequence[NeedPoint], new: NeedPoint
) -> tuple[NeedPoint, ...]:
    """The needs that still count, with the new one at the end."""
    oldest_s = new.at_s - config.scale_down_hold_s
    return (*(point for point in points if point.at_s >= oldest_s), new)


def _draft(config: PlannerConfig, demand: PoolDemand, peak: float, may_shrink: bool) -> PoolTarget:
    pool, position = demand.pool, demand.inventory.position
    wanted = whole_replicas(demand.need_replicas, pool)
    replicas, notes = whole_replicas(peak, pool), []
    if replicas < position and not (may_shrink and demand.load_known):
        replicas = position
    if replicas > wanted:
        notes.append(
            f"not fewer before the need has been lower for {config.scale_down_hold_s:g} s"
            if demand.load_known
            else "its load is unknown"
        )
    step = config.step_replicas_max
    stepped = max(pool.min_replicas, min(max(replicas, position - step), position + step))
    if stepped != replicas:
        notes.append(f"at most {step} in one tick")
    return PoolTarget(wanted=wanted, replicas=stepped, notes=tuple(notes))


def _within_budget(
    config: PlannerConfig, drafts: Sequence[PoolTarget], needs: Sequence[float]
) -> tuple[PoolTarget, ...]:
    """Fit the drafts into the GPU budget.

    From the floors upwards, each next replica goes to the pool whose need is covered
    least: the slowest pool limits the whole, so this serves the most requests.
    """
    pools, budget = config.pools, config.gpu_budget
    total = sum(d.replicas * p.gpus_per_replica for d, p in zip(drafts, pools, strict=True))
    if budget is None or total <= budget:
        return tuple(drafts)
    given = [pool.min_replicas for pool in pools]
    free = budget - sum(n * pool.gpus_per_replica for n, pool in zip(given, pools, strict=True))
    while True:
        open_pools = [
            i
            for i, pool in enumerate(pools)
            if given[i] < drafts[i].replicas and pool.gpus_per_replica <= free
        ]
        if not open_pools:
            break
        chosen = min(open_pools, key=lambda i: given[i] / max(needs[i], _ROUNDING))
        given[chosen] += 1
        free -= pools[chosen].gpus_per_replica
    note = f"the budget of {budget} GPUs allows no more"
    return tuple(
        PoolTarget(
            wanted=draft.wanted,
            replicas=count,
            notes=draft.notes if count == draft.replicas else (*draft.notes, note),
        )
        for draft, count in zip(drafts, given, strict=True)
    )
