"""An event loop in virtual time: when nothing is left to do, the clock jumps to the next timer.

Timers are kept in whole nanoseconds. Those of one instant ring in the order of :class:`Turn`,
and the next turn begins only when everything that the one before has set off is done. This is
the order of the simulator's events (decision 0001) seen from outside, so that requests,
faults and ticks of one instant meet the cluster in the same order as in the simulator.

Connections exist inside the process only: to a server of this loop, through a pair of
connected sockets, where what is written can be read at the same instant.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
from collections.abc import Callable, Mapping
from contextvars import Context
from enum import IntEnum
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from contracts.errors import InvariantError
from contracts.units import NS_PER_S
from simcore.kernel import EventOrder

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike


class Turn(IntEnum):
    """Whose turn it is within one instant, first to last."""

    FAULT = 0
    FIRST_POLL = 1
    POLL = 2
    ARRIVAL = 3
    ADMISSION = 4
    ENGINE = 5
    TICK = 6
    OTHER = 7


# The first order of events that comes after the turn, where not all come before it. The
# simulator schedules faults and the first look for a trigger when a run begins, so they come
# before everything else of their order; a further look comes after what was scheduled earlier.
_ORDERS = {
    Turn.FAULT: EventOrder.CONTROL,
    Turn.FIRST_POLL: EventOrder.CONTROL,
    Turn.POLL: EventOrder.TRANSFER,
}


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose time is virtual and starts at zero.

    Attributes:
        now_ns: the present.
        turn: of the timers that rang last.

    Raises:
        InvariantError: from ``run_until_complete``, when nothing would ever happen again.
    """

    def __init__(self) -> None:
        super().__init__(_Jumping(self._jump))
        self.now_ns = 0
        self.turn = Turn.FAULT
        self._number = 0
        self._timers: list[tuple[int, Turn, int, asyncio.TimerHandle]] = []
        self._servers: dict[tuple[str, int], Callable[[], asyncio.Protocol]] = {}

    def time(self) -> float:
        """Seconds since the start."""
        return self.now_ns / NS_PER_S

    def ring_at(
        self, at_ns: int, turn: Turn, call: Callable[..., object], *args: object
    ) -> asyncio.TimerHandle:
        """Call back at an instant, in its turn; what has passed rings now."""
        return self._ring_at(at_ns, turn, call, args, None)

    def call_at(  # times in whole nanoseconds
        self,
        when: float,
        callback: Callable[..., object],
        *args: object,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As any loop does, in the last turn of the instant."""
        return self._ring_at(round(when * NS_PER_S), Turn.OTHER, callback, args, context)

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: object,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As any loop does, in the last turn of the instant."""
        at_ns = self.now_ns + round(delay * NS_PER_S)
        return self._ring_at(at_ns, Turn.OTHER, callback, args, context)

    def listen(self, host: str, port: int, make: Callable[[], asyncio.Protocol]) -> None:
        """Answer connections to this address with a protocol of a server of this loop."""
        self._servers[host, port] = make

    async def create_connection(  # the few arguments that clients use
        self,
        protocol_factory: Callable[[], Any],
        host: str | None = None,
        port: int | None = None,
        **_options: object,
    ) -> tuple[Any, Any]:
        """Connect to a server of this loop.

        Raises:
            ConnectionRefusedError: nobody listens there, inside this process.
        """
        make = self._servers.get((host or "", port or 0))
        if make is None:
            raise ConnectionRefusedError(f"nobody listens at {host}:{port} in virtual time")
        near, far = socket.socketpair()
        await self.connect_accepted_socket(make, far)
        near.setblocking(False)
        return await super().create_connection(protocol_factory, sock=near)

    def _ring_at(
        self,
        at_ns: int,
        turn: Turn,
        call: Callable[..., object],
        args: tuple[object, ...],
        context: Context | None,
    ) -> asyncio.TimerHandle:
        at_ns = max(at_ns, self.now_ns)
        handle = asyncio.TimerHandle(at_ns / NS_PER_S, call, args, self, context)
        self._number += 1
        heappush(self._timers, (at_ns, turn, self._number, handle))
        return handle

    def _jump(self) -> None:
        """Stand at the next timers and make them run."""
        timers = self._timers
        while timers and timers[0][3].cancelled():
            heappop(timers)
        if not timers:
            raise InvariantError("virtual time stands still: everybody waits, and for nothing")
        self.now_ns, self.turn = timers[0][:2]
        while timers and timers[0][:2] == (self.now_ns, self.turn):
            handle = heappop(timers)[3]
            if not handle.cancelled():
                self.call_soon(_run, handle)


def _run(handle: asyncio.TimerHandle) -> None:
    if not handle.cancelled():
        handle._run()


class _Jumping(selectors.BaseSelector):
    """Looks at the sockets without waiting; where it would have to wait, time jumps."""

    def __init__(self, jump: Callable[[], None]) -> None:
        self._real = selectors.DefaultSelector()
        self._jump = jump

    def register(
        self, fileobj: FileDescriptorLike, events: int, data: object = None
    ) -> selectors.SelectorKey:
        """Of the interface."""
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        """Of the interface."""
        return self._real.unregister(fileobj)

    def modify(
        self, fileobj: FileDescriptorLike, events: int, data: object = None
    ) -> selectors.SelectorKey:
        """Of the interface."""
        return self._real.modify(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What can be read and written now."""
        found = self._real.select(0)
        if not found and timeout != 0:
            self._jump()
        return found

    def close(self) -> None:
        """Of the interface."""
        self._real.close()

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        """Of the interface."""
        return self._real.get_map()


class VirtualClock:
    """The clock of a virtual loop for one participant.

    It is a clock of the mocker, of the load generator and of the planner.

    Args:
        loop: whose time it is.
        turn: when within an instant the participant acts.
    """

    def __init__(self, loop: VirtualLoop, turn: Turn = Turn.OTHER) -> None:
        self._loop = loop
        self._turn = turn

    def now_ns(self) -> int:
        """Nanoseconds since the start of the loop."""
        return self._loop.now_ns

    def now_s(self) -> float:
        """Seconds since the start of the loop."""
        return self._loop.time()

    def unix_s(self) -> int:
        """Seconds since the start: virtual time begins in 1970."""
        return self._loop.now_ns // NS_PER_S

    async def sleep_until_ns(self, at_ns: int) -> None:
        """Wait for an instant, and within it for one's turn."""
        loop = self._loop
        if (at_ns, self._turn) <= (loop.now_ns, loop.turn):
            return
        awake = self._loop.create_future()
        timer = self._loop.ring_at(at_ns, self._turn, _wake, awake)
        try:
            await awake
        finally:
            timer.cancel()

    async def sleep(self, seconds: float) -> None:
        """Wait; raises ``CancelledError`` when the task is cancelled."""
        await self.sleep_until_ns(self._loop.now_ns + round(seconds * NS_PER_S))

    def alarm(self, ring: Callable[[], None]) -> VirtualAlarm:
        """An alarm of the engines."""
        return VirtualAlarm(self._loop, ring)

    def when_heard(self, call: Callable[[], None]) -> None:
        """When all requests of this instant have been read."""
        self._loop.ring_at(self._loop.now_ns, Turn.ADMISSION, call)

    def order(self) -> EventOrder | None:
        """Faults of an instant come before what the cluster does on its own; see decision 0001."""
        return _ORDERS.get(self._loop.turn)


class PollClock(VirtualClock):
    """For one who looks again and again: the first look has a turn of its own.

    Args:
        loop: whose time it is.
    """

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__(loop, Turn.FIRST_POLL)

    async def sleep_until_ns(self, at_ns: int) -> None:
        """Wait for the next look."""
        await super().sleep_until_ns(at_ns)
        self._turn = Turn.POLL


class VirtualAlarm:
    """Rings in the turn of the engines."""

    def __init__(self, loop: VirtualLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None

    def set(self, at_ns: int) -> None:
        """Ring at an instant of the clock."""
        self.clear()
        self._timer = self._loop.ring_at(at_ns, Turn.ENGINE, self._ring)

    def clear(self) -> None:
        """Do not ring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """The same as :meth:`clear`."""
        self.clear()


def _wake(awake: asyncio.Future[None]) -> None:
    if not awake.done():
        awake.set_result(None)
