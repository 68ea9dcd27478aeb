"""One attention rank: who runs, who waits, which KV blocks are free; no notion of time."""

from __future__ import annotations

from contracts.engine import (
    EngineLimits,
    QueuePolicy,
    Scheduling,
    SglangScheduling,
    TrtllmScheduling,
)
from contracts.units import FS_PER_NS
from contracts.workload import PromptText
from simcore.engine.events import EngineEvent, EventKind, Submission, TokenProgress
from simcore.engine.gaps import GapMeter
from simcore.engine.plan import StepPlan, blocks
from simcore.engine.prefix import PrefixCache
from simcore.engine.queue import WaitingQueue
from simcore.engine.schedulers import make_scheduler
from simcore.engine.sequence import NO_HIT, DecodeSet, Sequence, SequenceState


class Rank:
    """State of one scheduler with its KV cache, changed by whole steps only.

    Attributes:
        block: tokens in one KV block.
        blocks_free: blocks that may be taken, idle cached ones included.
        incoming: requests that came while a step was in flight and the next one was planned.
        partial: the running request whose prompt is not done, if any.
        final_blocks: blocks that all running requests will hold at their ends, summed; this
            and the next one are kept for TensorRT-LLM only.
        own_blocks: blocks that they hold now, shared ones counted for each of them.
        overtaking: a newcomer may go before those that wait.
        exhausted: the scheduler's last look found no room for a waiting request.
        gaps: times between the tokens of a request.
        tokens_generated: output tokens; all of them end up finished or dropped.
    """

    def __init__(self, limits: EngineLimits, scheduling: Scheduling) -> None:
        self.limits = limits
        self.block = limits.block_size_tokens
        queue = QueuePolicy.FCFS if isinstance(scheduling, TrtllmScheduling) else scheduling.queue
        self.waiting = WaitingQueue(by_priority=queue is QueuePolicy.PRIORITY)
        self.scheduler = make_scheduler(scheduling)
        # Only SGLang's scheduler remembers steps, only TensorRT-LLM's asks for reservations.
        self._told = isinstance(scheduling, SglangScheduling)
        self._reserving = isinstance(scheduling, TrtllmScheduling)
        self.cache = PrefixCache(self.block) if limits.prefix_caching else None
        self.decodes = DecodeSet(self.block)
        self.gaps = GapMeter(self.decodes)
        self.running: dict[int, Sequence] = {}
        self.incoming: list[Sequence] = []
        self.kept: dict[int, Sequence] = {}
        self.adapters: dict[str, int] = {}
        self.partial: Sequence | None = None
        self.blocks_free = limits.kv_blocks_total
        self.final_blocks = self.own_blocks = 0
        self.longest_osl = 0
        self.exhausted = False
        self.overtaking = self.waiting.reorders
        self.requests_held = 0
        self.tokens_generated = self.tokens_finished = self.tokens_dropped = 0

    # -- planning ------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Somebody runs or waits."""
        return bool(self.running) or len(self.waiting) > 0 or bool(self.incoming)

    @property
    def admits_soon(self) -> bool:
        """A request that joins the queue might be admitted at once."""
        vacant = not self.waiting and len(self.running) < self.limits.max_num_seqs
        return vacant or self.overtaking

    def next(self) -> StepPlan | int:
        """The scheduler's next step, or how many steps of pure decoding come next."""
        self.exhausted = False
        return self.scheduler.next(self)

    def submit(self, submission: Submission) -> None:
        """Queue a request."""
        self.waiting.append(self._arrived(submission))

    def submit_late(self, submission: Submission, queued_fs: int) -> None:
        """Keep a request back until ``queued_fs``, -1 for the end of the next step."""
        sequence = self._arrived(submission)
        sequence.queued_fs = queued_fs
        self.incoming.append(sequence)

    def receive(self, at_fs: int) -> None:
        """Queue the requests whose time has come."""
        for sequence in self.incoming:
            if 0 <= sequence.queued_fs <= at_fs:
                self.waiting.append(sequence)
        self.incoming = [s for s in self.incoming if not 0 <= s.queued_fs <= at_fs]

    def receive_all(self) -> None:
        """Queue everybody: the engine would have nothing to do."""
        for sequence in self.incoming:
            self.waiting.append(sequence)
        self.incoming = []

    def _arrived(self, submission: Submission) -> Sequence:
        self.overtaking = self.overtaking or bool(submission.adapter)
        self.requests_held += 1
        self.longest_osl = max(self.longest_osl, submission.osl)
        return Sequence(submission)

    def cached_blocks(self, text: PromptText, decoded: int) -> int:
        """Leading blocks of a text in the cache, ``decoded`` steps that are not committed on."""
        cache = self.cache
        if cache is not None and decoded and cache.idle_blocks:
            cache.settle(self.blocks_free - self.decodes.blocks_for(decoded))
        return 0 if cache is None else cache.cached_blocks(text)

    # -- committing ----------------------------------------------------------------

    def commit_decodes(self, steps: int) -> None:
        """Every member has produced ``steps`` tokens."""
        decodes = self.decodes
        taken = decodes.blocks_for(steps)
        self.blocks_free -= taken
        self.own_blocks += taken
        self.tokens_generated += steps * decodes.count
        decodes.advance(steps)
        if self.cache is not None and self.cache.idle_blocks:
            self.cache.settle(self.blocks_free)
        if self._told:
            self.scheduler.begun(exhausted=self.exhausted)
            self.scheduler.decoded(steps)
            self.exhausted = False

    def commit_plan(self, plan: StepPlan, at_fs: int, events: list[EngineEvent]) -> None:
        """A planned step has ended."""
        at_ns = -(-at_fs // FS_PER_NS)
        scheduler, decodes = self.scheduler, self.decodes
        if self._told:
            scheduler.begun(exhausted=plan.exhausted or self.exhausted)
        cache = self.cache
        if cache is not None and plan.hits:
            self._hold_hits(cache, plan)
        self.blocks_free -= plan.blocks_taken
        if plan.preempted:
            self.blocks_free -= plan.entries_freed
            for victim in plan.preempted:
                self._preempt(victim, front=plan.requeue_front)
            scheduler.retracted(self)
            scheduler.left()
        if cache is not None and cache.idle_blocks:
            cache.settle(self.blocks_free)
        if plan.decodes and decodes.count:
            self.own_blocks += decodes.blocks_for_next_step()
            self.gaps.step(at_fs)
            decodes.advance(1)
            self.tokens_generated += decodes.count
            if self._told and not plan.preempted:
                scheduler.decoded(1)
            self.finish_members(at_ns, events)
        for sequence, tokens in plan.work:
            self._work(sequence, tokens, at_fs, events)

    def _hold_hits(self, cache: PrefixCache, plan: StepPlan) -> None:
        """Refer to what was found for admitted requests, before anything can be evicted.

        An entry may have become idle since the step was planned, by a release.
        """
        for sequence, _ in plan.work:
            if sequence.state is SequenceState.WAITING and sequence.hit is not NO_HIT:
                hit = sequence.hit
                self.blocks_free -= cache.hold(sequence, hit) - hit.idle_blocks
                sequence.hit = NO_HIT

    def finish_members(self, at_ns: int, events: list[EngineEvent]) -> None:
        """Let the members go that have produced their last token."""
        for sequence in self.decodes.pop_finished():
            self._finish(sequence, at_ns, events)

    def _work(self, sequence: Sequence, tokens: int, at_fs: int, events: list[EngineEvent]) -> None:
        if sequence.state is SequenceState.WAITING:
            self._admit(sequence)
        if self._reserving:
            self.own_blocks -= blocks(sequence.computed, self.block)
            self.own_blocks += blocks(sequence.computed + tokens, self.block)
        sequence.computed += tokens
        if sequence.text is not None and self.cache is not None:
            if sequence.path is None:
                sequence.path = self.cache.path(sequence.text)
            self.blocks_free += self.cache.publish(sequence, sequence.path)
        if sequence.computed < sequence.known:
            sequence.state = SequenceState.PREFILL
            self.partial = sequence
            return
        if sequence is self.partial:
            self.partial = None
        sequence.known += 1
        sequence.generated += 1
        self.tokens_generated += 1
        self.gaps.token(sequence, at_fs)
        at_ns = -(-at_fs // FS_PER_NS)
        if sequence.generated == 1:
            events.append(
                EngineEvent(at_ns, EventKind.FIRST_TOKEN, sequence.request_id, sequence.preemptions)
            )
        if sequence.generated == sequence.osl:
            self._finish(sequence, at_ns, events)
        else:
            self.gaps.join(sequence)
            self.decodes.join(sequence)

    def _admit(self, sequence: Sequence) -> None:
        self.waiting.remove(sequence)
        self.running[sequence.request_id] = sequence
        sequence.computed = sequence.start
        if self._reserving:
            self.final_blocks += blocks(sequence.isl + sequence.osl - 1, self.block)
            self.own_blocks += blocks(sequence.computed, self.block)
        if sequence.adapter:
            self.adapters[sequence.adapter] = self.adapters.get(sequence.adapter, 0) + 1

    # -- leaving -------------------------------------------------------------------

    def _finish(self, sequence: Sequence, at_ns: int, events: list[EngineEvent]) -> None:
        """Release a request; its newest token was never computed, so it holds no block."""
        request_id = sequence.request_id
        sequence.computed = sequence.known - 1
        self._leave(sequence)
        self.requests_held -= 1
        self.tokens_finished += sequence.generated - sequence.carried
        if sequence.hold:
            self.kept[request_id] = sequence
        else:
            self._free(sequence, ended=True)
        if self._told:
            self.scheduler.left()
        events.append(EngineEvent(at_ns, EventKind.FINISHED, request_id, sequence.preemptions))

    def _leave(self, sequence: Sequence) -> None:
        """Take a request out of the running ones; its blocks stay."""
        del self.running[sequence.request_id]
        sequence.state = SequenceState.GONE
        if sequence is self.partial:
            self.partial = None
        if self._reserving:
            self.final_blocks -= blocks(sequence.isl + sequence.osl - 1, self.block)
            self.own_blocks -= blocks(sequence.computed, self.block)
        if sequence.adapter:
            self.adapters[sequence.adapter] -= 1
            if self.adapters[sequence.adapter] == 0:
                del self.adapters[sequence.adapter]

    def _free(self, sequence: Sequence, *, ended: bool) -> None:
        """Give the blocks back; the cache keeps what others may ask for."""
        freed = -(-sequence.computed // self.block) - sequence.shared
        text, cache = sequence.text, self.cache
        if cache is not None and text is not None:
            if ended and text.ends[-1] == sequence.isl:
                whole = sequence.computed // self.block
                added = whole - sequence.isl // self.block
                cache.keep_output(sequence.held, text.output_id, added)
            freed += cache.drop(sequence)
        self.blocks_free += freed

    def release(self, request_id: int) -> None:
        """Free the blocks that were kept for a request; unknown ids are ignored."""
        sequence = self.kept.pop(request_id, None)
        if sequence is not None:
            self._free(sequence, ended=True)
            self.scheduler.left()

    def _preempt(self, victim: Sequence, *, front: bool) -> None:
        """Take everything from a running request; its own blocks were counted by the plan.

        Entries of the cache are counted here: a release since then may have changed who
        else holds them.
        """
        if victim.state is SequenceState.DECODE:
            self.gaps.leave(victim)
            self.decodes.leave(victim)
        self._leave(victim)
        if self.cache is not None and victim.held is not None:
            self.blocks_free += self.cache.drop(victim)
        victim.computed = victim.shared = victim.segment = 0
        victim.preemptions += 1
        victim.state = SequenceState.WAITING
        if front:
            self.waiting.appendleft(victim)
        else:
            self.waiting.append(victim)

    def drop(self, request_ids: set[int]) -> None:
        """Cancel requests wherever they are."""
        for request_id in sorted(request_ids):
            self.release(request_id)
            sequence = self.running.get(request_id)
            if sequence is not None:
                if sequence.state is SequenceState.DECODE:
                    self.gaps.leave(sequence)
                    self.decodes.leave(sequence)
                self._leave(sequence)
                self._free(sequence, ended=False)
                self._forget(sequence)
                self.scheduler.left()
        for sequence in [s for s in self.waiting if s.request_id in request_ids]:
            self.waiting.remove(sequence)
            self._forget(sequence)
        for sequence in [s for s in self.incoming if s.request_id in request_ids]:
            self.incoming.remove(sequence)
            self._forget(sequence)

    def _forget(self, sequence: Sequence) -> None:
        sequence.state = SequenceState.GONE
        self.requests_held -= 1
        self.tokens_dropped += sequence.generated - sequence.carried

    def lose_all(self) -> list[TokenProgress]:
        """Lose everything; returns the requests with the tokens they had produced."""
        lost = self.produced()
        self.running.clear()
        self.waiting.clear()
        self.incoming.clear()
        self.kept.clear()
        self.adapters.clear()
        if self.cache is not None:
            self.cache.clear()
        self.decodes = DecodeSet(self.block, changes=self.decodes.changes + 1)
        self.gaps.forget(self.decodes)
        self.partial = None
        self.blocks_free = self.limits.kv_blocks_total
        self.requests_held = self.final_blocks = self.own_blocks = 0
        self.tokens_dropped = self.tokens_generated - self.tokens_finished
        return lost

    def shrink(self, limits: EngineLimits, blocks_lost: int) -> None:
        """Take KV blocks away for good; those in use are won back by preemption."""
        self.limits = limits
        self.blocks_free -= blocks_lost
        if self.cache is not None:
            self.cache.settle(self.blocks_free)

    # -- answers -------------------------------------------------------------------

    def decoded(self) -> list[tuple[int, int]]:
        """Every decoding request with the tokens that it has produced."""
        step, decode = self.decodes.step, SequenceState.DECODE
        running = self.running.values()
        if self.decodes.count == len(running):
            return [(s.request_id, s.generated + step - s.join_step) for s in running]
        return [
            (s.request_id, s.generated + step - s.join_step) for s in running if s.state is decode
        ]

    def produced(self) -> list[TokenProgress]:
        """Every request with the tokens that it has produced."""
        produced = []
        for sequence in self.running.values():
            done = sequence.generated
            if sequence.state is SequenceState.DECODE:
                done = self.decodes.generated(sequence)
            produced.append(TokenProgress(sequence.request_id, done))
        queued = (*self.waiting, *self.incoming)
        return produced + [TokenProgress(s.request_id, s.generated) for s in queued]

    def waiting_prefill_tokens(self) -> int:
        """Prompt tokens that have been submitted and not computed."""
        partial = self.partial
        rest = 0 if partial is None else partial.known - partial.computed
        for sequence in (*self.waiting, *self.incoming):
            rest += sequence.known - sequence.computed
        return rest

    @property
    def blocks_used(self) -> int:
        """Blocks that requests hold."""
        return self.limits.kv_blocks_total - self.blocks_free
