"""Prefix cache of one attention rank, in runs of blocks instead of single blocks.

An entry is the part of a text between two segment ends; its id stands for the text from
the very beginning, so a plain dictionary is a radix tree. Cost grows with segments, not
with blocks, and does not depend on the block size.

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

from collections import OrderedDict
from collections.abc import Container

from contracts.workload import PromptText
from simcore.engine.sequence import NO_HIT, Hit, Node, Sequence


class PrefixCache:
    """Segments by id, and the order in which idle ones are given up.

    Attributes:
        idle_blocks: cached blocks that no request holds; the rank counts them as free.
    """

    def __init__(self, block_size_tokens: int) -> None:
        self._block = block_size_tokens
        self._nodes: dict[int, Node] = {}
        self._idle: OrderedDict[int, Node] = OrderedDict()
        self._anonymous = 0
        self.idle_blocks = 0

    def settle(self, blocks_free: int) -> None:
        """Evict what has been overwritten since the last look."""
        excess = self.idle_blocks - max(0, blocks_free)
        while excess > 0:
            key, node = next(iter(self._idle.items()))
            taken = min(node.blocks, excess)
            excess -= taken
            node.blocks -= taken
            self.idle_blocks -= taken
            if node.blocks == 0:
                del self._idle[key]
                del self._nodes[key]

    def match(self, text: PromptText, limit: int, pinned: Container[int] = ()) -> Hit:
        """Longest cached beginning of a text, at most ``limit`` blocks.

        Args:
            text: the prompt.
            limit: blocks that may be taken from the cache.
            pinned: keys of idle entries that somebody else is about to hold.
        """
        nodes: list[Node] = []
        block, have, idle = self._block, 0, 0
        get = self._nodes.get
        for key, end in zip(text.ids, text.ends, strict=True):
            last = end // block
            if have >= limit:
                break
            if last == have:
                continue
            node = get(key)
            if node is None:
                break
            nodes.append(node)
            if node.refs == 0 and key not in pinned:
                idle += node.blocks
            have += node.blocks
            if have < last:
                break
        if not nodes:
            return NO_HIT
        return Hit(nodes, min(have, limit), idle)

    def hold(self, sequence: Sequence, hit: Hit) -> int:
        """Let a request that is admitted refer to what was found for it.

        Returns:
            Blocks that were idle until now.
        """
        taken = 0
        for node in hit.nodes:
            if node.refs == 0:
                taken += node.blocks
                del self._idle[node.key]
            node.refs += 1
        self.idle_blocks -= taken
        sequence.held = list(hit.nodes)
        sequence.shared = hit.blocks
        return taken

    def publish(self, sequence: Sequence, text: PromptText) -> int:
        """Share the segments that a request has computed; returns blocks that became free.

        The result is not negative: a copy is dropped where the cache had one.
        """
        done, block = min(sequence.computed, sequence.isl), self._block
        ids, ends, freed = text.ids, text.ends, 0
        while sequence.segment < len(ids) and ends[sequence.segment] <= done:
            index = sequence.segment
            sequence.segment += 1
            last = ends[index] // block
            if last <= sequence.shared:
                continue
            start = ends[index - 1] // block if index else 0
            freed += self._publish_segment(sequence, ids[index], start, last)
            sequence.shared = last
        return freed

    def _publish_segment(self, sequence: Sequence, key: int, start: int, last: int) -> int:
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = Node(key, last - start, 1)
            sequence.held = [*sequence.held, node]
            return 0
        freed = 0
        if not sequence.held or sequence.held[-1] is not node:
            if node.refs == 0:
                del self._idle[key]
                self.idle_blocks -= node.blocks
                freed -= node.blocks
            node.refs += 1
            sequence.held = [*sequence.held, node]
        freed += node.blocks - (sequence.shared - start)
        node.blocks = last - start
        return freed

    def drop(self, sequence: Sequence) -> int:
        """Let a request go; returns blocks of entries that nobody else holds."""
        freed = 0
        for node in reversed(sequence.held):
            node.refs -= 1
            if node.refs == 0:
                self._idle[node.key] = node
                self.idle_blocks += node.blocks
                freed += node.blocks
        sequence.held = ()
        sequence.shared = sequence.segment = 0
        return freed

    def keep_output(self, key: int, blocks: int) -> None:
        """Keep the output of a request that ends, as the first to be given up.

        Its blocks must be counted as free by the caller. Without a key (-1) nothing will
        ask for them; they only take their place in the order.
        """
        if blocks == 0 or key in self._nodes:
            return
        if key < 0:
            self._anonymous += 1
            key = -1 - self._anonymous
        node = self._nodes[key] = Node(key, blocks, 0)
        self._idle[key] = node
        self.idle_blocks += blocks

    def clear(self) -> None:
        """Forget everything."""
        self._nodes.clear()
        self._idle.clear()
        self.idle_blocks = 0

    def held_blocks(self) -> int:
        """Blocks of entries that requests hold."""
        return sum(node.blocks for node in self._nodes.values() if node.refs)
