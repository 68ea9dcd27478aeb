"""The event kernel: SimPy with integer-nanosecond time and one stated event order.

Events at the same nanosecond run in the order of :class:`EventOrder`, then in the
order in which they were scheduled. Nothing else decides who comes first. The same
kernel serves virtual time (:meth:`Kernel.run`) and a wall clock, where the driver
calls :meth:`Kernel.run_until` with the simulated time that has passed.

Engine wake-ups and arrivals are by far the most frequent events and need nothing of an
event object, so they wait in a heap of plain tuples beside SimPy's (decision 0004).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import IntEnum
from heapq import heappop, heappush

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
        self._calls: list[tuple[int, int, int, Callable[[int], None]]] = []
        self._number = 0
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

    def wake_at(self, at_ns: int, order: EventOrder, call: Callable[[int], None]) -> None:
        """Schedule a call that gets its time and cannot be cancelled.

        Only for :attr:`EventOrder.ENGINE` and :attr:`EventOrder.ARRIVAL`, which
        :meth:`call_at` must then not be used for; within one of them first come, first
        served.

        Raises:
            InvariantError: the time lies in the past.
        """
        if at_ns < self.now_ns:
            raise InvariantError(f"event at {at_ns} ns scheduled at {self.now_ns} ns")
        self._number = number = self._number + 1
        heappush(self._calls, (at_ns, order, number, call))

    def peek_ns(self) -> int | None:
        """Time of the next event, ``None`` when there is none."""
        at = self._env.peek()
        if self._calls:
            return int(min(at, self._calls[0][0]))
        return None if at == float("inf") else int(at)

    def run(self, limit_ns: int | None = None) -> None:
        """Run until no event is left, or none at or before the limit."""
        calls, step = self._calls, self._env.step
        # SimPy's heap of (time, rank, number, event): the only way to see the rank.
        events = self._env._queue
        last: float = math.inf if limit_ns is None else limit_ns
        while True:
            if calls and (not events or calls[0] < events[0]):  # type: ignore[operator]
                at_ns = calls[0][0]
                if at_ns > last:
                    return
                call = heappop(calls)[3]
                self.now_ns = at_ns
                call(at_ns)
            elif events and events[0][0] <= last:
                step()
            else:
                return

    def run_until(self, at_ns: int, before: EventOrder | None = None) -> None:
        """Run every event up to and including ``at_ns``, then stand at ``at_ns``.

        Args:
            at_ns: the instant.
            before: of the events at ``at_ns`` itself run those of a lower order only.
        """
        if before is None:
            self.run(at_ns)
        else:
            self.run(at_ns - 1)
            self._run_before(at_ns, before)
        self.now_ns = max(self.now_ns, at_ns)

    def _run_before(self, at_ns: int, order: EventOrder) -> None:
        """Run the events that come before an order at an instant."""
        calls, events = self._calls, self._env._queue
        while True:
            light = bool(calls) and (not events or calls[0] < events[0])  # type: ignore[operator]
            if not light and not events:
                return
            head = calls[0][:2] if light else events[0][:2]
            if head >= (at_ns, order):
                return
            if light:
                self.now_ns, _, _, call = heappop(calls)
                call(self.now_ns)
            else:
                self._env.step()
