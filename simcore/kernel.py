"""The event kernel: SimPy's heap with integer-nanosecond time and one stated event order.

Events at the same nanosecond run in the order of :class:`EventOrder`, then in the
order in which they were scheduled. Nothing else decides who comes first. The same
kernel serves virtual time (:meth:`Kernel.run`) and a wall clock, where the driver
calls :meth:`Kernel.run_until` with the simulated time that has passed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import IntEnum

import simpy

from contracts.errors import InvariantError


class EventOrder(IntEnum):
    """Rank of events that fall on the same nanosecond, lowest first."""

    ENGINE = 0
    CONTROL = 1
    TRANSFER = 2
    ARRIVAL = 3
    TICK = 4


class ScheduledCall(simpy.Event):
    """A call that the kernel will make at its time unless it is cancelled."""

    def __init__(self, kernel: Kernel, call: Callable[[], None]) -> None:
        # Event.__init__ would make a callback list only to have it replaced.
        self._kernel = kernel
        self._call: Callable[[], None] | None = call
        self._ok = True
        self._value = None
        self.callbacks = [self._run]

    def cancel(self) -> None:
        """Make the call a no-op; harmless when it has already run."""
        self._call = None

    def _run(self, _event: simpy.Event) -> None:
        if self._call is not None:
            self._kernel.advance_clock()
            self._call()


class Kernel:
    """Virtual clock and event queue.

    Attributes:
        now_ns: current simulated time.
    """

    def __init__(self) -> None:
        self._env = simpy.Environment(initial_time=0)
        self.now_ns = 0

    def advance_clock(self) -> None:
        """Stand at the time of the event that runs."""
        self.now_ns = self._env.now  # type: ignore[assignment]  # only integers go in

    def call_at(self, at_ns: int, order: EventOrder, call: Callable[[], None]) -> ScheduledCall:
        """Schedule ``call`` at an absolute time.

        Raises:
            InvariantError: the time lies in the past.
        """
        if at_ns < self.now_ns:
            raise InvariantError(f"event at {at_ns} ns scheduled at {self.now_ns} ns")
        scheduled = ScheduledCall(self, call)
        env = self._env
        env.schedule(scheduled, order, at_ns - env.now)  # type: ignore[arg-type]  # any rank
        return scheduled

    def peek_ns(self) -> int | None:
        """Time of the next event, ``None`` when there is none."""
        at = self._env.peek()
        return None if at == float("inf") else int(at)

    def run(self, limit_ns: int | None = None) -> None:
        """Run until no event is left, or none at or before the limit."""
        peek, step = self._env.peek, self._env.step
        last: float = math.nextafter(math.inf, 0) if limit_ns is None else limit_ns
        while peek() <= last:
            step()

    def run_until(self, at_ns: int) -> None:
        """Run every event up to and including ``at_ns``, then stand at ``at_ns``."""
        self.run(at_ns)
        self.now_ns = max(self.now_ns, at_ns)
