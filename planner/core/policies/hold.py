"""Slow down, fast up: needs of the recent past keep workers, and reversals are counted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from planner.core.config import PlannerConfig, PoolConfig
from planner.core.state import Move, NeedPoint, PlannerState

_ROUNDING = 1e-9
HOUR_S = 3600.0
_TOGETHER_MAX = 5
_SPARE_FROM = 4


def whole_replicas(need: float, pool: PoolConfig) -> int:
    """The need rounded up, never below the pool's floor."""
    return max(pool.min_replicas, math.ceil(need - _ROUNDING))


def remember_need(
    config: PlannerConfig, points: Sequence[NeedPoint], new: NeedPoint
) -> tuple[NeedPoint, ...]:
    """The needs that still count, with the new one at the end."""
    oldest_s = new.at_s - config.scale_down_hold_s
    return (*(point for point in points if point.at_s >= oldest_s), new)


def band(config: PlannerConfig, state: PlannerState, pool: int, position: int) -> tuple[int, int]:
    """At least and at most so many replicas: what the highest need of the hold asks for.

    Until needs are known without a gap for the whole hold, nobody may go.
    """
    at_s = state.needs[-1].at_s
    peak = max(point.replicas[pool] for point in state.needs)
    level = whole_replicas(peak, config.pools[pool])
    seen_s = 0.0 if state.sighted_since_s is None else at_s - state.sighted_since_s
    return level, level if seen_s >= config.scale_down_hold_s else max(level, position)


def kept(
    config: PlannerConfig, state: PlannerState, pool: int, position: int, foreseen: int
) -> int:
    """Replicas that stay: idle ones go when together they have idled for the whole hold.

    Replica number n idles since the need was last above n - 1. One that idles alone waits
    for the hold, five that idle together for a fifth of it, which is the least: the cost of
    waiting grows with their number, that of letting them go in vain does not. Those that the
    forecast to the end of the hold does not want either wait for a fifth of it, even alone.
    Until needs are known without a gap for the whole hold, nobody goes.

    Args:
        config: the configuration.
        state: memory, with the needs of the hold.
        pool: index of the pool.
        position: replicas that are there or on order.
        foreseen: replicas that may be wanted until the hold were over.
    """
    at_s = state.needs[-1].at_s
    seen_s = 0.0 if state.sighted_since_s is None else at_s - state.sighted_since_s
    if seen_s < config.scale_down_hold_s:
        return position
    least_s = config.scale_down_hold_s / _TOGETHER_MAX
    needed = whole_replicas(state.needs[-1].replicas[pool], config.pools[pool])
    idle = [
        (number, _idle_s(state.needs, config.pools[pool], pool, number, seen_s))
        for number in range(needed + 1, position + 1)
    ]
    going = [(number, idle_s) for number, idle_s in idle if idle_s >= least_s - _ROUNDING]
    if sum(idle_s for _, idle_s in going) >= config.scale_down_hold_s - _ROUNDING:
        return position - len(going)
    return position - sum(number > foreseen for number, _ in going)


def confirmed(state: PlannerState, pool: int, since_s: float) -> int:
    """Replicas that every tick since then wanted; a want of one tick is mostly noise."""
    asked = [point.wanted[pool] for point in state.needs if point.at_s >= since_s - _ROUNDING]
    return math.ceil(min(asked) - _ROUNDING)


def _idle_s(
    needs: Sequence[NeedPoint], pool: PoolConfig, index: int, number: int, seen_s: float
) -> float:
    for point in reversed(needs):
        if whole_replicas(point.replicas[index], pool) >= number:
            return needs[-1].at_s - point.at_s
    return seen_s


def hold_note(config: PlannerConfig, kept: int, wanted: int, load_known: bool) -> tuple[str, ...]:
    """Why more are kept than wanted."""
    if kept <= wanted:
        return ()
    if not load_known:
        return ("its load is unknown",)
    return (f"not fewer before the need has been lower for {config.scale_down_hold_s:g} s",)


def reversals(moves: Sequence[Move], pool: int, now_s: float) -> int:
    """Changes of direction of one pool within the last hour."""
    mine = [move for move in moves if move.pool == pool]
    return sum(
        before.direction != after.direction and after.at_s > now_s - HOUR_S
        for before, after in pairwise(mine)
    )


def may_turn_down(
    config: PlannerConfig, state: PlannerState, pool: int, now_s: float, count: int
) -> bool:
    """Whether a removal leaves room for the growth that may have to follow it.

    Growth is never refused, so a removal after growth must leave one reversal for the
    next growth within the hour's bound. A single replica also leaves room for a larger
    removal, so that little ups and downs do not hold a large fleet for an hour.
    """
    last = next((move for move in reversed(state.moves) if move.pool == pool), None)
    if last is None or last.direction < 0:
        return True
    spare = 2 if count > 1 or config.direction_changes_max < _SPARE_FROM else 4
    return reversals(state.moves, pool, now_s) + spare <= config.direction_changes_max
