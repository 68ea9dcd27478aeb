"""The vLLM pass: running requests in admission order, then the waiting queue, one budget."""

from __future__ import annotations

from contracts.engine import PreemptionOrder, QueuePolicy, VllmScheduling
from simcore.engine.plan import StepPlan
from simcore.engine.schedulers.base import Admissions, Rank, grow_partial, reclaim
from simcore.engine.sequence import Sequence


def newest(alive: list[Sequence]) -> int:
    """Position of the request that was admitted last."""
    return len(alive) - 1


def oldest(alive: list[Sequence]) -> int:
    """Position of the request that was admitted first."""
    del alive
    return 0


def least_urgent(alive: list[Sequence]) -> int:
    """Position of the request with the lowest urgency, the newest among equals."""
    return max(range(len(alive)), key=lambda index: (alive[index].priority, index))


class VllmScheduler:
    """Decodes and prompt chunks share one token budget; preempts by recomputation."""

    # Whether there is a further condition of admission.
    _limited = False

    def __init__(self, settings: VllmScheduling) -> None:
        if settings.queue is QueuePolicy.PRIORITY:
            self._pick = least_urgent
        elif settings.preemption is PreemptionOrder.FIFO:
            self._pick = oldest
        else:
            self._pick = newest

    def next(self, rank: Rank) -> StepPlan | int:
        """See :class:`simcore.engine.schedulers.base.Scheduler`."""
        decodes = rank.decodes
        if decodes.count == 0 or rank.partial is not None:
            return self._plan(rank)
        if not rank.waiting:
            return decodes.steps_within(rank.blocks_free) or self._plan(rank)
        plan = self._plan(rank)
        if plan.work or plan.preempted:
            return plan
        return decodes.steps_within(rank.blocks_free)

    def _plan(self, rank: Rank) -> StepPlan:
        decodes = rank.decodes
        plan = StepPlan(decodes.count, decodes.context_tokens)
        free = rank.blocks_free
        needed = decodes.blocks_for_next_step() if decodes.count else 0
        free = free - needed if needed <= free else reclaim(rank, plan, self._pick)
        budget = rank.limits.max_num_batched_tokens - plan.decode_count
        budget, free = grow_partial(rank, plan, budget, free)
        if not plan.preempted and rank.waiting:
            free = self._admit(rank, plan, budget, free)
        plan.blocks_taken = rank.blocks_free - free
        return plan

    def _admit(self, rank: Rank, plan: StepPlan, budget: int, free: int) -> int:
        room = rank.limits.max_num_seqs - len(rank.running)
        chunked, kept = rank.limits.chunked_prefill, bool(rank.kept)
        admissions = Admissions(rank, plan, free)
        for sequence in rank.waiting:
            if room <= 0 or budget <= 0:
                break
            if sequence.adapter and admissions.adapter_blocked(sequence):
                continue
            admissions.look_up(sequence)
            rest = sequence.known - sequence.start
            chunk = min(rest, budget)
            if chunk < rest and not chunked:
                break
            if kept and admissions.blocks_needed(sequence, rest) > admissions.free:
                # Kept blocks come back from outside: do not begin what may never be done.
                break
            need = admissions.blocks_needed(sequence, chunk)
            if need > admissions.free or (
                self._limited and not self._may_enter(rank, sequence, plan)
            ):
                break
            admissions.admit(sequence, chunk, need)
            budget -= chunk
            room -= 1
        return admissions.free

    def _may_enter(self, rank: Rank, sequence: Sequence, plan: StepPlan) -> bool:
        """A further condition of admission; vLLM has none."""
        del rank, sequence, plan
        return True

    def begun(self, *, exhausted: bool) -> None:
        """Keeps no state."""

    def decoded(self, steps: int) -> None:
        """Keeps no state."""

    def retracted(self, rank: Rank) -> None:
        """Keeps no state."""

    def left(self) -> None:
        """Keeps no state."""

    def idle(self) -> None:
        """Keeps no state."""
