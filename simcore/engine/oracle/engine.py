"""The clock and the commands of the token loop."""

from __future__ import annotations

from dataclasses import replace

from contracts.engine import EngineLimits, Scheduling, VllmScheduling
from contracts.ports import StepTimer
from contracts.units import ns_to_fs
from contracts.workload import PromptText
from simcore.engine.events import EngineEvent, Submission, TokenProgress, refusal
from simcore.engine.gaps import GapHistogram
from simcore.engine.oracle.passes import Pass, plan_pass
from simcore.engine.oracle.state import Item, RankState
from simcore.engine.slowed import SlowedTimer


class TokenLoopEngine:
    """Reference engine with the commands of :class:`simcore.engine.Engine`."""

    def __init__(
        self,
        limits: EngineLimits,
        timer: StepTimer,
        scheduling: Scheduling | None = None,
        dp: int = 1,
    ) -> None:
        self._limits = limits
        self._timer = self._own_timer = timer
        self._scheduling = scheduling or VllmScheduling()
        self._ranks = [RankState(limits, self._scheduling) for _ in range(dp)]
        self._gaps_lost: list[GapHistogram] = []
        self._clock_fs = 0
        self._in_flight: list[Pass | None] | None = None
        self._start_fs = self._end_fs = 0
        self._cancelled: set[int] = set()
        self._shrink_blocks = 0

    @property
    def kv_blocks_used(self) -> int:
        """Blocks that requests hold."""
        return sum(rank.used() for rank in self._ranks)

    def cached_prefix_tokens(self, _at_ns: int, text: PromptText) -> int:
        """Leading tokens of a text in the cache of the rank that has most."""
        most = max(len(rank.cached(text, 1 << 62)) for rank in self._ranks)
        return most * self._limits.block_size_tokens

    def token_gaps(self) -> GapHistogram:
        """Times between the tokens of a request, measured one by one."""
        gaps = GapHistogram()
        for part in (*self._gaps_lost, *(rank.gaps for rank in self._ranks)):
            gaps.merge(part)
        return gaps

    def submit(self, at_ns: int, submission: Submission) -> str | None:
        """Queue a request; see the real engine."""
        reason = refusal(self._limits, submission, self._scheduling.kind)
        if reason is None:
            if ns_to_fs(at_ns) > self._clock_fs and not any(r.busy for r in self._ranks):
                for rank in self._ranks:
                    rank.start_afresh()
            self._settle(ns_to_fs(at_ns))
            rank = min(self._ranks, key=lambda r: len(r.running) + len(r.waiting) + len(r.incoming))
            item = Item(submission)
            item.arrived_fs = ns_to_fs(at_ns)
            if self._in_flight is not None and self._scheduling.overlaps_host:
                rank.incoming.append(item)
            else:
                rank.enqueue(item)
        return reason

    def cancel(self, at_ns: int, request_id: int) -> None:
        """Drop a request at the end of the step in flight."""
        self._settle(ns_to_fs(at_ns))
        self._cancelled.add(request_id)
        if self._in_flight is None:
            self._apply_pending()

    def release(self, at_ns: int, request_id: int) -> None:
        """Free the blocks kept for a request."""
        self._settle(ns_to_fs(at_ns))
        for rank in self._ranks:
            rank.release(request_id)

    def set_speed(self, at_ns: int, factor: float) -> None:
        """Stretch the steps that begin from now on."""
        self._settle(ns_to_fs(at_ns))
        self._timer = self._own_timer if factor == 1 else SlowedTimer(self._own_timer, factor)

    def shrink(self, at_ns: int, blocks: int) -> list[TokenProgress]:
        """Lose KV blocks at the end of the step in flight; returns who no longer fits."""
        self._settle(ns_to_fs(at_ns))
        left = self._limits.kv_blocks_total - blocks
        self._limits = replace(self._limits, kv_blocks_total=left)
        lost = []
        for rank in self._ranks:
            for item in (*rank.running, *rank.waiting, *rank.incoming):
                sent = item.submission
                whole = Submission(sent.request_id, sent.isl, sent.osl)
                unfit = refusal(self._limits, whole, self._scheduling.kind) is not None
                if unfit and sent.request_id not in self._cancelled:
                    lost.append(TokenProgress(sent.request_id, item.generated))
        self._cancelled.update(entry.request_id for entry in lost)
        self._shrink_blocks += blocks
        if self._in_flight is None:
            self._apply_pending()
        return lost

    def fail(self, at_ns: int) -> list[TokenProgress]:
        """Lose everything; see the real engine."""
        self._settle(ns_to_fs(at_ns))
        lost = [
            TokenProgress(item.submission.request_id, item.generated)
            for rank in self._ranks
            for item in (*rank.running, *rank.waiting, *rank.incoming)
            if item.submission.request_id not in self._cancelled
        ]
        self._gaps_lost += [rank.gaps for rank in self._ranks]
        self._ranks = [RankState(self._limits, self._scheduling) for _ in self._ranks]
        self._in_flight = None
        self._cancelled.clear()
        self._shrink_blocks = 0
        return lost

    def advance(self, to_ns: int) -> list[EngineEvent]:
        """Run every step that ends by ``to_ns``; a step at ``to_ns`` is not begun yet."""
        to_fs = ns_to_fs(to_ns)
        events: list[EngineEvent] = []
        while True:
            if self._in_flight is None:
                if self._clock_fs >= to_fs:
                    break
                self._apply_pending()
                if not self._begin():
                    break
            if self._end_fs > to_fs:
                break
            self._end(events)
            self._apply_pending()
            self._receive()
        return events

    def _receive(self) -> None:
        """Whoever came before the step that has ended began joins the queue."""
        for rank in self._ranks:
            rank.receive(self._start_fs)
        incoming = any(rank.incoming for rank in self._ranks)
        if incoming and all(one is None for one in self._passes()):
            for rank in self._ranks:
                rank.receive(None)

    def _settle(self, at_fs: int) -> None:
        if self._in_flight is None:
            self._clock_fs = max(self._clock_fs, at_fs)

    def _apply_pending(self) -> None:
        for rank in self._ranks:
            rank.drop(self._cancelled)
            rank.limits = self._limits
            rank.evict()
        self._cancelled.clear()
        self._shrink_blocks = 0

    def _begin(self) -> bool:
        passes = self._passes()
        durations = [
            self._timer.mixed_step_fs(
                len(one.decoding), sum(item.known for item in one.decoding), one.chunks
            )
            for one in passes
            if one is not None
        ]
        if not durations:
            return False
        self._in_flight = passes
        self._start_fs = self._clock_fs
        self._end_fs = self._clock_fs + max(durations)
        return True

    def _passes(self) -> list[Pass | None]:
        passes = [plan_pass(r) if r.running or r.waiting else None for r in self._ranks]
        return [None if one is None or one.empty else one for one in passes]

    def _end(self, events: list[EngineEvent]) -> None:
        passes, self._in_flight = self._in_flight or [], None
        self._clock_fs = self._end_fs
        for rank, one in zip(self._ranks, passes, strict=True):
            if one is not None:
                one.apply(rank, self._clock_fs, events)
