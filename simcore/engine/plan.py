"""What one step will do, decided without changing anything.

A step is planned when the engine looks ahead and applied when it ends, so a request
that arrives at the very start of a planned step simply causes a new plan.
"""

from __future__ import annotations

from contracts.ports import PrefillChunk
from simcore.engine.sequence import Sequence, SequenceState


def blocks(tokens: int, block_size_tokens: int) -> int:
    """KV blocks that hold this many tokens."""
    return -(-tokens // block_size_tokens)


class StepPlan:
    """One step: who decodes, which prompt chunks run, who loses its blocks.

    Attributes:
        decode_count: decoding members and requests that join with their KV cache.
        context_tokens: their summed context.
        work: (request, new tokens) in order; a request that is not running yet is admitted.
            A request whose KV cache came with it joins the decodes at once.
        preempted: members that lose their blocks, in the order of loss.
        entries_freed: blocks of cache entries that the preempted would be the last to leave.
        blocks_taken: net KV blocks taken, before finishing requests give theirs back.
        decodes: the members produce a token; a prompt-only step lets them wait.
        requeue_front: preempted requests go to the front of the queue, not to its end.
        exhausted: admission was tried and there was no room.
        hits: somebody finds the beginning of its text in the prefix cache.
    """

    __slots__ = (
        "blocks_taken", "context_tokens", "decode_count", "decodes", "entries_freed",
        "exhausted", "hits", "preempted", "requeue_front", "work",
    )  # fmt: skip

    def __init__(self, decode_count: int, context_tokens: int) -> None:
        self.decode_count = decode_count
        self.context_tokens = context_tokens
        self.work: list[tuple[Sequence, int]] = []
        self.preempted: list[Sequence] = []
        self.blocks_taken = self.entries_freed = 0
        self.decodes = True
        self.requeue_front = True
        self.exhausted = False
        self.hits = False

    @property
    def empty(self) -> bool:
        """Nothing at all would happen."""
        return self.decode_count == 0 and not self.work and not self.preempted

    @property
    def chunks(self) -> list[PrefillChunk]:
        """The prompt chunks as the step timer wants them."""
        return [
            PrefillChunk(tokens, sequence.start)
            for sequence, tokens in self.work
            if sequence.computed == 0 or sequence.state is not SequenceState.WAITING
        ]
