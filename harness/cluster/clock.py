"""Time behind a port: the wall clock, and one that tests move by hand."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Reads time."""

    def unix_s(self) -> float:
        """Seconds since 1970; stamps objects and drives every timer."""
        ...


class WallClock:
    """The machine's clock."""

    def unix_s(self) -> float:
        """Seconds since 1970."""
        return time.time()


class ManualClock:
    """Stands still until it is moved."""

    def __init__(self, start_s: float = 1_767_225_600.0) -> None:
        self._now_s = start_s

    def unix_s(self) -> float:
        """Seconds since 1970."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Move forward."""
        self._now_s += seconds
