"""The wall clock behind a port, so that tests can put another one in its place."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Reads time."""

    def now_s(self) -> float:
        """Seconds on a clock that never runs backwards."""
        ...


class WallClock:
    """The machine's finest monotonic clock."""

    def now_s(self) -> float:
        """Seconds since an arbitrary instant."""
        return time.perf_counter()
