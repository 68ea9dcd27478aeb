"""The event kernel: SimPy's heap with integer-nanosecond time and one stated event order.

Events at the same nanosecond run in the order of :class:`EventOrder`, then in the
order in which they were scheduled. Nothing else decides who comes first. The same
kernel serves virtual time (:meth:`Kernel.run`) and a wall clock, where the driver
calls :meth:`Kernel.run_until` with the simulated time that has passed.
"""

from __future__ import annotations

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

    def __init__(
        self, env: simpy.Environment, delay_ns: int, order: int, call: Callable[[], None]
    ) -> None:
        super().__init__(env)
        self._call: Callable[[], None] | None = call
        self._ok = True
        self._value = None
        self.callbacks = [self._run]
        env.schedule(self, order, delay_ns)  # type: ignore[arg-type]  # SimPy allows any rank

    def cancel(self) -> None:
        """Make the call a no-op; harmless when it has already run."""
        self._call = None

    def _run(self, _event: simpy.Event) -> None:
        if self._call is not None:
            self._call()


class Kernel:
    """Virtual clock and event queue."""

    def __init__(self) -> None:
        self._env = simpy.Environment(initial_time=0)
        self._floor_ns = 0

    @property
    def now_ns(self) -> int:
        """Current simulated time."""
        return max(int(self._env.now), self._floor_ns)

    def call_at(self, at_ns: int, order: EventOrder, call: Callable[[], None]) -> ScheduledCall:
        """Schedule ``call`` at an absolute time.

        Raises:
            InvariantError: the time lies in the past.
        """
        if at_ns < self._floor_ns or at_ns < self._env.now:
            raise InvariantError(f"event at {at_ns} ns scheduled at {self.now_ns} ns")
        return ScheduledCall(self._env, at_ns - int(self._env.now), order, call)

    def peek_ns(self) -> int | None:
        """Time of the next event, ``None`` when there is none."""
        at = self._env.peek()
        return None if at == float("inf") else int(at)

    def step(self) -> None:
        """Run exactly one event."""
        self._env.step()

    def run(self) -> None:
        """Run until no event is left."""
        peek, step, empty = self._env.peek, self._env.step, float("inf")
        while peek() != empty:
            step()

    def run_until(self, at_ns: int) -> None:
        """Run every event up to and including ``at_ns``, then stand at ``at_ns``."""
        peek, step = self._env.peek, self._env.step
        while peek() <= at_ns:
            step()
        self._floor_ns = max(self._floor_ns, at_ns)
