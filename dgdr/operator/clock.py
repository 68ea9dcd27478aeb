"""Wall clock and steady clock behind one port, so that tests can set the time."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits."""

    def unix_s(self) -> float:
        """Seconds since 1970."""
        ...

    def steady_s(self) -> float:
        """Seconds on a clock that is never set back."""
        ...

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """Wait, or until the event is set; returns whether it is."""
        ...


class SystemClock:
    """The clocks of this machine."""

    def unix_s(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def steady_s(self) -> float:
        """Seconds on a clock that is never set back."""
        return time.monotonic()

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """Wait, or until the event is set; returns whether it is."""
        return stop.wait(seconds)
