"""Picks a deployment among measured rows (section 8.4 of the DGDR reference)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from contracts.errors import InfeasibleError
from contracts.sla import SlaTarget
from profiler.core.request import PickMode
from profiler.thorough.rows import (
    AggRow,
    DecodeRow,
    Option,
    PrefillRow,
    excess,
    options,
    pair_option,
    shortfall,
    within,
)
from profiler.thorough.wish import Wish

# A planner scales prefill workers under load: a queue makes TTFT this much longer.
TTFT_CORRECTION = 1.8
TOP = 5
Row = TypeVar("Row", PrefillRow, DecodeRow)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A unit, how often it is deployed, and how it was judged.

    Attributes:
        units: how often the unit is deployed.
        feasible: all targets hold.
        load_served_percent: of the declared load, ``None`` when none is declared.
        reason: why it stands where it stands.
    """

    option: Option
    units: int
    feasible: bool
    reason: str
    load_served_percent: float | None = None

    @property
    def gpus(self) -> int:
        """GPUs of all units."""
        return self.units * self.option.gpus

    @property
    def replicas(self) -> dict[str, int]:
        """Workers of each role."""
        return {role: self.units * count for role, count in self.option.workers.items()}


def rank(
    wish: Wish,
    prefill: Sequence[PrefillRow],
    decode: Sequence[DecodeRow],
    agg: Sequence[AggRow],
) -> list[Ranked]:
    """The best configurations, best first; one that meets the targets stands before all others.

    Raises:
        InfeasibleError: no row fits the budget.
    """
    if wish.mode is PickMode.AUTOSCALE:
        ranked = _autoscale(wish, prefill, decode) or _default(
            replace(wish, mode=PickMode.DEFAULT), options((), (), agg, wish.total_gpus)
        )
        ranked = [replace(r, units=1) for r in ranked]
    else:
        found = options(prefill, decode, agg, wish.total_gpus)
        ranked = (
            _load_match(wish, found) if wish.mode is PickMode.LOAD_MATCH else _default(wish, found)
        )
    if not ranked:
        raise InfeasibleError(
            f"no measured configuration of {wish.model.model_id} can be deployed",
            binding_constraint=f"{wish.total_gpus} GPUs",
            closest=[f"{len(prefill)} prefill, {len(decode)} decode, {len(agg)} aggregated rows"],
        )
    return ranked


def judged(wish: Wish, option: Option) -> Ranked:
    """One unit or as many as the load or the budget ask for, whether or not it is picked."""
    good = within(option, wish.sla)
    if wish.mode is PickMode.LOAD_MATCH:
        return _sized(wish, option, good=good)
    units = 1 if wish.mode is PickMode.AUTOSCALE else wish.total_gpus // option.gpus
    reason = _reason(option, wish.sla, good=good)
    return Ranked(option=option, units=units, feasible=good, reason=reason)


def _default(wish: Wish, found: Sequence[Option]) -> list[Ranked]:
    """Highest throughput of the whole budget within the targets."""
    total = wish.total_gpus

    def cluster(option: Option) -> float:
        return option.tokens_per_s_per_gpu * (total // option.gpus) * option.gpus / total

    def order(option: Option) -> tuple[float, ...]:
        if wish.latency_first:
            return option.latency_ms, -cluster(option)
        if wish.sla.e2e_ms is not None:
            return -cluster(option), option.latency_ms
        return -cluster(option), -option.tokens_per_s_per_user

    good = [option for option in found if within(option, wish.sla)]
    pool = good or sorted(found, key=lambda o: (excess(o, wish.sla), -cluster(o)))
    chosen = _best_of_each(sorted(good, key=order) if good else pool)
    return [
        Ranked(
            option=option,
            units=total // option.gpus,
            feasible=bool(good),
            reason=_reason(option, wish.sla, good=bool(good)),
        )
        for option in chosen[:TOP]
    ]


def _load_match(wish: Wish, found: Sequence[Option]) -> list[Ranked]:
    """Fewest GPUs that serve the load; what the budget cannot serve says how much it does."""
    good = [option for option in found if within(option, wish.sla)]
    pool = good or sorted(found, key=lambda o: excess(o, wish.sla))
    ranked = [_sized(wish, option, good=bool(good)) for option in pool]
    enough = [r for r in ranked if r.load_served_percent == 100.0]

    def by_gpus(r: Ranked) -> tuple[float, ...]:
        head = (r.option.latency_ms,) if wish.latency_first else ()
        return (r.gpus, *head, -r.option.tokens_per_s_per_gpu)

    def by_throughput(r: Ranked) -> tuple[float, ...]:
        return (-r.units * r.option.tokens_per_s,)

    order: Callable[[Ranked], tuple[float, ...]] = by_gpus if enough else by_throughput
    if not good:
        closest = min(excess(r.option, wish.sla) for r in ranked) if ranked else 0.0
        # Targets first: rows that miss them by about the same are compared by GPUs.
        near = [r for r in ranked if excess(r.option, wish.sla) <= closest * 1.001]
        return sorted(near, key=order)[:TOP]
    return sorted(enough or ranked, key=order)[:TOP]


def _sized(wish: Wish, option: Option, *, good: bool) -> Ranked:
    if wish.rate_per_s is not None:
        needed = wish.rate_per_s / option.seq_per_s
    else:
        needed = (wish.concurrency or 1.0) / option.concurrency
    units = max(1, math.ceil(needed - 1e-9))
    most = max(1, wish.total_gpus // option.gpus)
    served = 100.0 if units <= most else round(100.0 * most / needed, 1)
    reason = _reason(option, wish.sla, good=good)
    if units > most:
        reason += f"; serves {served:g} % of the load within {wish.total_gpus} GPUs"
    return Ranked(
        option=option,
        units=min(units, most),
        feasible=good and units <= most,
        reason=reason,
        load_served_percent=served,
    )


def _autoscale(
    wish: Wish, prefill: Sequence[PrefillRow], decode: Sequence[DecodeRow]
) -> list[Ranked]:
    """Engines that a planner scales, each role by itself; one worker of each to begin with."""
    sla = wish.sla
    slowed = [replace(row, ttft_ms=row.ttft_ms * TTFT_CORRECTION) for row in prefill]
    e2e = sla.e2e_ms is not None
    fast = [row for row in slowed if e2e or row.ttft_ms < sla.ttft_ms]
    steady = [row for row in decode if e2e or row.itl_ms < sla.itl_ms]
    firsts = _one_of_each(
        sorted(fast, key=lambda r: -r.seq_per_s / r.gpus)
        if fast
        else sorted(slowed, key=lambda r: r.ttft_ms)
    )
    seconds = _one_of_each(
        sorted(steady, key=lambda r: (-r.seq_per_s / r.gpus, r.concurrency))
        if steady
        else sorted(decode, key=lambda r: r.itl_ms)
    )
    pairs = [
        pair_option(first, second)
        for first in firsts[:TOP]
        for second in (seconds if not e2e else list(decode))[: TOP if not e2e else None]
    ]
    pairs = [pair for pair in pairs if pair.gpus <= wish.total_gpus]
    good = [pair for pair in pairs if within(pair, sla)]
    if wish.latency_first:
        chosen = sorted(good or pairs, key=lambda o: (excess(o, sla), -o.tokens_per_s_per_gpu))
    elif good:
        chosen = sorted(good, key=lambda o: (-o.tokens_per_s_per_gpu, o.latency_ms))
    else:
        chosen = sorted(pairs, key=lambda o: excess(o, sla))
    return [
        Ranked(
            option=option,
            units=1,
            feasible=bool(good),
            reason=_reason(option, sla, good=bool(good)),
        )
        for option in _best_of_each(chosen)[:TOP]
    ]


def _best_of_each(ordered: Iterable[Option]) -> list[Option]:
    """The first of each configuration."""
    seen: dict[str, Option] = {}
    for option in ordered:
        seen.setdefault(option.label, option)
    return list(seen.values())


def _one_of_each(ordered: Iterable[Row]) -> list[Row]:
    seen: dict[str, Row] = {}
    for row in ordered:
        seen.setdefault(row.label, row)
    return list(seen.values())


def _reason(option: Option, sla: SlaTarget, *, good: bool) -> str:
    return ("meets the SLA: " if good else "SLA not met: ") + shortfall(option, sla)
