"""Questions about a whole rank that are asked now and then: does it add up, who cannot stay."""

from __future__ import annotations

from contracts.engine import Backend, EngineLimits
from contracts.errors import InvariantError
from simcore.engine.events import Submission, TokenProgress, refusal
from simcore.engine.plan import blocks
from simcore.engine.rank import Rank
from simcore.engine.sequence import SequenceState


def misfits(rank: Rank, limits: EngineLimits, backend: Backend) -> list[TokenProgress]:
    """Requests that could never end under other limits, with their tokens so far."""
    lost = []
    for entry, sequence in zip(
        rank.produced(),
        (*rank.running.values(), *rank.waiting, *rank.incoming),
        strict=True,
    ):
        whole = Submission(sequence.request_id, isl=sequence.isl, osl=sequence.osl)
        if refusal(limits, whole, backend) is not None:
            lost.append(entry)
    return lost


def assert_conserved(rank: Rank) -> None:
    """Check that blocks and tokens add up.

    Raises:
        InvariantError: they do not.
    """
    own = 0 if rank.cache is None else rank.cache.held_blocks()
    for sequence in (*rank.running.values(), *rank.kept.values()):
        decoding = sequence.state is SequenceState.DECODE
        computed = rank.decodes.known(sequence) - 1 if decoding else sequence.computed
        own += blocks(computed, rank.block) - sequence.shared
    if own + rank.blocks_free != rank.limits.kv_blocks_total:
        raise InvariantError(f"{own} blocks held and {rank.blocks_free} free")
    if not rank.busy:
        accounted = rank.tokens_finished + rank.tokens_dropped
        if accounted != rank.tokens_generated:
            raise InvariantError(f"{rank.tokens_generated} tokens made, {accounted} left")
