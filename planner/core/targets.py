"""Constrain: from proposed bands to targets within steps, floors, ceilings, GPUs and watts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from planner.core.config import PlannerConfig
from planner.core.policies import PoolProposal

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolTarget:
    """Outcome for one pool.

    Attributes:
        wanted: replicas that the present need alone asks for, floor included.
        replicas: the target after all limits, without workers that are stuck.
        ordered: the target to send; it differs while workers are stuck.
        notes: why ``replicas`` differs from ``wanted``.
    """

    wanted: int
    replicas: int
    ordered: int
    notes: tuple[str, ...]


def choose_targets(
    config: PlannerConfig, proposals: Sequence[PoolProposal]
) -> tuple[PoolTarget, ...]:
    """Targets of all pools, in their order.

    A pool within its band stays. A pool of unknown load does not shrink. When the drafts
    exceed GPUs or watts, replicas are handed out anew from the floors upwards, first to
    pools of unknown load what they have, then each to the pool whose next one is worth most
    for a GPU; when they fall short of the GPU floor, further ones go the same way.
    """
    drafts = [_draft(config, proposal) for proposal in proposals]
    drafts = _within(config, proposals, drafts)
    return tuple(_with_stuck(config, proposals, drafts))


def _draft(config: PlannerConfig, proposal: PoolProposal) -> PoolTarget:
    pool, position, notes = proposal.pool, proposal.stock.position, list(proposal.notes)
    replicas = max(position, proposal.at_least)
    if replicas > proposal.at_most and proposal.load_known:
        replicas = max(proposal.at_most, proposal.at_least)
    step = config.step_replicas_max
    stepped = max(pool.min_replicas, min(max(replicas, position - step), position + step))
    if stepped != replicas:
        notes.append(f"at most {step} in one tick")
    if pool.max_replicas is not None and stepped > pool.max_replicas:
        stepped = pool.max_replicas
        notes.append(f"at most {pool.max_replicas} replicas")
    return PoolTarget(wanted=proposal.wanted, replicas=stepped, ordered=stepped, notes=tuple(notes))


def _within(
    config: PlannerConfig, proposals: Sequence[PoolProposal], drafts: Sequence[PoolTarget]
) -> list[PoolTarget]:
    counts = [draft.replicas for draft in drafts]
    if not _fits(config, counts):
        most = list(counts)
        counts = [pool.min_replicas for pool in config.pools]
        _hand_out(config, proposals, counts, _kept(proposals, most), until_gpus=None)
        _hand_out(config, proposals, counts, most, until_gpus=None)
        note = _limit_note(config, most)
        drafts = [_changed(draft, count, note) for draft, count in zip(drafts, counts, strict=True)]
    if _gpus(config, counts) < config.gpu_floor:
        most = [_ceiling(pool.max_replicas) for pool in config.pools]
        _hand_out(config, proposals, counts, most, until_gpus=config.gpu_floor)
        note = f"at least {config.gpu_floor} GPUs"
        drafts = [_changed(draft, count, note) for draft, count in zip(drafts, counts, strict=True)]
    return list(drafts)


def _kept(proposals: Sequence[PoolProposal], most: Sequence[int]) -> list[int]:
    """What no other pool may be given: the workers of a pool of unknown load."""
    return [
        0 if proposal.load_known else min(count, proposal.stock.position)
        for proposal, count in zip(proposals, most, strict=True)
    ]


def _hand_out(
    config: PlannerConfig,
    proposals: Sequence[PoolProposal],
    counts: list[int],
    most: Sequence[int],
    *,
    until_gpus: int | None,
) -> None:
    """Raise ``counts`` one by one, each time where attainment gains most for a GPU."""
    while until_gpus is None or _gpus(config, counts) < until_gpus:
        open_pools = []
        for index in range(len(counts)):
            raised = [*counts[:index], counts[index] + 1, *counts[index + 1 :]]
            if raised[index] <= most[index] and _fits(config, raised):
                open_pools.append(index)
        if not open_pools:
            return
        chosen = max(open_pools, key=lambda i: _gain(proposals[i], counts[i]))
        counts[chosen] += 1


def _gain(proposal: PoolProposal, count: int) -> tuple[float, float]:
    """Relative gain of one more replica for each GPU, then how little is covered.

    A request must pass all pools, so the whole attains the product of the pools' shares
    and the relative gain of one of them is that of the whole.
    """
    if proposal.worth is None:
        return 0.0, -count / max(proposal.need, _ROUNDING)
    now, then = proposal.worth(count), proposal.worth(count + 1)
    gain = (then - now) / max(now, _ROUNDING) / proposal.pool.gpus_per_replica
    return round(gain, 9), -count / max(proposal.need, _ROUNDING)


def _with_stuck(
    config: PlannerConfig, proposals: Sequence[PoolProposal], drafts: Sequence[PoolTarget]
) -> list[PoolTarget]:
    """Get rid of workers that never become ready, or order past them.

    Targets are absolute and say nothing about which worker goes, but starting ones go first.
    So while nothing else starts, the target is the number of ready ones: the stuck ones are
    cancelled, and the next tick orders anew. Otherwise they are counted on top, as far as
    limits allow, since where workers run they still count.
    """
    counts = [draft.ordered for draft in drafts]
    found = list(drafts)
    for index, (proposal, draft) in enumerate(zip(proposals, drafts, strict=True)):
        stock = proposal.stock
        if not stock.stuck:
            continue
        floor = max(stock.ready, proposal.pool.min_replicas)
        if stock.position == stock.ready and floor < stock.ready + stock.stuck:
            counts[index] = min(draft.replicas, floor)
            note = f"{stock.stuck} are starting for too long and are given up"
        else:
            for _ in range(stock.stuck):
                raised = [*counts[:index], counts[index] + 1, *counts[index + 1 :]]
                counts = raised if _fits(config, raised) else counts
            note = f"{stock.stuck} are starting for too long and not counted on"
        found[index] = replace(draft, ordered=counts[index], notes=(*draft.notes, note))
    return found


def _changed(draft: PoolTarget, count: int, note: str) -> PoolTarget:
    if count == draft.replicas:
        return draft
    return replace(draft, replicas=count, ordered=count, notes=(*draft.notes, note))


def _gpus(config: PlannerConfig, counts: Sequence[int]) -> int:
    return sum(n * pool.gpus_per_replica for n, pool in zip(counts, config.pools, strict=True))


def _watts(config: PlannerConfig, counts: Sequence[int]) -> float:
    return sum(n * pool.watts_per_replica for n, pool in zip(counts, config.pools, strict=True))


def _fits(config: PlannerConfig, counts: Sequence[int]) -> bool:
    budget, limit = config.gpu_budget, config.power_limit_w
    return (budget is None or _gpus(config, counts) <= budget) and (
        limit is None or _watts(config, counts) <= limit + _ROUNDING
    )


def _limit_note(config: PlannerConfig, counts: Sequence[int]) -> str:
    if config.gpu_budget is not None and _gpus(config, counts) > config.gpu_budget:
        return f"the budget of {config.gpu_budget} GPUs allows no more"
    return f"the power limit of {config.power_limit_w:g} W allows no more"


def _ceiling(count: int | None) -> int:
    return 10**9 if count is None else count
