"""Simulated time against the wall clock: ``wall = t0 + sim / speed``, never summed up."""

from __future__ import annotations

import math
from collections.abc import Callable

from mocker.clock import Alarm, Clock
from mocker.settings import check_speed

FOREVER_NS = 1 << 62


class Pacer:
    """Knows which simulated instant is due, and rings when the next one is.

    Args:
        clock: the wall clock.
        speed: simulated seconds in a second of wall time; infinity does not wait at all.
        ring: called when the instant given to :meth:`wait_for` is due.

    Attributes:
        t0_ns: wall instant of simulated zero.
    """

    def __init__(self, clock: Clock, speed: float, ring: Callable[[], None]) -> None:
        self.clock = clock
        self.speed = speed
        self.t0_ns = clock.now_ns()
        self._ring = ring
        self._alarm: Alarm | None = None
        self._set_ns: int | None = None

    @property
    def paced(self) -> bool:
        """Time passes by itself; without it, only events move the clock."""
        return math.isfinite(self.speed)

    def restart(self) -> None:
        """Simulated zero is now."""
        self.t0_ns = self.clock.now_ns()

    def due_ns(self) -> int:
        """Simulated time that should have passed by now."""
        if not self.paced:
            return FOREVER_NS
        return max(0, int((self.clock.now_ns() - self.t0_ns) * self.speed))

    def wall_ns(self, sim_ns: int) -> int:
        """Wall instant at which a simulated instant is due."""
        return self.t0_ns + -int(-sim_ns // self.speed) if self.paced else self.t0_ns

    def change_speed(self, speed: float, sim_ns: int) -> None:
        """Go on from a simulated instant at another speed.

        Raises:
            InputError: the speed is out of range.
        """
        check_speed(speed, path="speed")
        self.speed = speed
        now_ns = self.clock.now_ns()
        self.t0_ns = now_ns - int(sim_ns / speed) if self.paced else now_ns

    def wait_for(self, sim_ns: int | None) -> None:
        """Ring at a simulated instant; ``None`` does not ring."""
        if sim_ns is None:
            if self._set_ns is not None and self._alarm is not None:
                self._alarm.clear()
            self._set_ns = None
            return
        wall_ns = self.wall_ns(sim_ns)
        if self._alarm is None:
            self._alarm = self.clock.alarm(self._rang)
        if wall_ns != self._set_ns:
            self._set_ns = wall_ns
            self._alarm.set(wall_ns)

    def close(self) -> None:
        """Stop ringing for good."""
        if self._alarm is not None:
            self._alarm.close()
            self._alarm = None
        self._set_ns = None

    def _rang(self) -> None:
        self._set_ns = None
        self._ring()
