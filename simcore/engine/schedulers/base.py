"""What the engine asks a scheduler, and the arithmetic that schedulers share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from contracts.engine import EngineLimits
from simcore.engine.plan import StepPlan, blocks
from simcore.engine.prefix import PrefixCache
from simcore.engine.queue import WaitingQueue
from simcore.engine.sequence import NO_HIT, DecodeSet, Hit, Run, Sequence, SequenceState

PickVictim = Callable[[list[Sequence]], int]


class Rank(Protocol):
    """The state of an attention rank as schedulers read it; see ``simcore.engine.rank``."""

    limits: EngineLimits
    block: int
    waiting: WaitingQueue
    running: dict[int, Sequence]
    kept: dict[int, Sequence]
    adapters: dict[str, int]
    decodes: DecodeSet
    cache: PrefixCache | None
    partial: Sequence | None
    blocks_free: int
    final_blocks: int
    own_blocks: int
    longest_osl: int
    exhausted: bool


class Scheduler(Protocol):
    """Decides the next step of one rank; the rank applies it when the step ends."""

    def next(self, rank: Rank) -> StepPlan | int:
        """The next step, or the number of steps in which every member just decodes.

        Must not change anything: the answer is thrown away when something arrives at the
        very instant at which the step would begin.
        """
        ...

    def begun(self, *, exhausted: bool) -> None:
        """A step or a run of decode steps is done; whether admission had found no room."""
        ...

    def decoded(self, steps: int) -> None:
        """The members produced so many tokens each."""
        ...

    def retracted(self, rank: Rank) -> None:
        """Requests have lost their blocks; called when they are gone."""
        ...

    def left(self) -> None:
        """A running request has ended or was taken out."""
        ...

    def idle(self) -> None:
        """The engine has nothing to do."""
        ...


class Admissions:
    """Admits waiting requests into a step that is being planned.

    Args:
        rank: the state at the start of the step.
        plan: the step.
        free: KV blocks left for it.
    """

    __slots__ = ("_adapters", "_block", "_cache", "_pinned", "_plan", "_rank", "free")

    def __init__(self, rank: Rank, plan: StepPlan, free: int) -> None:
        self._rank = rank
        self._plan = plan
        self._block = rank.block
        self._cache = rank.cache
        self._pinned: dict[Run, int] = {}
        self._adapters: set[str] | tuple[()] = ()
        self.free = free

    def adapter_blocked(self, sequence: Sequence) -> bool:
        """The adapter of a request would be one too many."""
        name = sequence.adapter
        rank = self._rank
        if not name or name in rank.adapters or name in self._adapters:
            return False
        return len(rank.adapters) + len(self._adapters) >= rank.limits.max_adapters

    def look_up(self, sequence: Sequence) -> int:
        """Find the cached beginning; returns blocks that would stop being free with it.

        Entries are held whole. One that is used in part may take so much more than it
        saves that the request could never end; it is computed from the start then.
        """
        cache = self._cache
        if cache is None or sequence.text is None:
            sequence.start = sequence.computed
            return 0
        path = sequence.path
        if path is None:
            path = sequence.path = cache.path(sequence.text)
        hit = cache.match(path, (sequence.known - 1) // self._block, self._pinned)
        if hit.surplus:
            whole = blocks(sequence.isl + sequence.osl + 1, self._block)
            if whole + hit.surplus > self._rank.limits.kv_blocks_total:
                hit = NO_HIT
        sequence.hit = hit
        sequence.start = max(sequence.computed, hit.blocks * self._block)
        return hit.idle_blocks

    def blocks_needed(self, sequence: Sequence, chunk: int) -> int:
        """Free blocks that a chunk takes, with what was found for the request."""
        hit = sequence.hit
        return blocks(sequence.start + chunk, self._block) - hit.blocks + hit.idle_blocks

    def admit(self, sequence: Sequence, chunk: int, need: int) -> None:
        """Put a request into the step."""
        plan = self._plan
        self.free -= need
        plan.work.append((sequence, chunk))
        if sequence.hit.blocks:
            plan.hits = True
        if sequence.hit.idle_blocks:
            self._pin(sequence.hit)
        if sequence.adapter and sequence.adapter not in self._rank.adapters:
            self._adapters = {*self._adapters, sequence.adapter}
        if sequence.computed > 0:
            plan.decode_count += 1
            plan.context_tokens += sequence.known

    def _pin(self, hit: Hit) -> None:
        """These blocks are about to be held: nobody after this one takes them from the free."""
        pinned, runs = self._pinned, hit.runs
        for run in runs[:-1]:
            pinned[run] = run.blocks
        pinned[runs[-1]] = max(hit.part, pinned.get(runs[-1], 0))


def reclaim(rank: Rank, plan: StepPlan, pick: PickVictim) -> int:
    """Walk the decoding members in order and take blocks from victims; returns what is free.

    Args:
        rank: the state at the start of the step.
        plan: the step; its members and victims are brought up to date.
        pick: position of the next victim among the requests that still run.
    """
    decodes, free = rank.decodes, rank.blocks_free
    alive = list(rank.running.values())
    unheld: dict[Run, int] = {}
    at = 0
    while at < len(alive):
        sequence = alive[at]
        if sequence.state is not SequenceState.DECODE:
            at += 1
            continue
        needed = 1 if decodes.needs_block(sequence) else 0
        gone = False
        while needed > free and not gone:
            index = pick(alive)
            victim = alive.pop(index)
            free += surrender(rank, plan, victim, unheld)
            if index < at:
                at -= 1
                if victim.state is SequenceState.DECODE and decodes.needs_block(victim):
                    free += 1
            gone = victim is sequence
        if not gone:
            free -= needed
            at += 1
    return free


def surrender(rank: Rank, plan: StepPlan, victim: Sequence, unheld: dict[Run, int]) -> int:
    """Blocks that a victim gives back."""
    plan.preempted.append(victim)
    decodes = rank.decodes
    computed = victim.computed
    if victim.state is SequenceState.DECODE:
        known = decodes.known(victim)
        plan.decode_count -= 1
        plan.context_tokens -= known
        computed = known - 1
    freed = blocks(computed, rank.block) - victim.shared
    run = victim.held
    while run is not None:
        before = unheld.get(run, 0)
        unheld[run] = before + 1
        if run.refs - before == 1:
            freed += run.blocks
            plan.entries_freed += run.blocks
        run = run.parent
    return freed


def grow_partial(rank: Rank, plan: StepPlan, budget: int, free: int) -> tuple[int, int]:
    """Continue the prompt that was cut before, or preempt it; returns budget and blocks left."""
    partial = rank.partial
    if partial is None or partial in plan.preempted:
        return budget, free
    if free < 0:
        return budget, free + surrender(rank, plan, partial, {})
    chunk = min(partial.known - partial.computed, budget)
    if chunk <= 0:
        return budget, free
    partial.start = partial.computed
    need = blocks(partial.computed + chunk, rank.block) - blocks(partial.computed, rank.block)
    if need > free:
        return budget, free + surrender(rank, plan, partial, {})
    plan.work.append((partial, chunk))
    return budget - chunk, free - need
