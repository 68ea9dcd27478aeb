"""The token loop: the same engine semantics, one step and one request at a time.

Slow and simple on purpose. It keeps every request's blocks as a number of its own
and shares no arithmetic with the event-skipping engine, so agreement to the
nanosecond is evidence that the skipping is exact.
"""

from __future__ import annotations

from contracts.engine import EngineLimits
from contracts.ports import PrefillChunk, StepTimer
from contracts.units import fs_to_ns_ceil, ns_to_fs
from simcore.engine.events import EngineEvent, EventKind, Submission, TokenProgress, refusal


class _Item:
    """One request with its own book-keeping."""

    def __init__(self, submission: Submission) -> None:
        self.submission = submission
        self.generated = submission.generated
        self.computed = submission.computed
        self.blocks = 0
        self.preemptions = 0
        self.mid_prefill = False

    @property
    def known(self) -> int:
        return self.submission.isl + self.generated

    @property
    def wanted(self) -> int:
        return self.known - self.computed


class TokenLoopEngine:
    """Reference engine with the commands of :class:`simcore.engine.Engine`."""

    def __init__(self, limits: EngineLimits, timer: StepTimer) -> None:
        self._limits = limits
        self._timer = timer
        self._free = limits.kv_blocks_total
        self._running: list[_Item] = []
        self._waiting: list[_Item] = []
        self._clock_fs = 0
        self._in_flight: list[tuple[_Item, int]] | None = None
        self._end_fs = 0
        self._cancelled: set[int] = set()

    def submit(self, at_ns: int, submission: Submission) -> str | None:
        """Queue a request; see the real engine."""
        reason = refusal(self._limits, submission)
        if reason is None:
            self._settle(ns_to_fs(at_ns))
            self._waiting.append(_Item(submission))
        return reason

    def cancel(self, at_ns: int, request_id: int) -> None:
        """Drop a request at the end of the step in flight."""
        self._settle(ns_to_fs(at_ns))
        self._cancelled.add(request_id)
        if self._in_flight is None:
            self._drop()

    def fail(self, at_ns: int) -> list[TokenProgress]:
        """Lose everything; see the real engine."""
        self._settle(ns_to_fs(at_ns))
        lost = [
            TokenProgress(item.submission.request_id, item.generated)
            for item in (*self._running, *self._waiting)
            if item.submission.request_id not in self._cancelled
        ]
        self._running, self._waiting, self._in_flight = [], [], None
        self._free = self._limits.kv_blocks_total
        self._cancelled.clear()
        return lost

    def advance(self, to_ns: int) -> list[EngineEvent]:
        """Run every step that ends by ``to_ns``; a step at ``to_ns`` is not begun yet."""
        to_fs = ns_to_fs(to_ns)
        events: list[EngineEvent] = []
        while True:
            if self._in_flight is None:
                if self._clock_fs >= to_fs:
                    break
                self._drop()
                if not self._running and not self._waiting:
                    break
                self._begin()
            if self._end_fs > to_fs:
                break
            self._end(events)
        return events

    @property
    def kv_blocks_used(self) -> int:
        """Blocks in use, summed over the running requests."""
        return sum(item.blocks for item in self._running)

    def _settle(self, at_fs: int) -> None:
        if self._in_flight is None:
            self._clock_fs = max(self._clock_fs, at_fs)

    def _drop(self) -> None:
        for item in [i for i in self._running if i.submission.request_id in self._cancelled]:
            self._running.remove(item)
            self._free += item.blocks
        self._waiting = [i for i in self._waiting if i.submission.request_id not in self._cancelled]
        self._cancelled.clear()

    def _begin(self) -> None:
        budget = self._limits.max_num_batched_tokens
        scheduled: list[tuple[_Item, int]] = []
        preempted = False
        at = 0
        while at < len(self._running):
            item = self._running[at]
            tokens = min(item.wanted, budget)
            if tokens == 0:
                at += 1
                continue
            while not self._grow(item, tokens):
                victim = self._running.pop()
                self._release(victim)
                preempted = True
                if victim is item:
                    break
            else:
                scheduled.append((item, tokens))
                budget -= tokens
                at += 1
                continue
            break
        while (
            not preempted
            and self._waiting
            and budget > 0
            and len(self._running) < self._limits.max_num_seqs
        ):
            item = self._waiting[0]
            tokens = min(item.wanted, budget)
            if tokens < item.wanted and not self._limits.chunked_prefill:
                break
            if not self._grow(item, tokens):
                break
            self._running.append(self._waiting.pop(0))
            scheduled.append((item, tokens))
            budget -= tokens
        self._in_flight = scheduled
        self._end_fs = self._clock_fs + self._duration_fs(scheduled)

    def _duration_fs(self, scheduled: list[tuple[_Item, int]]) -> int:
        """Price the step: requests whose prompt is done or was sent over count as decodes."""
        decodes = [item for item, tokens in scheduled if self._is_decode(item, tokens)]
        chunks = [
            PrefillChunk(tokens, item.computed)
            for item, tokens in scheduled
            if not self._is_decode(item, tokens)
        ]
        return self._timer.mixed_step_fs(len(decodes), sum(item.known for item in decodes), chunks)

    @staticmethod
    def _is_decode(item: _Item, tokens: int) -> bool:
        """One token on top of a complete cache; a partial prefill has not sampled yet."""
        sampled_here = item.computed > 0 and item.computed == item.known - 1
        return sampled_here and tokens == 1 and not item.mid_prefill

    def _grow(self, item: _Item, tokens: int) -> bool:
        size = self._limits.block_size_tokens
        need = -(-(item.computed + tokens) // size) - item.blocks
        if need > self._free:
            return False
        self._free -= need
        item.blocks += need
        return True

    def _release(self, victim: _Item) -> None:
        self._free += victim.blocks
        victim.blocks = 0
        victim.computed = 0
        victim.preemptions += 1
        victim.mid_prefill = False
        self._waiting.insert(0, victim)

    def _end(self, events: list[EngineEvent]) -> None:
        scheduled, self._in_flight = self._in_flight or [], None
        self._clock_fs = self._end_fs
        at_ns = fs_to_ns_ceil(self._clock_fs)
        for item, tokens in scheduled:
            item.computed += tokens
            item.mid_prefill = item.computed < item.known
            if item.computed < item.known:
                continue
            item.generated += 1
            request_id = item.submission.request_id
            if item.generated == 1:
                events.append(
                    EngineEvent(at_ns, EventKind.FIRST_TOKEN, request_id, item.preemptions)
                )
            if item.generated == item.submission.osl:
                self._running.remove(item)
                self._free += item.blocks
                self._cancelled.discard(request_id)
                events.append(EngineEvent(at_ns, EventKind.FINISHED, request_id, item.preemptions))
