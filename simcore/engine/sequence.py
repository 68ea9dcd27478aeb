"""One request inside an engine, and the set of decoding requests as arithmetic."""

from __future__ import annotations

from enum import IntEnum
from heapq import heappop, heappush
from typing import NamedTuple

from simcore.engine.events import Submission


class Run:
    """Neighbouring segments of one text in the prefix cache that the same requests hold.

    Attributes:
        ids: of the segments.
        lasts: blocks from the start of the text to the end of each segment.
        start: blocks before the first segment.
        blocks: blocks that are there; fewer than the segments have when some were evicted.
        refs: requests that hold it.
        parent: what comes before; ``None`` at the root and where nobody will ask.
        children: what may come after, by the id of its first segment; ``None`` for nothing yet.
    """

    __slots__ = ("blocks", "children", "ids", "lasts", "parent", "refs", "start")

    def __init__(
        self, ids: tuple[int, ...], lasts: tuple[int, ...], start: int, parent: Run | None
    ) -> None:
        self.ids = ids
        self.lasts = lasts
        self.start = start
        self.parent = parent
        self.blocks = lasts[-1] - start if lasts else 0
        self.refs = 0
        self.children: dict[int, Run] | None = None


class Path(NamedTuple):
    """The segments of a text that fill blocks.

    Attributes:
        ids: of the segments.
        ends: tokens up to the end of each.
        lasts: whole blocks up to the end of each, increasing.
    """

    ids: tuple[int, ...]
    ends: tuple[int, ...]
    lasts: tuple[int, ...]


class Hit(NamedTuple):
    """What the cache has of a text.

    Attributes:
        runs: the way through the cache; the last one may be used in part.
        segments: leading segments that would be held.
        part: blocks of the last run that would be held.
        blocks: leading blocks that need not be computed.
        surplus: blocks that would be held and are not of use.
        idle_blocks: blocks of these segments that no request holds yet.
    """

    runs: list[Run]
    segments: int
    part: int
    blocks: int
    surplus: int
    idle_blocks: int


NO_HIT = Hit([], 0, 0, 0, 0, 0)


class SequenceState(IntEnum):
    """Where a request is; explicit, because a one-token recompute looks like a decode."""

    WAITING = 0
    PREFILL = 1
    DECODE = 2
    GONE = 3


class Sequence:
    """Mutable state of one request; ``known`` and ``generated`` are stale while it decodes.

    Attributes:
        computed: tokens whose KV cache this engine holds, or that came with the request.
        start: where the prompt chunk of the planned step begins.
        hit: what the prefix cache has for the request in the planned step.
        path: the segments of its text, ``None`` until the prefix cache is asked.
        held: the end of what it refers to in the prefix cache.
        shared: leading blocks that it has in these entries.
        segment: first segment of its text that is not shared yet.
        queued_fs: when it joins the queue if it came while a step was in flight, -1 if that
            is not known yet.
        token_fs: instant of its newest token, -1 for none here; stale while it decodes.
    """

    __slots__ = (
        "adapter", "carried", "computed", "finish_step", "generated", "held", "hit", "hold",
        "isl", "join_step", "known", "osl", "path", "phase", "preemptions", "priority", "queued_fs",
        "request_id",
        "segment", "serial", "shared", "start", "state", "text", "token_fs",
    )  # fmt: skip

    def __init__(self, submission: Submission) -> None:
        (
            self.request_id, self.isl, self.osl, self.generated, self.computed, self.text,
            self.priority, self.adapter, self.hold,
        ) = submission  # fmt: skip
        self.known = self.isl + self.generated
        self.carried = self.generated
        self.start = self.computed
        self.state = SequenceState.WAITING
        self.preemptions = 0
        self.serial = 0
        self.phase = 0
        self.join_step = 0
        self.finish_step = 0
        self.hit = NO_HIT
        self.path: Path | None = None
        self.held: Run | None = None
        self.shared = 0
        self.segment = 0
        self.token_fs = -1
        self.queued_fs = -1


class DecodeSet:
    """All decoding requests of an engine, without touching any of them in a step.

    Each step every member produces one token. With one step counter, a member
    finishes at a counter value known when it joins, needs a new KV block whenever the
    counter meets its phase modulo the block size, and the summed context grows by the
    number of members.

    Attributes:
        changes: how often a member joined or left.
        step: decode steps made so far.
        count: members.
        context_tokens: summed tokens attended to in the next step.
        remaining_tokens: summed tokens that are still to be produced.
    """

    __slots__ = (
        "_block",
        "_finish_heap",
        "_histogram",
        "_serial",
        "changes",
        "context_tokens",
        "count",
        "remaining_tokens",
        "step",
    )

    def __init__(self, block_size_tokens: int, *, changes: int = 0) -> None:
        self._block = block_size_tokens
        self.changes = changes
        self._histogram = [0] * block_size_tokens
        self._finish_heap: list[tuple[int, int, Sequence]] = []
        self._serial = 0
        self.step = 0
        self.count = 0
        self.context_tokens = 0
        self.remaining_tokens = 0

    def join(self, sequence: Sequence) -> None:
        """Add a request whose ``known`` and ``generated`` include its newest token."""
        self._serial += 1
        self.changes += 1
        sequence.serial = self._serial
        sequence.state = SequenceState.DECODE
        sequence.join_step = self.step
        sequence.finish_step = self.step + sequence.osl - sequence.generated
        sequence.phase = (self.step - (sequence.known - 1)) % self._block
        self._histogram[sequence.phase] += 1
        self.count += 1
        self.context_tokens += sequence.known
        self.remaining_tokens += sequence.osl - sequence.generated
        heappush(self._finish_heap, (sequence.finish_step, self._serial, sequence))

    def leave(self, sequence: Sequence) -> None:
        """Remove a member and bring its ``known``, ``generated``, ``computed`` up to date."""
        steps = self.step - sequence.join_step
        self.changes += 1
        sequence.known += steps
        sequence.generated += steps
        sequence.computed = sequence.known - 1
        sequence.state = SequenceState.GONE
        self._histogram[sequence.phase] -= 1
        self.count -= 1
        self.context_tokens -= sequence.known
        self.remaining_tokens -= sequence.osl - sequence.generated

    def generated(self, sequence: Sequence) -> int:
        """Tokens that a member has produced by now."""
        return sequence.generated + self.step - sequence.join_step

    def known(self, sequence: Sequence) -> int:
        """Tokens of a member whose text is known by now."""
        return sequence.known + self.step - sequence.join_step

    def needs_block(self, sequence: Sequence) -> bool:
        """Whether a member needs a new KV block in the next step."""
        return sequence.phase == self.step % self._block

    def blocks_for_next_step(self) -> int:
        """New KV blocks that the next step needs."""
        return self._histogram[self.step % self._block]

    def blocks_for(self, steps: int) -> int:
        """New KV blocks that the next ``steps`` steps need together."""
        block, histogram = self._block, self._histogram
        cycles, rest = divmod(steps, block)
        total = cycles * self.count
        if rest:
            first = self.step % block
            last = first + rest
            if last <= block:
                total += sum(histogram[first:last])
            else:
                total += sum(histogram[first:]) + sum(histogram[: last - block])
        return total

    def steps_within(self, blocks_free: int) -> int:
        """Most steps until a member finishes or blocks run out; needs a member."""
        steps = self.next_finish_step() - self.step
        if self.blocks_for(steps) <= blocks_free:
            return steps
        return self._steps_until_blocks_exceed(blocks_free) if blocks_free >= 0 else 0

    def _steps_until_blocks_exceed(self, blocks_free: int) -> int:
        cycles, rest = divmod(blocks_free, self.count)
        steps, at = cycles * self._block, self.step
        while True:
            rest -= self._histogram[at % self._block]
            if rest < 0:
                return steps
            steps, at = steps + 1, at + 1

    def advance(self, steps: int) -> None:
        """Let every member produce ``steps`` tokens."""
        self.step += steps
        produced = self.count * steps
        self.context_tokens += produced
        self.remaining_tokens -= produced

    def next_finish_step(self) -> int:
        """Counter value at which the next member finishes; needs a member."""
        heap = self._finish_heap
        while True:
            finish_step, serial, sequence = heap[0]
            if sequence.state is SequenceState.DECODE and sequence.serial == serial:
                return finish_step
            heappop(heap)

    def pop_finished(self) -> list[Sequence]:
        """Remove and return the members that have produced their last token."""
        finished: list[Sequence] = []
        heap = self._finish_heap
        while heap and heap[0][0] <= self.step:
            _, serial, sequence = heappop(heap)
            # A request that left and joined again has a newer entry.
            if sequence.state is SequenceState.DECODE and sequence.serial == serial:
                self.leave(sequence)
                finished.append(sequence)
        return finished
