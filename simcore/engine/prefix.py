"""Prefix cache of one attention rank: a radix tree over runs of segments.

A segment is the part of a text between two of its ends; its id stands for the text from the
very beginning. Neighbouring segments that the same requests hold are one run, and runs are
compared and counted as wholes: cost grows with the places where texts part, not with segments
or blocks, and does not depend on the block size. Whoever holds a run holds what comes before
it, so a request refers to the last of its runs only.

Rules, which the token loop repeats block by block:

- A segment becomes visible when all of its blocks have been computed. Requests that have
  computed the same segment in parallel then share one copy.
- Blocks that no request refers to stay until they are needed. Those of the least recently
  released request go first, and of one request its last blocks first.
- Blocks taken by decoding are made up for by eviction only at the next look at the cache. Who
  looks while steps have ended that are not committed yet settles for them first, so the order of
  eviction is the same.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict

from contracts.workload import PromptText
from simcore.engine.sequence import NO_HIT, Hit, Path, Run, Sequence


class PrefixCache:
    """Runs of segments, and the order in which idle ones are given up.

    Attributes:
        idle_blocks: cached blocks that no request holds; the rank counts them as free.
    """

    def __init__(self, block_size_tokens: int) -> None:
        self._block = block_size_tokens
        self._root = Run((), (), 0, None)
        # A run comes before everything that it follows in a text.
        self._idle: OrderedDict[Run, None] = OrderedDict()
        self.idle_blocks = 0

    def path(self, text: PromptText) -> Path:
        """A text as this cache sees it: segments without a block of their own are left out."""
        ids, ends, block = text.ids, text.ends, self._block
        if block == 1:
            return Path(ids, ends, ends)
        lasts: list[int] = []
        before = 0
        for end in ends:
            last = end // block
            if last == before:
                return self._path_of_some(text)
            lasts.append(last)
            before = last
        return Path(ids, ends, tuple(lasts))

    def _path_of_some(self, text: PromptText) -> Path:
        lasts = [end // self._block for end in text.ends]
        kept = [at for at, last in enumerate(lasts) if last > (lasts[at - 1] if at else 0)]
        return Path(
            tuple([text.ids[at] for at in kept]),
            tuple([text.ends[at] for at in kept]),
            tuple([lasts[at] for at in kept]),
        )

    def cached_blocks(self, text: PromptText) -> int:
        """Leading blocks of a text that are here, as routers ask."""
        children, block = self._root.children, self._block
        if not children:
            return 0
        if block == 1:
            return self.match(self.path(text), 1 << 62).blocks
        have = at = 0
        run: Run | None = None
        for key, end in zip(text.ids, text.ends, strict=True):
            last = end // block
            if last == have:
                continue
            if run is None:
                run, at = None if children is None else children.get(key), 0
                if run is None:
                    break
            elif run.ids[at] != key:
                break
            have = min(last, run.start + run.blocks)
            if have < last:
                break
            at += 1
            if at == len(run.ids):
                children, run = run.children, None
        return have

    def settle(self, blocks_free: int) -> None:
        """Evict what has been overwritten since the last look."""
        excess = self.idle_blocks - max(0, blocks_free)
        while excess > 0:
            run = next(iter(self._idle))
            taken = min(run.blocks, excess)
            excess -= taken
            run.blocks -= taken
            self.idle_blocks -= taken
            if run.blocks == 0:
                del self._idle[run]
                if run.parent is not None and run.parent.children is not None:
                    del run.parent.children[run.ids[0]]
            elif len(run.ids) > 1:
                left = bisect_left(run.lasts, run.start + run.blocks) + 1
                if left < len(run.ids):
                    run.ids, run.lasts = run.ids[:left], run.lasts[:left]

    def match(self, path: Path, limit: int, pinned: dict[Run, int] | None = None) -> Hit:
        """Longest cached beginning of a text, at most ``limit`` blocks.

        Args:
            path: the prompt.
            limit: blocks that may be taken from the cache.
            pinned: leading blocks of idle runs that somebody else is about to hold.
        """
        ids, lasts, children = path.ids, path.lasts, self._root.children
        if limit <= 0 or not children or not ids:
            return NO_HIT
        top = min(len(ids), bisect_left(lasts, limit) + 1)
        runs: list[Run] = []
        at = have = idle = part = 0
        while at < top:
            run = None if children is None else children.get(ids[at])
            if run is None:
                break
            size = len(run.ids)
            same = 1 if size == 1 else _alike(run.ids, ids, at, top)
            at += same
            whole = same == size
            part = run.blocks if whole else lasts[at - 1] - have
            runs.append(run)
            have += part
            if run.refs == 0:
                idle += max(0, part - pinned.get(run, 0)) if pinned else part
            if not whole or have < lasts[at - 1]:
                break
            children = run.children
        if not runs:
            return NO_HIT
        used = min(have, limit)
        return Hit(runs, at, part, used, have - used, idle)

    def hold(self, sequence: Sequence, hit: Hit) -> int:
        """Let a request that is admitted refer to what was found for it.

        Others may have divided the runs since, so the way is gone again.

        Returns:
            Blocks that were idle until now.
        """
        run, taken, at = self._root, 0, 0
        ids = () if sequence.path is None else sequence.path.ids
        while at < hit.segments and run.children is not None:
            run = run.children[ids[at]]
            if at + len(run.ids) > hit.segments:
                run = self._divide(run, hit.segments - at)
            at += len(run.ids)
            taken += self._take(run)
        sequence.held = run
        sequence.shared = hit.blocks
        return taken

    def publish(self, sequence: Sequence, path: Path) -> int:
        """Share the segments that a request has computed; returns blocks that became free.

        The result is not negative: a copy is dropped where the cache had one.
        """
        upto = bisect_right(path.ends, min(sequence.computed, sequence.isl))
        if upto <= sequence.segment:
            return 0
        ids, lasts, shared, freed = path.ids, path.lasts, sequence.shared, 0
        at = max(sequence.segment, bisect_right(lasts, shared))
        sequence.segment = upto
        run = self._root if sequence.held is None else sequence.held
        if at < upto and shared > (lasts[at - 1] if at else 0):
            # Its last segment was there in part, or was used in part.
            freed += run.blocks - (shared - run.start)
            _complete(run, lasts[at])
            shared = lasts[at]
            at += 1
        while at < upto:
            children = run.children
            if children is None:
                children = run.children = {}
            following = children.get(ids[at])
            if following is None:
                following = Run(ids[at:upto], lasts[at:upto], shared, run)
                following.refs = 1
                children[ids[at]] = following
                at = upto
            else:
                size = len(following.ids)
                same = 1 if size == 1 else _alike(following.ids, ids, at, upto)
                if same < size:
                    following = self._divide(following, same)
                at += same
                freed += following.blocks - self._take(following)
                _complete(following, lasts[at - 1])
            run, shared = following, lasts[at - 1]
        sequence.held = run
        sequence.shared = shared
        return freed

    def drop(self, sequence: Sequence) -> int:
        """Let a request go; returns blocks of runs that nobody else holds."""
        run, freed, root, idle = sequence.held, 0, self._root, self._idle
        while run is not None and run is not root:
            run.refs = refs = run.refs - 1
            if refs == 0:
                idle[run] = None
                freed += run.blocks
            run = run.parent
        self.idle_blocks += freed
        sequence.held = None
        sequence.shared = sequence.segment = 0
        return freed

    def keep_output(self, prompt: Run | None, key: int, blocks: int) -> None:
        """Keep the output of a request that ends, as the first to be given up.

        Its blocks must be counted as free by the caller. Without a key (-1) nothing will
        ask for them; they only take their place in the order.
        """
        before = self._root if prompt is None else prompt
        children = before.children
        if blocks == 0 or (children is not None and key in children):
            return
        start = before.lasts[-1] if before.lasts else 0
        run = Run((key,), (start + blocks,), start, before if key >= 0 else None)
        if key >= 0:
            if children is None:
                children = before.children = {}
            children[key] = run
        self._idle[run] = None
        self.idle_blocks += blocks

    def clear(self) -> None:
        """Forget everything."""
        self._root = Run((), (), 0, None)
        self._idle.clear()
        self.idle_blocks = 0

    def held_blocks(self) -> int:
        """Blocks of runs that requests hold."""
        total, rest = 0, [self._root]
        while rest:
            run = rest.pop()
            if run.refs:
                total += run.blocks
            if run.children is not None:
                rest.extend(run.children.values())
        return total

    def _take(self, run: Run) -> int:
        """One more request holds a run; returns its blocks if it was idle."""
        run.refs += 1
        if run.refs > 1:
            return 0
        # The front of an idle run that was divided just now is not in the order.
        self._idle.pop(run, None)
        self.idle_blocks -= run.blocks
        return run.blocks

    @staticmethod
    def _divide(run: Run, segments: int) -> Run:
        """Make the first segments of a run one of their own, which somebody is about to hold.

        The rest stays what it is for all who hold it, and where it is in the order.
        """
        head = Run(run.ids[:segments], run.lasts[:segments], run.start, run.parent)
        head.refs = run.refs
        if run.parent is not None and run.parent.children is not None:
            run.parent.children[run.ids[0]] = head
        run.ids, run.lasts = run.ids[segments:], run.lasts[segments:]
        run.start += head.blocks
        run.blocks -= head.blocks
        run.parent = head
        head.children = {run.ids[0]: run}
        return head


def _complete(run: Run, last: int) -> None:
    """All blocks of a run are there; an output may be longer than what was kept of it."""
    if run.lasts[-1] != last:
        run.lasts = (*run.lasts[:-1], last)
    run.blocks = last - run.start


def _alike(run: tuple[int, ...], ids: tuple[int, ...], begin: int, end: int) -> int:
    """How many ids of a run follow in a text from ``begin`` on, before ``end``."""
    most = min(len(run), end - begin)
    if most == 1 or run[:most] == ids[begin : begin + most]:
        return most
    least = 1
    while most - least > 1:
        middle = (least + most) // 2
        if run[least:middle] == ids[begin + least : begin + middle]:
            least = middle
        else:
            most = middle
    return least
