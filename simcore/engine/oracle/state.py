"""State of one rank in the token loop: requests, and a cache of single blocks."""

from __future__ import annotations

from contracts.engine import EngineLimits, QueuePolicy, Scheduling, SglangScheduling
from contracts.workload import PromptText
from simcore.engine.events import Submission
from simcore.engine.gaps import GapHistogram
from simcore.engine.schedulers.sglang import INIT_RATIO

BlockKey = tuple[int, int]


class Item:
    """One request with its own book-keeping."""

    def __init__(self, submission: Submission) -> None:
        self.submission = submission
        self.generated = submission.generated
        self.computed = submission.computed
        self.preemptions = 0
        self.state = "waiting"
        self.segments: list[int] = []
        self.shared = 0
        self.token_fs = -1
        self.arrived_fs = 0

    @property
    def known(self) -> int:
        """Tokens whose text is known."""
        return self.submission.isl + self.generated

    @property
    def transferred(self) -> bool:
        """It waits, and its KV cache came with it."""
        return self.state == "waiting" and self.computed > 0


class RankState:
    """Who runs and waits, and which single blocks are cached."""

    def __init__(self, limits: EngineLimits, scheduling: Scheduling) -> None:
        self.limits = limits
        self.scheduling = scheduling
        self.running: list[Item] = []
        self.waiting: list[Item] = []
        self.incoming: list[Item] = []
        self.kept: dict[int, Item] = {}
        self.cache: dict[int, set[int]] = {}
        self.idle: list[BlockKey] = []
        self._unnamed = 0
        self.gaps = GapHistogram()
        self.full = False
        self.share = 0
        self.start_afresh()

    @property
    def busy(self) -> bool:
        """Somebody runs or waits."""
        return bool(self.running or self.waiting or self.incoming)

    def receive(self, before_fs: int | None) -> None:
        """Queue the requests that came before an instant, or all of them."""
        late = [i for i in self.incoming if before_fs is not None and i.arrived_fs >= before_fs]
        for item in [i for i in self.incoming if i not in late]:
            self.enqueue(item)
        self.incoming = late

    def start_afresh(self) -> None:
        """Forget what the scheduler has learnt."""
        self.full = False
        if isinstance(self.scheduling, SglangScheduling):
            self.share = round(min(INIT_RATIO * self.scheduling.conservativeness, 1.0) * 2**30)

    # -- queue ---------------------------------------------------------------------

    def enqueue(self, item: Item, *, front: bool = False) -> None:
        """Put a request into the queue, by urgency if the policy says so."""
        if front:
            self.waiting.insert(0, item)
        else:
            self.waiting.append(item)
        if getattr(self.scheduling, "queue", None) is QueuePolicy.PRIORITY:
            self.waiting.sort(key=lambda waiting: waiting.submission.priority)

    # -- blocks --------------------------------------------------------------------

    def blocks(self, tokens: int) -> int:
        """Blocks that hold so many tokens."""
        whole, rest = divmod(tokens, self.limits.block_size_tokens)
        return whole + (rest > 0)

    def used(self, without: list[Item] | None = None) -> int:
        """Blocks that requests hold, counted one by one."""
        gone = without or []
        holders = [item for item in (*self.running, *self.kept.values()) if item not in gone]
        own = sum(self.blocks(item.computed) - item.shared for item in holders)
        held = {segment for item in holders for segment in item.segments}
        return own + sum(len(self.cache[segment]) for segment in held)

    def held_by_nobody(self, segment: int) -> bool:
        """Whether no request refers to a segment."""
        holders = (*self.running, *self.kept.values())
        return all(segment not in item.segments for item in holders)

    def cached(self, text: PromptText, limit: int) -> list[BlockKey]:
        """Leading blocks of a text that are cached, one by one."""
        found: list[BlockKey] = []
        size = self.limits.block_size_tokens
        if not self.limits.prefix_caching:
            return found
        for index in range(text.ends[-1] // size):
            if len(found) == limit:
                break
            last_token = (index + 1) * size
            segment = next(
                key for key, end in zip(text.ids, text.ends, strict=True) if end >= last_token
            )
            if index not in self.cache.get(segment, set()):
                break
            found.append((segment, index))
        return found

    def evict(self) -> None:
        """Give up idle blocks for those that were taken."""
        while self.used() + len(self.idle) > self.limits.kv_blocks_total and self.idle:
            segment, index = self.idle.pop(0)
            self.cache[segment].remove(index)
            if not self.cache[segment]:
                del self.cache[segment]

    def hold(self, item: Item, found: list[BlockKey]) -> None:
        """Refer to the segments of cached blocks."""
        for segment, _ in found:
            if segment not in item.segments:
                item.segments.append(segment)
                self.idle = [key for key in self.idle if key[0] != segment]
        item.shared = len(found)

    def publish(self, item: Item) -> None:
        """Share the segments whose last block this request has computed."""
        text = item.submission.text
        if text is None or not self.limits.prefix_caching:
            return
        size = self.limits.block_size_tokens
        start = 0
        for segment, end in zip(text.ids, text.ends, strict=True):
            last = end // size
            if end > min(item.computed, item.submission.isl):
                break
            if last > item.shared:
                self.cache[segment] = set(range(start, last))
                self.idle = [key for key in self.idle if key[0] != segment]
                if segment not in item.segments:
                    item.segments.append(segment)
                item.shared = last
            start = last

    def drop_segments(self, item: Item) -> None:
        """Let go of what a request refers to, its last segment first."""
        held, item.segments, item.shared = item.segments, [], 0
        for segment in reversed(held):
            if self.held_by_nobody(segment):
                self.idle += [(segment, i) for i in sorted(self.cache[segment], reverse=True)]

    # -- leaving -------------------------------------------------------------------

    def free(self, item: Item, *, ended: bool) -> None:
        """Give everything back; the caller has taken the request out of all lists."""
        text, size = item.submission.text, self.limits.block_size_tokens
        if ended and text is not None and text.ends[-1] == item.submission.isl:
            self._keep_output(text.output_id, range(text.ends[-1] // size, item.computed // size))
        self.drop_segments(item)

    def _keep_output(self, key: int, indices: range) -> None:
        if not self.limits.prefix_caching or len(indices) == 0 or key in self.cache:
            return
        if key < 0:
            self._unnamed += 1
            key = -1 - self._unnamed
        self.cache[key] = set(indices)
        self.idle += [(key, index) for index in reversed(indices)]

    def release(self, request_id: int) -> None:
        """Free what was kept for a request."""
        item = self.kept.pop(request_id, None)
        if item is not None:
            self.free(item, ended=True)
            self.full = False

    def drop(self, request_ids: set[int]) -> None:
        """Cancel requests wherever they are."""
        for request_id in sorted(request_ids):
            self.release(request_id)
            for item in [i for i in self.running if i.submission.request_id == request_id]:
                self.running.remove(item)
                self.free(item, ended=False)
                self.full = False
        self.waiting = [i for i in self.waiting if i.submission.request_id not in request_ids]
        self.incoming = [i for i in self.incoming if i.submission.request_id not in request_ids]
