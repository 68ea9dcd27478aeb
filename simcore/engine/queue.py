"""The queue in front of one scheduler."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from simcore.engine.sequence import Sequence


class WaitingQueue:
    """Waiting requests in order of service."""

    __slots__ = ("_by_priority", "_items")

    def __init__(self, *, by_priority: bool) -> None:
        self._items: deque[Sequence] = deque()
        self._by_priority = by_priority

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self._items)

    @property
    def reorders(self) -> bool:
        """A newcomer may overtake."""
        return self._by_priority

    def append(self, sequence: Sequence) -> None:
        """Add behind everybody of the same priority."""
        self._items.append(sequence)
        if self._by_priority:
            self._items = deque(sorted(self._items, key=_priority))

    def appendleft(self, sequence: Sequence) -> None:
        """Add before everybody of the same priority."""
        self._items.appendleft(sequence)
        if self._by_priority:
            self._items = deque(sorted(self._items, key=_priority))

    def remove(self, sequence: Sequence) -> None:
        """Take a request out; usually the first."""
        if self._items[0] is sequence:
            self._items.popleft()
        else:
            self._items.remove(sequence)

    def clear(self) -> None:
        """Forget everybody."""
        self._items.clear()


def _priority(sequence: Sequence) -> int:
    return sequence.priority
