"""The wall clock behind a port, so that tests can put another one in its place."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Reads time."""

    def now_ns(self) -> int:
        """Nanoseconds on a clock that never runs backwards."""
        ...

    def unix_s(self) -> int:
        """Seconds since 1970, for the ``created`` fields of answers."""
        ...


class WallClock:
    """The machine's monotonic clock, the same one that asyncio's timers use."""

    def now_ns(self) -> int:
        """Nanoseconds since an arbitrary instant."""
        return time.monotonic_ns()

    def unix_s(self) -> int:
        """Seconds since 1970."""
        return int(time.time())
