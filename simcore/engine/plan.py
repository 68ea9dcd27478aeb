"""What one step will do, decided without changing anything.

A step is planned when the engine looks ahead and applied when it ends, so a request
that arrives at the very start of a planned step simply causes a new plan.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

from contracts.engine import EngineLimits
from contracts.ports import PrefillChunk
from simcore.engine.sequence import DecodeSet, Sequence, SequenceState


def blocks(tokens: int, block_size_tokens: int) -> int:
    """KV blocks that hold this many tokens."""
    return -(-tokens // block_size_tokens)


@dataclass(slots=True)
class StepPlan:
    """One step: who decodes, which prompt chunks run, who loses its blocks.

    Attributes:
        decode_count: decoding members and requests that join with their KV cache.
        context_tokens: their summed context.
        work: (request, new tokens) in order; a request that is not running yet is admitted.
            A request whose KV cache came with it joins the decodes at once.
        preempted: members that lose their blocks, in the order of loss.
        blocks_taken: net KV blocks taken, before finishing requests give theirs back.
    """

    decode_count: int
    context_tokens: int
    work: list[tuple[Sequence, int]] = field(default_factory=list)
    preempted: list[Sequence] = field(default_factory=list)
    blocks_taken: int = 0

    @property
    def chunks(self) -> list[PrefillChunk]:
        """The prompt chunks as the step timer wants them."""
        return [
            PrefillChunk(tokens, sequence.computed)
            for sequence, tokens in self.work
            if not _joins(sequence)
        ]


def _joins(sequence: Sequence) -> bool:
    return sequence.state is SequenceState.WAITING and sequence.computed > 0


class StepPlanner:
    """The vLLM-like pass: running requests in admission order, then the waiting queue."""

    def __init__(self, limits: EngineLimits) -> None:
        self._limits = limits
        self._block = limits.block_size_tokens

    def can_admit(
        self, waiting: Sequence, *, running: int, decodes: DecodeSet, blocks_free: int
    ) -> bool:
        """Whether the head of the queue would join a step in which all members decode."""
        if running >= self._limits.max_num_seqs:
            return False
        free = blocks_free - decodes.blocks_for_next_step()
        budget = self._limits.max_num_batched_tokens - decodes.count
        return self._admission(waiting, budget, free) is not None

    def plan(
        self,
        *,
        running: dict[int, Sequence],
        partial: Sequence | None,
        waiting: Iterable[Sequence],
        decodes: DecodeSet,
        blocks_free: int,
    ) -> StepPlan:
        """Plan the next step of an engine that has work."""
        plan = StepPlan(decodes.count, decodes.context_tokens)
        free = blocks_free
        needed = decodes.blocks_for_next_step()
        if needed > free:
            free = self._preempt_for_decodes(plan, list(running.values()), decodes, free)
            partial = partial if partial not in plan.preempted else None
        else:
            free -= needed
        budget = self._limits.max_num_batched_tokens - plan.decode_count
        if partial is not None and budget > 0:
            chunk = min(partial.known - partial.computed, budget)
            held = blocks(partial.computed, self._block)
            need = blocks(partial.computed + chunk, self._block) - held
            if need > free:
                plan.preempted.append(partial)
                free += held
            else:
                plan.work.append((partial, chunk))
                free -= need
                budget -= chunk
        if not plan.preempted:
            free = self._admit(plan, waiting, len(running), budget, free)
        plan.blocks_taken = blocks_free - free
        return plan

    def _admit(
        self, plan: StepPlan, waiting: Iterable[Sequence], running: int, budget: int, free: int
    ) -> int:
        for sequence in islice(waiting, max(0, self._limits.max_num_seqs - running)):
            grant = self._admission(sequence, budget, free)
            if grant is None:
                break
            chunk, need = grant
            budget -= chunk
            free -= need
            plan.work.append((sequence, chunk))
            if _joins(sequence):
                plan.decode_count += 1
                plan.context_tokens += sequence.known
        return free

    def _admission(self, waiting: Sequence, budget: int, free: int) -> tuple[int, int] | None:
        """Tokens and blocks the request would get in this step, ``None`` when it must wait."""
        if budget <= 0:
            return None
        rest = waiting.known - waiting.computed
        chunk = min(rest, budget)
        if chunk < rest and not self._limits.chunked_prefill:
            return None
        need = blocks(waiting.computed + chunk, self._block)
        return (chunk, need) if need <= free else None

    def _preempt_for_decodes(
        self, plan: StepPlan, order: list[Sequence], decodes: DecodeSet, free: int
    ) -> int:
        """Walk the members in admission order and take blocks from the newest ones."""
        at = 0
        while at < len(order):
            sequence = order[at]
            if sequence.state is not SequenceState.DECODE:
                break
            needed = 1 if decodes.needs_block(sequence) else 0
            while needed > free and sequence not in plan.preempted:
                victim = order.pop()
                free += self._surrender(plan, victim, decodes)
            if sequence in plan.preempted:
                break
            free -= needed
            at += 1
        return free

    def _surrender(self, plan: StepPlan, victim: Sequence, decodes: DecodeSet) -> int:
        plan.preempted.append(victim)
        if victim.state is SequenceState.DECODE:
            known = decodes.known(victim)
            plan.decode_count -= 1
            plan.context_tokens -= known
            return blocks(known - 1, self._block)
        return blocks(victim.computed, self._block)
