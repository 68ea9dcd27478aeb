"""What an engine does next, and what has been done when a step ends."""

from __future__ import annotations

from collections.abc import Callable

from contracts.engine import EngineLimits, Scheduling
from contracts.errors import InvariantError
from contracts.ports import StepTimer
from contracts.units import fs_to_ns_ceil
from simcore.engine.events import EngineEvent, StepReport
from simcore.engine.jump import DecodeJump
from simcore.engine.lockstep import slowest_line
from simcore.engine.plan import StepPlan
from simcore.engine.rank import Rank
from simcore.engine.sequence import SequenceState

Part = StepPlan | int | None


class Stepper:
    """Plans steps and jumps of all attention ranks and carries them out."""

    def __init__(
        self, limits: EngineLimits, timer: StepTimer, scheduling: Scheduling, dp: int
    ) -> None:
        self._limits = limits
        self._backend = scheduling.kind
        self._overlap = scheduling.overlaps_host
        self._timer = self._own_timer = timer
        self._ranks = [Rank(limits, scheduling) for _ in range(dp)]
        self._only = self._ranks[0] if dp == 1 else None
        self._clock_fs = 0
        self._jump: DecodeJump | None = None
        self._step: list[Part] | None = None
        self._step_end_fs = 0
        self._cancelled: set[int] = set()
        self._shrink_blocks = 0
        self._watch: Callable[[StepReport], None] | None = None

    def watch(self, watch: Callable[[StepReport], None]) -> None:
        """Tell somebody about every step; this changes nothing else."""
        self._watch = watch

    # -- looking ahead -------------------------------------------------------------

    @property
    def _busy(self) -> bool:
        rank = self._only
        if rank is not None:
            return bool(rank.running) or len(rank.waiting) > 0 or bool(rank.incoming)
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
        part = rank.next() if rank.running or rank.waiting else None
        if rank.incoming:
            part = self._with_incoming(rank, part)
        if isinstance(part, int):
            decodes = rank.decodes
            cost = self._timer.decode_cost(decodes.count)
            first_fs = cost.base_fs + cost.slope_fs * decodes.context_tokens
            self._jump = DecodeJump(self._clock_fs, first_fs, cost.slope_fs * decodes.count, part)
            if rank.incoming:
                self._date_incoming(self._clock_fs + first_fs)
            return True
        if part is None or part.empty:
            return False
        self._step = [part]
        self._step_end_fs = self._clock_fs + self._timer.mixed_step_fs(
            part.decode_count, part.context_tokens, part.chunks
        )
        if rank.incoming:
            self._date_incoming(self._step_end_fs)
        return True

    @staticmethod
    def _with_incoming(rank: Rank, part: Part) -> Part:
        """The next step of a rank that has newcomers, who wait one step if there is one."""
        if isinstance(part, int):
            return 1 if rank.admits_soon else part
        if part is not None and not part.empty:
            return part
        rank.receive_all()
        return rank.next()

    def _date_incoming(self, at_fs: int) -> None:
        """The step that was planned without them ends at ``at_fs``."""
        for rank in self._ranks:
            for sequence in rank.incoming:
                sequence.queued_fs = at_fs

    def _look_ahead_together(self) -> bool:
        """The same for attention ranks that step together."""
        parts = self._parts()
        if all(part is None for part in parts):
            if not any(rank.incoming for rank in self._ranks):
                return False
            for rank in self._ranks:
                rank.receive_all()
            parts = self._parts()
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
        self._date_incoming(self._clock_fs + duration_fs)
        if any(isinstance(part, StepPlan) for part in parts):
            self._step = parts
            self._step_end_fs = self._clock_fs + duration_fs
            return True
        first_fs, growth_fs, valid = slowest_line(lines)
        count = min(*steps, valid) if valid is not None else min(steps)
        if any(rank.incoming and rank.admits_soon for rank in self._ranks):
            count = 1
        self._jump = DecodeJump(self._clock_fs, first_fs, growth_fs, count)
        return True

    def _parts(self) -> list[Part]:
        """What each rank does next, ``None`` for nothing."""
        parts: list[Part] = []
        for rank in self._ranks:
            part: Part = rank.next() if rank.running or rank.waiting else None
            parts.append(None if isinstance(part, StepPlan) and part.empty else part)
        return parts

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
        if self._watch is not None:
            self._report_jump(self._watch, jump, steps)
        for rank in self._ranks:
            if rank.decodes.count:
                rank.gaps.run(jump.start_fs, jump.first_fs, jump.growth_fs, steps)
                rank.commit_decodes(steps)
        self._clock_fs = jump.last_fs if steps == jump.steps else jump.end_fs(steps)
        if self._overlap:
            self._receive()

    def _commit_step(self, events: list[EngineEvent]) -> None:
        parts = self._step
        if parts is None:
            raise InvariantError("no step is planned")
        self._step = None
        if self._watch is not None:
            self._report_step(self._watch, parts)
        self._clock_fs = self._step_end_fs
        at_ns = fs_to_ns_ceil(self._clock_fs)
        for rank, part in zip(self._ranks, parts, strict=True):
            if isinstance(part, StepPlan):
                rank.commit_plan(part, self._clock_fs, events)
            elif part is not None:
                rank.gaps.step(self._clock_fs)
                rank.commit_decodes(1)
                rank.finish_members(at_ns, events)
        if self._overlap:
            self._receive()

    def _report_jump(
        self, watch: Callable[[StepReport], None], jump: DecodeJump, steps: int
    ) -> None:
        decoding = [rank.decodes for rank in self._ranks]
        count = sum(decodes.count for decodes in decoding)
        context = sum(decodes.context_tokens for decodes in decoding)
        start_ns, end_ns = fs_to_ns_ceil(jump.start_fs), fs_to_ns_ceil(jump.end_fs(steps))
        watch(StepReport(start_ns, end_ns, steps, count, context, 0, (), ()))

    def _report_step(self, watch: Callable[[StepReport], None], parts: list[Part]) -> None:
        """Before it is carried out, while those who are admitted can still be told."""
        decodes = context = prompt = 0
        admitted: list[tuple[int, int]] = []
        preempted: list[int] = []
        for rank, part in zip(self._ranks, parts, strict=True):
            if not isinstance(part, StepPlan):
                decodes += rank.decodes.count
                context += rank.decodes.context_tokens
                continue
            decodes += part.decode_count if part.decodes else 0
            context += part.context_tokens
            prompt += sum(chunk.new_tokens for chunk in part.chunks)
            preempted += [victim.request_id for victim in part.preempted]
            for sequence, _ in part.work:
                if sequence.state is SequenceState.WAITING:
                    admitted.append((sequence.request_id, sequence.start - sequence.computed))
        start_ns, end_ns = fs_to_ns_ceil(self._clock_fs), fs_to_ns_ceil(self._step_end_fs)
        told = tuple(admitted), tuple(preempted)
        watch(StepReport(start_ns, end_ns, 1, decodes, context, prompt, *told))

    def _receive(self) -> None:
        """Let those into the queue who came before the step that has ended began."""
        for rank in self._ranks:
            if rank.incoming:
                rank.receive(self._clock_fs)
