"""The engine: one replica with continuous batching, advanced by exact event-skipping.

Between two scheduling events the batch is constant, so all decode steps up to the
next one are a single jump whose end has a closed form. Everything else (prompt
chunks, admission, preemption) is one ordinary step. The token loop in
``oracle.py`` does the same work step by step and must agree to the nanosecond.

Order within an instant: steps that end at ``t`` are finished first; requests
submitted at ``t`` then take part in the step that starts at ``t``.
"""

from __future__ import annotations

from dataclasses import replace

from contracts.engine import EngineLimits, EngineLoad, Scheduling, VllmScheduling
from contracts.errors import InputError, InvariantError
from contracts.ports import StepTimer
from contracts.units import FS_PER_NS, fs_to_ns_ceil, ns_to_fs
from contracts.workload import PromptText
from simcore.engine.events import EngineEvent, Submission, TokenProgress, refusal
from simcore.engine.gaps import GapHistogram
from simcore.engine.jump import DecodeJump
from simcore.engine.lockstep import slowest_line
from simcore.engine.plan import StepPlan
from simcore.engine.rank import Rank
from simcore.engine.slowed import SlowedTimer

Part = StepPlan | int | None


class Engine:
    """State machine of one replica: submit, advance, next event, cancel, fail, load.

    Args:
        limits: scheduler and KV limits of one attention rank.
        timer: how long a step of one rank takes.
        scheduling: the backend's scheduler.
        dp: attention ranks; they step together, each step as long as its slowest rank.

    Raises:
        InputError: the limits cannot work.
    """

    def __init__(
        self,
        limits: EngineLimits,
        timer: StepTimer,
        scheduling: Scheduling | None = None,
        dp: int = 1,
    ) -> None:
        if not 1 <= limits.max_num_seqs <= limits.max_num_batched_tokens:
            raise InputError(
                "max_num_seqs must be at least 1 and at most max_num_batched_tokens",
                value=f"{limits.max_num_seqs} and {limits.max_num_batched_tokens}",
            )
        scheduling = scheduling or VllmScheduling()
        self._limits = limits
        self._backend = scheduling.kind
        self._timer = self._own_timer = timer
        self._ranks = [Rank(limits, scheduling) for _ in range(dp)]
        self._only = self._ranks[0] if dp == 1 else None
        self._clock_fs = 0
        self._jump: DecodeJump | None = None
        self._step: list[Part] | None = None
        self._step_end_fs = 0
        self._cancelled: set[int] = set()
        self._shrink_blocks = 0

    # -- questions ---------------------------------------------------------------

    @property
    def requests_held(self) -> int:
        """Requests waiting or running."""
        if self._only is not None:
            return self._only.requests_held
        return sum(rank.requests_held for rank in self._ranks)

    @property
    def tokens_generated(self) -> int:
        """Output tokens made so far, those of lost requests included."""
        return sum(rank.tokens_generated for rank in self._ranks)

    def token_gaps(self) -> GapHistogram:
        """Times between the tokens of a request so far, those since a hand-over left out."""
        gaps = GapHistogram()
        for rank in self._ranks:
            gaps.merge(rank.gaps.histogram)
        return gaps

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
        ranks = self._ranks
        return EngineLoad(
            running_requests=sum(len(rank.running) for rank in ranks),
            waiting_requests=sum(len(rank.waiting) for rank in ranks),
            waiting_prefill_tokens=sum(rank.waiting_prefill_tokens() for rank in ranks),
            kv_blocks_used=sum(rank.blocks_used for rank in ranks),
            kv_blocks_total=self._limits.kv_blocks_total * len(ranks),
        )

    def kv_blocks_used(self, at_ns: int) -> int:
        """KV blocks that requests hold at an instant, kept ones included."""
        self._split(ns_to_fs(at_ns))
        return sum(rank.blocks_used for rank in self._ranks)

    def progress(self, at_ns: int) -> list[TokenProgress]:
        """Tokens produced so far by every decoding request."""
        self._split(ns_to_fs(at_ns))
        return [entry for rank in self._ranks for entry in rank.progress(waiting=False)]

    def cached_prefix_tokens(self, text: PromptText) -> int:
        """Leading tokens of a text that the prefix cache holds, of the rank that has most."""
        most = max(rank.cached_blocks(text) for rank in self._ranks)
        return most * self._limits.block_size_tokens

    # -- commands ----------------------------------------------------------------

    def submit(self, at_ns: int, submission: Submission) -> str | None:
        """Queue a request at an instant; all steps up to then must have been advanced.

        With several attention ranks the one that holds the fewest requests takes it.

        Returns:
            Why the request can never be served, or ``None`` when it is queued.
        """
        reason = refusal(self._limits, submission, self._backend)
        if reason is not None:
            return reason
        at_fs = at_ns * FS_PER_NS
        rank = self._only or min(self._ranks, key=lambda candidate: candidate.requests_held)
        if submission.request_id in rank.running:
            raise InvariantError(f"request {submission.request_id} is already running")
        opens = not rank.waiting and len(rank.running) < self._limits.max_num_seqs
        if self._clock_fs < at_fs and not self._busy:
            for one in self._ranks:
                one.scheduler.idle()
        self._interrupt(at_fs, truncate=opens or rank.overtaking or bool(submission.adapter))
        rank.submit(submission)
        return None

    def cancel(self, at_ns: int, request_id: int) -> None:
        """Drop a request at the end of the step in flight; unknown ids are ignored."""
        self._interrupt(ns_to_fs(at_ns), truncate=True)
        self._cancelled.add(request_id)
        if self._jump is None and self._step is None:
            self._apply_pending()

    def release(self, at_ns: int, request_id: int) -> None:
        """Free the KV blocks that a request with ``hold`` kept after its last token."""
        self._interrupt(ns_to_fs(at_ns), truncate=True)
        for rank in self._ranks:
            rank.release(request_id)

    def set_speed(self, at_ns: int, factor: float) -> None:
        """Steps that begin from now on last ``factor`` times as long as the timer says.

        Raises:
            InputError: the factor is not positive.
        """
        self._interrupt(ns_to_fs(at_ns), truncate=True)
        self._timer = self._own_timer if factor == 1 else SlowedTimer(self._own_timer, factor)

    def shrink(self, at_ns: int, blocks: int) -> list[TokenProgress]:
        """Lose KV blocks of every rank at the end of the step in flight.

        Returns:
            Requests that no longer fit at all; they are dropped.

        Raises:
            InputError: no block would be left.
        """
        left = self._limits.kv_blocks_total - blocks
        if blocks < 0 or left < 1:
            raise InputError(
                "KV blocks must be left",
                value=f"{blocks} of {self._limits.kv_blocks_total} blocks",
            )
        self._split(ns_to_fs(at_ns))
        self._interrupt(ns_to_fs(at_ns), truncate=True)
        self._limits = replace(self._limits, kv_blocks_total=left)
        lost = []
        for rank in self._ranks:
            misfits = rank.misfits(self._limits, self._backend)
            lost += [entry for entry in misfits if entry.request_id not in self._cancelled]
        self._cancelled.update(entry.request_id for entry in lost)
        self._shrink_blocks += blocks
        if self._jump is None and self._step is None:
            self._apply_pending()
        return lost

    def fail(self, at_ns: int) -> list[TokenProgress]:
        """Lose everything; returns the lost requests with the tokens they had produced."""
        self._split(ns_to_fs(at_ns))
        self._jump = self._step = None
        lost = [entry for rank in self._ranks for entry in rank.lose_all()]
        lost = [entry for entry in lost if entry.request_id not in self._cancelled]
        self._cancelled.clear()
        self._apply_pending()
        return lost

    def advance(self, to_ns: int) -> list[EngineEvent]:
        """Finish every step that ends by ``to_ns`` and return what became visible."""
        to_fs = to_ns * FS_PER_NS
        events: list[EngineEvent] = []
        while True:
            jump = self._jump
            if jump is not None:
                if jump.last_fs > to_fs:
                    return events
                self._commit_jump(jump, jump.steps)
                self._jump = None
                at_ns = -(-self._clock_fs // FS_PER_NS)
                for rank in self._ranks:
                    rank.finish_members(at_ns, events)
            elif self._step is not None:
                if self._step_end_fs > to_fs:
                    return events
                self._commit_step(events)
            elif not self._look_ahead():
                return events

    def assert_conserved(self) -> None:
        """Check that blocks and tokens of every rank add up.

        Raises:
            InvariantError: they do not.
        """
        for rank in self._ranks:
            rank.assert_conserved()

    # -- looking ahead -------------------------------------------------------------

    @property
    def _busy(self) -> bool:
        rank = self._only
        if rank is not None:
            return bool(rank.running) or len(rank.waiting) > 0
        return any(rank.busy for rank in self._ranks)

    def _look_ahead(self) -> bool:
        """Make sure that a step or a jump is planned; False when nothing can be done."""
        if self._jump is not None or self._step is not None:
            return True
        if self._cancelled or self._shrink_blocks:
            self._apply_pending()
        rank = self._only
        if rank is None:
            return self._look_ahead_together()
        if not rank.running and not rank.waiting:
            return False
        part = rank.next()
        decodes = rank.decodes
        if isinstance(part, int):
            cost = self._timer.decode_cost(decodes.count)
            first_fs = cost.base_fs + cost.slope_fs * decodes.context_tokens
            self._jump = DecodeJump(self._clock_fs, first_fs, cost.slope_fs * decodes.count, part)
            return True
        if part.empty:
            return False
        self._step = [part]
        self._step_end_fs = self._clock_fs + self._timer.mixed_step_fs(
            part.decode_count, part.context_tokens, part.chunks
        )
        return True

    def _look_ahead_together(self) -> bool:
        """The same for attention ranks that step together."""
        parts: list[Part] = []
        for rank in self._ranks:
            part: Part = rank.next() if rank.busy else None
            parts.append(None if isinstance(part, StepPlan) and part.empty else part)
        if all(part is None for part in parts):
            return False
        lines, steps, duration_fs = [], [], 0
        for rank, part in zip(self._ranks, parts, strict=True):
            if isinstance(part, int):
                decodes = rank.decodes
                cost = self._timer.decode_cost(decodes.count)
                first_fs = cost.base_fs + cost.slope_fs * decodes.context_tokens
                lines.append((first_fs, cost.slope_fs * decodes.count))
                steps.append(part)
                duration_fs = max(duration_fs, first_fs)
            elif part is not None:
                counts = part.decode_count, part.context_tokens
                step_fs = self._timer.mixed_step_fs(*counts, part.chunks)
                duration_fs = max(duration_fs, step_fs)
        if any(isinstance(part, StepPlan) for part in parts):
            self._step = parts
            self._step_end_fs = self._clock_fs + duration_fs
            return True
        first_fs, growth_fs, valid = slowest_line(lines)
        count = min(*steps, valid) if valid is not None else min(steps)
        self._jump = DecodeJump(self._clock_fs, first_fs, growth_fs, count)
        return True

    def _apply_pending(self) -> None:
        for rank in self._ranks:
            if self._cancelled:
                rank.drop(self._cancelled)
            if self._shrink_blocks:
                rank.shrink(self._limits, self._shrink_blocks)
        self._cancelled.clear()
        self._shrink_blocks = 0

    def _planned_end_fs(self) -> int:
        jump = self._jump
        return self._step_end_fs if jump is None else jump.last_fs

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
                if jump.last_fs <= at_fs:
                    # It was cut at the end of a step; nobody finishes there.
                    self._commit_jump(jump, jump.steps)
                    self._jump = None
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
        for rank in self._ranks:
            if rank.decodes.count:
                rank.gaps.run(jump.start_fs, jump.first_fs, jump.growth_fs, steps)
                rank.commit_decodes(steps)
        self._clock_fs = jump.last_fs if steps == jump.steps else jump.end_fs(steps)

    def _commit_step(self, events: list[EngineEvent]) -> None:
        parts = self._step
        if parts is None:
            raise InvariantError("no step is planned")
        self._step = None
        self._clock_fs = self._step_end_fs
        at_ns = fs_to_ns_ceil(self._clock_fs)
        for rank, part in zip(self._ranks, parts, strict=True):
            if isinstance(part, StepPlan):
                rank.commit_plan(part, self._clock_fs, events)
            elif part is not None:
                rank.gaps.step(self._clock_fs)
                rank.commit_decodes(1)
                rank.finish_members(at_ns, events)
