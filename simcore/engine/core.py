"""The engine: one replica with continuous batching, advanced by exact event-skipping.

Between two scheduling events the batch is constant, so all decode steps up to the
next one are a single jump whose end has a closed form. Everything else (prompt
chunks, admission, preemption) is one ordinary step. The token loop in
``oracle.py`` does the same work step by step and must agree to the nanosecond.

Order within an instant: steps that end at ``t`` are finished first; requests
submitted at ``t`` then take part in the step that starts at ``t``.
"""

from __future__ import annotations

from collections import deque

from contracts.engine import EngineLimits, EngineLoad
from contracts.errors import InputError, InvariantError
from contracts.ports import StepTimer
from contracts.units import FS_PER_NS, fs_to_ns_ceil, ns_to_fs
from simcore.engine.events import EngineEvent, EventKind, Submission, TokenProgress, refusal
from simcore.engine.jump import DecodeJump
from simcore.engine.plan import StepPlan, StepPlanner, blocks
from simcore.engine.sequence import DecodeSet, Sequence, SequenceState


class Engine:
    """State machine of one replica: submit, advance, next event, cancel, fail, load.

    Args:
        limits: scheduler and KV limits.
        timer: how long a step takes.

    Attributes:
        requests_held: requests waiting or running.

    Raises:
        InputError: the limits cannot work.
    """

    def __init__(self, limits: EngineLimits, timer: StepTimer) -> None:
        if not 1 <= limits.max_num_seqs <= limits.max_num_batched_tokens:
            raise InputError(
                "max_num_seqs must be at least 1 and at most max_num_batched_tokens",
                value=f"{limits.max_num_seqs} and {limits.max_num_batched_tokens}",
            )
        self._limits = limits
        self._timer = timer
        self._planner = StepPlanner(limits)
        self._block = limits.block_size_tokens
        self._clock_fs = 0
        self._decodes = DecodeSet(self._block)
        self._running: dict[int, Sequence] = {}
        self._waiting: deque[Sequence] = deque()
        self._partial: Sequence | None = None
        self._blocks_free = limits.kv_blocks_total
        self._jump: DecodeJump | None = None
        self._step: StepPlan | None = None
        self._step_end_fs = 0
        self._cancelled: set[int] = set()
        self.requests_held = 0
        self.tokens_generated = 0
        self.tokens_finished = 0
        self.tokens_dropped = 0

    # -- questions ---------------------------------------------------------------

    def next_event_ns(self) -> int | None:
        """When :meth:`advance` next has something to do, ``None`` when idle."""
        jump = self._jump
        if jump is None and self._step is None:
            if not self._look_ahead():
                return None
            jump = self._jump
        return -((self._step_end_fs if jump is None else jump.last_fs) // -FS_PER_NS)

    def next_step_ns(self) -> int | None:
        """When the next single step ends, ``None`` when idle."""
        if not self._look_ahead():
            return None
        if self._jump is not None:
            return fs_to_ns_ceil(self._jump.end_fs(1))
        return fs_to_ns_ceil(self._step_end_fs)

    def load(self, at_ns: int) -> EngineLoad:
        """Load at an instant, which must not lie before the last advance."""
        self._split(ns_to_fs(at_ns))
        waiting_tokens = sum(s.known - s.computed for s in self._waiting)
        if self._partial is not None:
            waiting_tokens += self._partial.known - self._partial.computed
        return EngineLoad(
            running_requests=len(self._running),
            waiting_requests=len(self._waiting),
            waiting_prefill_tokens=waiting_tokens,
            kv_blocks_used=self._limits.kv_blocks_total - self._blocks_free,
            kv_blocks_total=self._limits.kv_blocks_total,
        )

    def progress(self, at_ns: int) -> list[TokenProgress]:
        """Tokens produced so far by every decoding request."""
        self._split(ns_to_fs(at_ns))
        generated = self._decodes.generated
        return [
            TokenProgress(sequence.request_id, generated(sequence))
            for sequence in self._running.values()
            if sequence.state is SequenceState.DECODE
        ]

    # -- commands ----------------------------------------------------------------

    def submit(self, at_ns: int, submission: Submission) -> str | None:
        """Queue a request at an instant; all steps up to then must have been advanced.

        Returns:
            Why the request can never be served, or ``None`` when it is queued.
        """
        reason = refusal(self._limits, submission)
        if reason is not None:
            return reason
        if submission.request_id in self._running:
            raise InvariantError(f"request {submission.request_id} is already running")
        opens = not self._waiting and len(self._running) < self._limits.max_num_seqs
        self._interrupt(ns_to_fs(at_ns), truncate=opens)
        self._waiting.append(Sequence(submission))
        self.requests_held += 1
        return None

    def cancel(self, at_ns: int, request_id: int) -> None:
        """Drop a request at the end of the step in flight; unknown ids are ignored."""
        self._interrupt(ns_to_fs(at_ns), truncate=True)
        self._cancelled.add(request_id)
        if self._jump is None and self._step is None:
            self._drop_cancelled()

    def fail(self, at_ns: int) -> list[TokenProgress]:
        """Lose everything; returns the lost requests with the tokens they had produced."""
        self._split(ns_to_fs(at_ns))
        lost = []
        for sequence in (*self._running.values(), *self._waiting):
            decoding = sequence.state is SequenceState.DECODE
            done = self._decodes.generated(sequence) if decoding else sequence.generated
            lost.append(TokenProgress(sequence.request_id, done))
        lost = [entry for entry in lost if entry.request_id not in self._cancelled]
        self._running.clear()
        self._waiting.clear()
        self._cancelled.clear()
        self._decodes = DecodeSet(self._block)
        self._partial = self._jump = self._step = None
        self._blocks_free = self._limits.kv_blocks_total
        self.requests_held = 0
        self.tokens_dropped = self.tokens_generated - self.tokens_finished
        return lost

    def advance(self, to_ns: int) -> list[EngineEvent]:
        """Finish every step that ends by ``to_ns`` and return what became visible."""
        to_fs = ns_to_fs(to_ns)
        events: list[EngineEvent] = []
        while True:
            jump = self._jump
            if jump is not None:
                if jump.last_fs > to_fs:
                    return events
                self._commit_jump(jump, jump.steps)
                self._jump = None
                self._finish_members(events)
            elif self._step is not None:
                if self._step_end_fs > to_fs:
                    return events
                self._commit_step(events)
            elif not self._look_ahead():
                return events

    def assert_conserved(self) -> None:
        """Check that blocks and tokens add up.

        Raises:
            InvariantError: they do not.
        """
        used = sum(self._held(sequence) for sequence in self._running.values())
        if used + self._blocks_free != self._limits.kv_blocks_total:
            raise InvariantError(f"{used} blocks held and {self._blocks_free} free")
        if not self._running and not self._waiting:
            accounted = self.tokens_finished + self.tokens_dropped
            if accounted != self.tokens_generated:
                raise InvariantError(f"{self.tokens_generated} tokens made, {accounted} left")

    # -- looking ahead -------------------------------------------------------------

    def _look_ahead(self) -> bool:
        """Make sure that a step or a jump is planned; False when the engine is idle."""
        if self._jump is not None or self._step is not None:
            return True
        if self._cancelled:
            self._drop_cancelled()
        if not self._running and not self._waiting:
            return False
        steps = self._jump_steps()
        decodes = self._decodes
        if steps > 0:
            cost = self._timer.decode_cost(decodes.count)
            first_fs = cost.base_fs + cost.slope_fs * decodes.context_tokens
            growth_fs = cost.slope_fs * decodes.count
            self._jump = DecodeJump(self._clock_fs, first_fs, growth_fs, steps)
            return True
        plan = self._planner.plan(
            running=self._running,
            partial=self._partial,
            waiting=self._waiting,
            decodes=decodes,
            blocks_free=self._blocks_free,
        )
        self._step = plan
        self._step_end_fs = self._clock_fs + self._timer.mixed_step_fs(
            plan.decode_count, plan.context_tokens, plan.chunks
        )
        return True

    def _planned_end_fs(self) -> int:
        jump = self._jump
        return self._step_end_fs if jump is None else jump.last_fs

    def _jump_steps(self) -> int:
        """Decode steps until the next scheduling event; 0 asks for an ordinary step."""
        decodes = self._decodes
        if self._partial is not None or decodes.count == 0:
            return 0
        if self._waiting and self._planner.can_admit(
            self._waiting[0],
            running=len(self._running),
            decodes=decodes,
            blocks_free=self._blocks_free,
        ):
            return 0
        steps = decodes.next_finish_step() - decodes.step
        if decodes.blocks_for(steps) > self._blocks_free:
            steps = decodes.steps_until_blocks_exceed(self._blocks_free)
        return steps

    def _interrupt(self, at_fs: int, *, truncate: bool) -> None:
        """Something changes at ``at_fs``: forget plans not begun, shorten a jump if asked."""
        if self._clock_fs < at_fs and self._look_ahead() and self._planned_end_fs() <= at_fs:
            raise InvariantError("steps that have ended must be advanced first")
        jump = self._jump
        if jump is not None:
            if jump.start_fs >= at_fs:
                self._jump = None
            elif truncate:
                jump.truncate(at_fs)
        elif self._step is not None and self._clock_fs >= at_fs:
            self._step = None
        if self._jump is None and self._step is None:
            self._clock_fs = max(self._clock_fs, at_fs)

    def _split(self, at_fs: int) -> None:
        """Commit the steps of a jump that have ended by ``at_fs``."""
        jump = self._jump
        if jump is None:
            return
        done = jump.steps_ended_by(at_fs)
        if done in (0, jump.steps):
            return
        self._commit_jump(jump, done)
        rest_fs = jump.first_fs + jump.growth_fs * done
        self._jump = DecodeJump(self._clock_fs, rest_fs, jump.growth_fs, jump.steps - done)

    # -- committing ----------------------------------------------------------------

    def _commit_jump(self, jump: DecodeJump, steps: int) -> None:
        self._blocks_free -= self._decodes.blocks_for(steps)
        self._decodes.advance(steps)
        self.tokens_generated += steps * self._decodes.count
        self._clock_fs = jump.last_fs if steps == jump.steps else jump.end_fs(steps)

    def _commit_step(self, events: list[EngineEvent]) -> None:
        plan = self._step
        if plan is None:
            raise InvariantError("no step is planned")
        self._step = None
        self._clock_fs = self._step_end_fs
        self._blocks_free -= plan.blocks_taken
        for victim in plan.preempted:
            self._preempt(victim)
        self._decodes.advance(1)
        self.tokens_generated += self._decodes.count
        self._finish_members(events)
        for sequence, tokens in plan.work:
            self._admit(sequence)
            sequence.computed += tokens
            if sequence.computed < sequence.known:
                sequence.state = SequenceState.PREFILL
                self._partial = sequence
            else:
                if sequence is self._partial:
                    self._partial = None
                self._sample(sequence, events)

    def _admit(self, sequence: Sequence) -> None:
        if sequence.state is not SequenceState.WAITING:
            return
        head = self._waiting.popleft()
        if head is not sequence:
            raise InvariantError("requests were not admitted in order")
        self._running[sequence.request_id] = sequence

    def _sample(self, sequence: Sequence, events: list[EngineEvent]) -> None:
        """A request has its whole known text computed and produces a token."""
        sequence.known += 1
        sequence.generated += 1
        self.tokens_generated += 1
        at_ns = fs_to_ns_ceil(self._clock_fs)
        if sequence.generated == 1:
            events.append(
                EngineEvent(at_ns, EventKind.FIRST_TOKEN, sequence.request_id, sequence.preemptions)
            )
        if sequence.generated == sequence.osl:
            self._finish(sequence, events, at_ns)
        else:
            self._decodes.join(sequence)

    def _finish_members(self, events: list[EngineEvent]) -> None:
        finished = self._decodes.pop_finished()
        if finished:
            at_ns = fs_to_ns_ceil(self._clock_fs)
            for sequence in finished:
                self._finish(sequence, events, at_ns)

    def _finish(self, sequence: Sequence, events: list[EngineEvent], at_ns: int) -> None:
        """Release a request; its newest token was never computed, so it holds no block."""
        sequence.state = SequenceState.GONE
        self.requests_held -= 1
        del self._running[sequence.request_id]
        self._blocks_free += blocks(sequence.known - 1, self._block)
        self.tokens_finished += sequence.generated - sequence.carried
        self._cancelled.discard(sequence.request_id)
        events.append(
            EngineEvent(at_ns, EventKind.FINISHED, sequence.request_id, sequence.preemptions)
        )

    def _preempt(self, victim: Sequence) -> None:
        """Take everything from a running request; its blocks were counted by the plan."""
        if victim.state is SequenceState.DECODE:
            self._decodes.leave(victim)
        elif victim is self._partial:
            self._partial = None
        del self._running[victim.request_id]
        victim.computed = 0
        victim.preemptions += 1
        victim.state = SequenceState.WAITING
        self._waiting.appendleft(victim)

    def _drop_cancelled(self) -> None:
        for request_id in sorted(self._cancelled):
            sequence = self._running.pop(request_id, None)
            if sequence is None:
                continue
            if sequence.state is SequenceState.DECODE:
                self._decodes.leave(sequence)
            elif sequence is self._partial:
                self._partial = None
            self._blocks_free += blocks(sequence.computed, self._block)
            sequence.state = SequenceState.GONE
            self.tokens_dropped += sequence.generated - sequence.carried
        kept = [s for s in self._waiting if s.request_id not in self._cancelled]
        dropped = [s for s in self._waiting if s.request_id in self._cancelled]
        self.tokens_dropped += sum(s.generated - s.carried for s in dropped)
        self._waiting = deque(kept)
        self.requests_held = len(self._running) + len(kept)
        self._cancelled.clear()

    def _held(self, sequence: Sequence) -> int:
        decoding = sequence.state is SequenceState.DECODE
        computed = self._decodes.known(sequence) - 1 if decoding else sequence.computed
        return blocks(computed, self._block)
