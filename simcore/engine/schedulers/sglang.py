"""The SGLang pass: prompt work first, alone; decodes only when there is none.

Admission reserves a share of the output that running requests may still produce. The
share starts high, falls with every decode step, and is raised again when the estimate
proved wrong and requests had to be retracted. After an admission failed for lack of room
it is not tried again until a running request leaves.
"""

from __future__ import annotations

from contracts.engine import QueuePolicy, SglangScheduling
from simcore.engine.plan import StepPlan, blocks
from simcore.engine.schedulers.base import Admissions, Rank, grow_partial, surrender
from simcore.engine.sequence import Run, Sequence

# Documented defaults of the environment: first share, lowest share of it, steps between.
INIT_RATIO = 0.7
MIN_RATIO_FACTOR = 0.14
DECAY_STEPS = 600
# After a retraction everybody left must have room for this many tokens.
RETRACT_STEPS = 20
# Longer queues are not sorted by prefix.
LPM_QUEUE_MAX = 128
# The share is an integer of this unit, so that it is the same on every machine.
_UNIT = 1 << 30


class SglangScheduler:
    """State of one rank: the share of future output that is reserved, and "full"."""

    def __init__(self, settings: SglangScheduling) -> None:
        self._settings = settings
        ratio = min(INIT_RATIO * settings.conservativeness, 1.0)
        self._first = round(ratio * _UNIT)
        self._last = round(min(ratio * MIN_RATIO_FACTOR, 1.0) * _UNIT)
        self._decay = (self._first - self._last) // DECAY_STEPS
        self._share = self._first
        self._full = False

    def next(self, rank: Rank) -> StepPlan | int:
        """See :class:`simcore.engine.schedulers.base.Scheduler`."""
        decodes = rank.decodes
        plan = StepPlan(0, 0)
        plan.decodes = False
        if rank.partial is not None or (rank.waiting and not self._full):
            self._prefill(rank, plan)
            if plan.work or plan.preempted:
                return plan
        rank.exhausted = plan.exhausted
        if decodes.count:
            steps = decodes.steps_within(rank.blocks_free)
            if steps:
                return steps
        return self._decode(rank)

    def _prefill(self, rank: Rank, plan: StepPlan) -> None:
        settings, decodes = self._settings, rank.decodes
        free = rank.blocks_free
        batch = settings.chunked_prefill_tokens if rank.limits.chunked_prefill else 1 << 62
        needed = decodes.blocks_for_next_step() if decodes.count else 0
        mixed = settings.mixed_chunk and needed <= free
        if mixed:
            batch -= decodes.count
            free -= needed
        rest, free = grow_partial(rank, plan, batch, free)
        if plan.preempted:
            plan.blocks_taken = rank.blocks_free - free - (needed if mixed else 0)
            return
        if rank.waiting and not self._full:
            free = self._admit(rank, plan, rest, free)
        if not mixed and plan.decode_count == len(plan.work) and needed <= free:
            # Requests that came with their KV cache do not hold up those that decode.
            mixed = True
            free -= needed
        if plan.work and mixed:
            plan.decodes = True
            plan.decode_count += decodes.count
            plan.context_tokens += decodes.context_tokens
        plan.blocks_taken = rank.blocks_free - free if plan.work else 0

    def _admit(self, rank: Rank, plan: StepPlan, chunk_room: int, free: int) -> int:
        block = rank.block
        prompt_room = self._settings.max_prefill_tokens - sum(tokens for _, tokens in plan.work)
        reserved = self._reserved(rank)
        admissions = Admissions(rank, plan, free)
        seats = rank.limits.max_num_seqs - len(rank.running)
        for sequence in self._order(rank):
            if seats <= 0:
                plan.exhausted = True
                break
            if sequence.adapter and admissions.adapter_blocked(sequence):
                continue
            idle = admissions.look_up(sequence)
            rest = sequence.known - sequence.start
            unseen = sequence.known - sequence.hit.blocks * block
            output = self._clip(sequence.osl - sequence.generated)
            if unseen + output + reserved >= (admissions.free - idle) * block:
                plan.exhausted = True
                break
            if prompt_room <= 0 or chunk_room <= 0 or (rest >= prompt_room and plan.work):
                break
            chunk = min(rest, chunk_room)
            admissions.admit(sequence, chunk, admissions.blocks_needed(sequence, chunk))
            reserved += output if chunk == rest else 0
            prompt_room -= chunk
            chunk_room -= chunk
            seats -= 1
        return admissions.free

    def _order(self, rank: Rank) -> list[Sequence]:
        waiting = list(rank.waiting)
        lpm = self._settings.queue is QueuePolicy.LONGEST_PREFIX
        if not lpm or rank.cache is None or len(waiting) > LPM_QUEUE_MAX:
            return waiting
        cache = rank.cache

        def cached(sequence: Sequence) -> int:
            if sequence.text is None:
                return 0
            if sequence.path is None:
                sequence.path = cache.path(sequence.text)
            return cache.match(sequence.path, (sequence.known - 1) // rank.block).blocks

        return sorted(waiting, key=cached, reverse=True)

    def _clip(self, tokens: int) -> int:
        return min(tokens, self._settings.clip_max_new_tokens)

    def _reserved(self, rank: Rank) -> int:
        """Tokens kept back for the output of the requests that decode."""
        decodes, clip = rank.decodes, self._settings.clip_max_new_tokens
        future = decodes.remaining_tokens
        if rank.longest_osl > clip:
            future = sum(
                min(sequence.osl - decodes.generated(sequence), clip)
                for sequence in rank.running.values()
                if sequence is not rank.partial
            )
        return future * self._share // _UNIT

    def _decode(self, rank: Rank) -> StepPlan:
        """One decode step after taking back requests until there is room."""
        decodes = rank.decodes
        plan = StepPlan(decodes.count, decodes.context_tokens)
        plan.requeue_front = False
        needed = decodes.blocks_for_next_step() if decodes.count else 0
        free = rank.blocks_free
        if needed > free:
            free, needed = self._retract(rank, plan)
        plan.blocks_taken = rank.blocks_free - free + needed
        return plan

    @staticmethod
    def _retract(rank: Rank, plan: StepPlan) -> tuple[int, int]:
        """Take back the requests that have done least; returns free and needed blocks."""
        decodes, free = rank.decodes, rank.blocks_free
        unheld: dict[Run, int] = {}
        alive = [s for s in rank.running.values() if s is not rank.partial]
        alive.sort(key=lambda s: (-decodes.generated(s), s.isl))
        needed = decodes.blocks_for_next_step()
        while len(alive) > 1:
            victim = alive.pop()
            needed -= 1 if decodes.needs_block(victim) else 0
            free += surrender(rank, plan, victim, unheld)
            if free >= max(needed, blocks(RETRACT_STEPS * len(alive), rank.block)):
                break
        if needed > free and rank.partial is not None:
            free += surrender(rank, plan, rank.partial, unheld)
        if needed > free:
            for victim in alive:
                free += surrender(rank, plan, victim, unheld)
            needed = 0
        return free, needed

    def begun(self, *, exhausted: bool) -> None:
        """A failed admission is remembered."""
        self._full = self._full or exhausted

    def decoded(self, steps: int) -> None:
        """The reserved share falls."""
        self._share = max(self._last, self._share - steps * self._decay)

    def retracted(self, rank: Rank) -> None:
        """The estimate was wrong: reserve what the requests left have shown to need."""
        alive = [s for s in rank.running.values() if s is not rank.partial]
        made = sum(rank.decodes.generated(s) for s in alive) + RETRACT_STEPS * len(alive)
        allowed = sum(s.osl for s in alive)
        self._share = min(_UNIT, made * _UNIT // max(1, allowed))

    def left(self) -> None:
        """Somebody made room."""
        self._full = False

    def idle(self) -> None:
        """Start again with the first estimate."""
        self._share = self._first
        self._full = False
