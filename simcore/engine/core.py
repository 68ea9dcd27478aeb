"""The engine: one replica with continuous batching, advanced by exact event-skipping.

Between two scheduling events the batch is constant, so all decode steps up to the
next one are a single jump whose end has a closed form. Everything else (prompt
chunks, admission, preemption) is one ordinary step. The token loop in
``oracle.py`` does the same work step by step and must agree to the nanosecond.

An engine that prepares its next step while one is in flight has planned it without what
arrives meanwhile: such a request joins the queue one step later, unless the engine would
have nothing to do.

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
from simcore.engine.audit import assert_conserved, misfits
from simcore.engine.events import EngineEvent, Submission, TokenProgress, refusal
from simcore.engine.gaps import GapHistogram
from simcore.engine.rank import Rank
from simcore.engine.slowed import SlowedTimer
from simcore.engine.stepper import Stepper


class Engine(Stepper):
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
        super().__init__(limits, timer, scheduling or VllmScheduling(), dp)

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
            waiting_requests=sum(len(rank.waiting) + len(rank.incoming) for rank in ranks),
            waiting_prefill_tokens=sum(rank.waiting_prefill_tokens() for rank in ranks),
            kv_blocks_used=sum(rank.blocks_used for rank in ranks),
            kv_blocks_total=self._limits.kv_blocks_total * len(ranks),
        )

    def kv_blocks_used(self, at_ns: int) -> int:
        """KV blocks that requests hold at an instant, kept ones included."""
        self._split(ns_to_fs(at_ns))
        return sum(rank.blocks_used for rank in self._ranks)

    def catch_up(self, at_ns: int) -> None:
        """Commit the steps that have ended by an instant, so that the next one lies ahead."""
        self._split(ns_to_fs(at_ns))

    def progress(self) -> list[tuple[int, int]]:
        """Every decoding request with the tokens that it has produced; catch up first."""
        if self._only is not None:
            return self._only.decoded()
        return [entry for rank in self._ranks for entry in rank.decoded()]

    def decode_mark(self) -> tuple[int, int] | None:
        """How often requests joined or left decoding, and the decode steps; catch up first.

        As long as the first number stays, each step gives one token to each of the same requests.
        ``None`` with several attention ranks, which decode each for itself.
        """
        if self._only is None:
            return None
        decodes = self._only.decodes
        return decodes.changes, decodes.step

    def cached_prefix_tokens(self, at_ns: int, text: PromptText) -> int:
        """Leading tokens of a text that the prefix cache holds, of the rank that has most."""
        jump = self._jump
        ended = 0 if jump is None else jump.steps_ended_by(ns_to_fs(at_ns))
        most = max(rank.cached_blocks(text, ended) for rank in self._ranks)
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
        if self._overlap and self._submit_late(rank, submission, at_fs):
            return None
        opens = not rank.waiting and len(rank.running) < self._limits.max_num_seqs
        if self._clock_fs < at_fs and not self._busy:
            for one in self._ranks:
                one.scheduler.idle()
        self._interrupt(at_fs, truncate=opens or rank.overtaking or bool(submission.adapter))
        rank.submit(submission)
        return None

    def _submit_late(self, rank: Rank, submission: Submission, at_fs: int) -> bool:
        """Keep a request back if a step is in flight, whose successor has been planned."""
        jump = self._jump
        if jump is None:
            if self._step is None or not self._clock_fs < at_fs < self._step_end_fs:
                return False
            rank.submit_late(submission, -1)
            return True
        if not jump.start_fs < at_fs < jump.last_fs:
            return False
        begun = jump.steps_started_before(at_fs)
        if jump.end_fs(begun) <= at_fs:
            return False
        queued_fs = -1
        if begun < jump.steps:
            queued_fs = jump.end_fs(begun + 1)
            if rank.admits_soon or submission.adapter:
                jump.cut(begun + 1)
        rank.submit_late(submission, queued_fs)
        return True

    def cancel(self, at_ns: int, request_id: int) -> None:
        """Drop a request at the end of the step in flight; unknown ids are ignored."""
        self._interrupt(ns_to_fs(at_ns), truncate=True)
        self._cancelled.add(request_id)
        if self._jump is None and self._step is None:
            self._apply_pending()

    def release(self, at_ns: int, request_id: int) -> None:
        """Free the KV blocks that a request with ``hold`` kept after its last token."""
        # What earlier steps have told the scheduler must not come after this.
        self._split(ns_to_fs(at_ns))
        self._interrupt(ns_to_fs(at_ns), truncate=True)
        for rank in self._ranks:
            rank.release(request_id)

    def reset_prefix_cache(self) -> None:
        """Forget cached prompts that no request holds; nothing that runs changes."""
        for rank in self._ranks:
            if rank.cache is not None:
                rank.cache.settle(0)

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
            unfit = misfits(rank, self._limits, self._backend)
            lost += [entry for entry in unfit if entry.request_id not in self._cancelled]
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
            assert_conserved(rank)
