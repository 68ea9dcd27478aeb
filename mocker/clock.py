"""The wall clock and its alarms behind a port, so that tests can put another one in its place."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Callable
from typing import Protocol

from contracts.units import NS_PER_S
from simcore.kernel import EventOrder


class Alarm(Protocol):
    """Calls back once, at the instant that it was last set to."""

    def set(self, at_ns: int) -> None:
        """Ring at an instant of the clock, at once if it has passed; replaces the last setting."""
        ...

    def clear(self) -> None:
        """Do not ring."""
        ...

    def close(self) -> None:
        """Give up what the alarm holds."""
        ...


class Clock(Protocol):
    """Reads time."""

    def now_ns(self) -> int:
        """Nanoseconds on a clock that never runs backwards."""
        ...

    def unix_s(self) -> int:
        """Seconds since 1970, for the ``created`` fields of answers."""
        ...

    def alarm(self, ring: Callable[[], None]) -> Alarm:
        """An alarm of the running event loop."""
        ...

    def when_heard(self, call: Callable[[], None]) -> None:
        """Call back when the event loop has heard everybody who has something to say now."""
        ...

    def order(self) -> EventOrder | None:
        """Where in the order of this instant's events we stand: lower ones have happened.

        ``None`` is after all of them, as on any clock that does not stand still.
        """
        ...


class WallClock:
    """The machine's monotonic clock, the same one that asyncio's timers use."""

    def now_ns(self) -> int:
        """Nanoseconds since an arbitrary instant."""
        return time.monotonic_ns()

    def unix_s(self) -> int:
        """Seconds since 1970."""
        return int(time.time())

    def alarm(self, ring: Callable[[], None]) -> Alarm:
        """A kernel timer where there is one: asyncio's own are a millisecond late."""
        loop = asyncio.get_running_loop()
        if sys.platform == "linux":
            with contextlib.suppress(OSError, NotImplementedError):
                return KernelAlarm(loop, ring)
        return LoopAlarm(loop, self, ring)

    def when_heard(self, call: Callable[[], None]) -> None:
        """In the next turn of the event loop."""
        asyncio.get_running_loop().call_soon(call)

    def order(self) -> EventOrder | None:
        """After everything that is due."""
        return None


class LoopAlarm:
    """An alarm made of the event loop's own timers."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Clock, ring: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._ring = ring
        self._handle: asyncio.TimerHandle | None = None

    def set(self, at_ns: int) -> None:
        """Ring at an instant of the clock."""
        self.clear()
        delay_s = max(0, at_ns - self._clock.now_ns()) / NS_PER_S
        self._handle = self._loop.call_later(delay_s, self._fire)

    def clear(self) -> None:
        """Do not ring."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def close(self) -> None:
        """The same as :meth:`clear`."""
        self.clear()

    def _fire(self) -> None:
        self._handle = None
        self._ring()


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", _TimeSpec), ("value", _TimeSpec))


class KernelAlarm:
    """Linux ``timerfd`` on the monotonic clock; errors of a tenth of a millisecond.

    Python has it from version 3.13 on; before, it is called through the C library.

    Raises:
        OSError: the system has no such timer.
    """

    _ABSOLUTE = 1  # TFD_TIMER_ABSTIME
    _FLAGS = os.O_NONBLOCK | os.O_CLOEXEC

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._system = ctypes.CDLL(None, use_errno=True)
        self._spec = _TimerSpec()
        self._place = ctypes.byref(self._spec)
        self._soon: asyncio.Handle | None = None
        self._fd = int(self._system.timerfd_create(time.CLOCK_MONOTONIC, self._FLAGS))
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        loop.add_reader(self._fd, self._fire)

    def set(self, at_ns: int) -> None:
        """Ring at an instant of the monotonic clock.

        What is due already goes straight to the event loop: a system call costs more.
        """
        if at_ns <= time.monotonic_ns():
            if self._soon is None:
                self._soon = self._loop.call_soon(self._ring_now)
            return
        self._forget_soon()
        value = self._spec.value
        # All zeros would switch the timer off.
        value.seconds, value.nanoseconds = divmod(max(1, at_ns), NS_PER_S)
        self._system.timerfd_settime(self._fd, self._ABSOLUTE, self._place, None)

    def clear(self) -> None:
        """Do not ring."""
        self._forget_soon()
        value = self._spec.value
        value.seconds = value.nanoseconds = 0
        self._system.timerfd_settime(self._fd, self._ABSOLUTE, self._place, None)

    def close(self) -> None:
        """Close the timer."""
        self._forget_soon()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _forget_soon(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None

    def _ring_now(self) -> None:
        self._soon = None
        self._ring()

    def _fire(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return  # it was set again in the meantime
        self._ring()
