"""The wall clock behind a port, so that tests can put another one in its place."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from contracts.units import NS_PER_S


class Clock(Protocol):
    """Reads time and waits for an instant."""

    def now_ns(self) -> int:
        """Nanoseconds on a clock that never runs backwards."""
        ...

    async def sleep_until_ns(self, at_ns: int) -> None:
        """Return at or shortly after an instant; at once when it has passed."""
        ...


class WallClock:
    """The machine's monotonic clock; waits are as exact as the event loop's timers."""

    def now_ns(self) -> int:
        """Nanoseconds since an arbitrary instant."""
        return time.monotonic_ns()

    async def sleep_until_ns(self, at_ns: int) -> None:
        """Wait for an instant without drift: each wait is measured anew."""
        while (left_ns := at_ns - self.now_ns()) > 0:
            await asyncio.sleep(left_ns / NS_PER_S)
