"""A work queue of keys: each key once, one worker per key, later tries with back-off."""

from __future__ import annotations

import threading

from dgdr.operator.backoff import backoff_s
from dgdr.operator.clock import Clock

_BASE_S = 0.05
_CAP_S = 60.0


class WorkQueue:
    """Keys that wait for a worker, sorted by when they are due.

    A key that is added while a worker has it waits until the worker is done with it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: dict[str, float] = {}
        self._taken: set[str] = set()
        self._failures: dict[str, int] = {}
        self._changed = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        return len(self._due)

    def add(self, key: str, after_s: float = 0.0) -> None:
        """Ask for a key; the earlier of two wishes counts."""
        due_s = self._clock.steady_s() + after_s
        with self._changed:
            self._due[key] = min(due_s, self._due.get(key, due_s))
            self._changed.notify()

    def retry(self, key: str) -> None:
        """Ask for a key again after a failure, later each time."""
        self._failures[key] = failures = self._failures.get(key, 0) + 1
        self.add(key, backoff_s(key, failures, base_s=_BASE_S, cap_s=_CAP_S))

    def forget(self, key: str) -> None:
        """A success: the next failure starts from the shortest pause."""
        self._failures.pop(key, None)

    def next_due_s(self) -> float | None:
        """Steady time at which a key can be taken, None without any."""
        free = [due_s for key, due_s in self._due.items() if key not in self._taken]
        return min(free, default=None)

    def take_due(self) -> str | None:
        """A key that is due now, None when there is none; does not wait."""
        with self._changed:
            return self._take()

    def take(self) -> str | None:
        """Wait for a key; None once the queue is closed."""
        with self._changed:
            while not self._closed:
                key = self._take()
                if key is not None:
                    return key
                due_s = self.next_due_s()
                left_s = None if due_s is None else max(0.0, due_s - self._clock.steady_s())
                self._changed.wait(left_s)
        return None

    def done(self, key: str) -> None:
        """The worker has finished with a key."""
        with self._changed:
            self._taken.discard(key)
            self._changed.notify()

    def close(self) -> None:
        """Send all waiting workers home."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _take(self) -> str | None:
        now_s = self._clock.steady_s()
        ready = [
            (due_s, key)
            for key, due_s in self._due.items()
            if due_s <= now_s and key not in self._taken
        ]
        if not ready:
            return None
        key = min(ready)[1]
        del self._due[key]
        self._taken.add(key)
        return key
