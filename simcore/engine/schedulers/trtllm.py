"""TensorRT-LLM in-flight batching: the vLLM pass with another rule of admission."""

from __future__ import annotations

from contracts.engine import CapacityPolicy, TrtllmScheduling, VllmScheduling
from simcore.engine.plan import StepPlan, blocks
from simcore.engine.schedulers.base import Rank
from simcore.engine.schedulers.vllm import VllmScheduler
from simcore.engine.sequence import Sequence, SequenceState


class TrtllmScheduler(VllmScheduler):
    """``guaranteed_no_evict`` lets a request in only when all that run can end undisturbed.

    ``max_utilization`` asks for room for the next chunk only, and when blocks run out the
    request that started last is paused and computed again.
    """

    def __init__(self, settings: TrtllmScheduling) -> None:
        super().__init__(VllmScheduling())
        self._limited = settings.capacity is CapacityPolicy.GUARANTEED_NO_EVICT

    def _may_enter(self, rank: Rank, sequence: Sequence, plan: StepPlan) -> bool:
        slack = rank.blocks_free - (rank.final_blocks - rank.own_blocks)
        for admitted, _ in plan.work:
            if admitted.state is SequenceState.WAITING:
                slack -= self._to_come(rank, admitted)
        return self._to_come(rank, sequence) <= slack

    @staticmethod
    def _to_come(rank: Rank, sequence: Sequence) -> int:
        """Blocks that a request takes from the free ones until it ends."""
        final = blocks(sequence.isl + sequence.osl - 1, rank.block)
        return final - sequence.hit.blocks + sequence.hit.idle_blocks
