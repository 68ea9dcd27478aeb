"""Sends a workload on schedule, whatever the server does, or keeps so many in flight.

Latency counts from the scheduled instant, never from the moment at which the client
got around to sending, so a slow client cannot hide queueing (coordinated omission).
How late it was is recorded for each request and judged at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from contracts.errors import InputError
from contracts.records import RequestStatus
from contracts.units import NS_PER_MS, NS_PER_S
from contracts.workload import Workload
from profiler.load.clock import Clock
from profiler.load.connection import OUT_OF_RESOURCES, StreamConnection
from profiler.load.request import Endpoint, RequestFactory, parse_endpoint
from profiler.load.result import LoadProgress, LoadRecorder, LoadResult
from profiler.load.stream import SseStream

START_DELAY_NS = 20 * NS_PER_MS
PROGRESS_INTERVAL_S = 0.5
Progress = Callable[[LoadProgress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTarget:
    """Server and model to send to; ``base_url`` is like ``http://127.0.0.1:8000``."""

    base_url: str
    model: str


async def run_load(  # noqa: PLR0913  # one keyword for each setting of a run
    target: LoadTarget,
    workload: Workload,
    *,
    speed: float,
    clock: Clock,
    timeout_s: float,
    start_ns: int | None = None,
    progress: Progress | None = None,
) -> LoadResult:
    """Send every request at its time and return when all have ended.

    Args:
        target: an OpenAI-compatible server.
        workload: arrivals and lengths; request ``i`` is sent ``arrival_ns / speed``
            wall-clock nanoseconds after the start, with header ``x-request-id: load-<i>``.
        speed: time dilation, 2.0 runs twice as fast as real time.
        clock: the wall clock.
        timeout_s: undilated seconds from the scheduled send after which a request is
            given up as unfinished.
        start_ns: instant on ``clock`` from which arrivals count; shortly after the call
            when left out.
        progress: told about twice a second how far the run is, and at the end.

    Raises:
        InputError: the URL, ``speed`` or ``timeout_s`` makes no sense.
    """
    _check_positive(speed=speed, timeout_s=timeout_s)
    endpoint = parse_endpoint(target.base_url)
    factory = RequestFactory(endpoint, target.model, int(workload.isl.max()))
    recorder = LoadRecorder(workload, speed)
    recorder.start_ns = clock.now_ns() + START_DELAY_NS if start_ns is None else start_ns
    sender = _Sender(endpoint, factory, workload, recorder, clock)
    with _without_gc_pauses():
        try:
            await sender.run(timeout_ns=round(timeout_s * NS_PER_S / speed), report=progress)
        finally:
            await sender.close()
    if progress is not None:
        progress(recorder.progress())
    return recorder.result()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoop:
    """Requests of one length of which a fixed number is in flight.

    Attributes:
        requests: sent in all.
        concurrency: in flight; the next one is sent when one has ended.
        isl: words of each prompt.
        osl: tokens of each answer.
        salt: runs with different salts share no prompt, equal ones share all of them.
    """

    requests: int
    concurrency: int
    isl: int
    osl: int
    salt: str = ""


async def run_closed_loop(
    target: LoadTarget, loop: ClosedLoop, *, speed: float, clock: Clock, timeout_s: float
) -> LoadResult:
    """Open all connections, then keep ``concurrency`` requests in flight until all have ended.

    Latency counts from the instant at which a request could be sent. The result holds the
    instant of every token.

    Raises:
        InputError: the URL, a count, ``speed`` or ``timeout_s`` makes no sense.
    """
    _check_positive(
        speed=speed, timeout_s=timeout_s, requests=loop.requests, concurrency=loop.concurrency
    )
    endpoint = parse_endpoint(target.base_url)
    workload = Workload(
        arrival_ns=np.zeros(loop.requests, dtype=np.int64),
        isl=np.full(loop.requests, loop.isl, dtype=np.int64),
        osl=np.full(loop.requests, loop.osl, dtype=np.int64),
        source="closed loop",
    )
    factory = RequestFactory(endpoint, target.model, loop.isl, loop.salt)
    recorder = LoadRecorder(workload, speed)
    sender = _Sender(endpoint, factory, workload, recorder, clock, keep_times=True)
    with _without_gc_pauses():
        try:
            await sender.run_closed(
                timeout_ns=round(timeout_s * NS_PER_S / speed), concurrency=loop.concurrency
            )
        finally:
            await sender.close()
    return recorder.result()


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < float("inf"):
            raise InputError("is out of range", path=name, value=str(value), allowed="above 0")


class _Request:
    """One request in flight: ends exactly once, by answer, error or timeout."""

    __slots__ = ("_sender", "connection", "index", "timer")

    def __init__(self, sender: _Sender, index: int, timer: asyncio.TimerHandle) -> None:
        self._sender = sender
        self.index = index
        self.timer = timer
        self.connection: StreamConnection | None = None

    def on_end(self, stream: SseStream, status: RequestStatus, reason: str) -> None:
        self._sender.finish(self, stream, status, reason)


class _Sender:
    """Schedules requests over a pool of connections."""

    def __init__(
        self,
        endpoint: Endpoint,
        factory: RequestFactory,
        workload: Workload,
        recorder: LoadRecorder,
        clock: Clock,
        *,
        keep_times: bool = False,
    ) -> None:
        self._keep_times = keep_times
        self._waiting: Iterator[int] = iter(())
        self._endpoint = endpoint
        self._factory = factory
        self._workload = workload
        self._recorder = recorder
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._open = set[StreamConnection]()
        self._idle = list[StreamConnection]()
        self._connecting = set[asyncio.Task[None]]()
        self._requests = dict[int, _Request]()
        self._all_ended = asyncio.Event()
        self._timeout_ns = 0

    async def run(self, *, timeout_ns: int, report: Progress | None) -> None:
        """Send all requests, then wait for the last one to end."""
        self._timeout_ns = timeout_ns
        reporter = asyncio.create_task(self._report(report)) if report else None
        try:
            for index in range(len(self._workload)):
                due_ns = self._recorder.scheduled_ns(index)
                if self._clock.now_ns() < due_ns:
                    await self._clock.sleep_until_ns(due_ns)
                elif index % 16 == 15:
                    # Behind schedule: answers must still be read while catching up.
                    await asyncio.sleep(0)
                self._dispatch(index, due_ns)
            await self._all_ended.wait()
        finally:
            if reporter is not None:
                reporter.cancel()
                await asyncio.gather(reporter, return_exceptions=True)

    async def run_closed(self, *, timeout_ns: int, concurrency: int) -> None:
        """Keep so many requests in flight, then wait for the last one to end."""
        self._timeout_ns = timeout_ns
        total = len(self._workload)
        first = min(concurrency, total)
        await asyncio.gather(*(self._connect_early() for _ in range(first)))
        self._recorder.start_ns = self._clock.now_ns()
        self._waiting = iter(range(first, total))
        for index in range(first):
            self._dispatch_now(index)
        await self._all_ended.wait()

    async def _connect_early(self) -> None:
        """Open a connection; when that fails the request that needs it says so."""
        with contextlib.suppress(OSError):
            _, connection = await self._loop.create_connection(
                self._new_connection, self._endpoint.host, self._endpoint.port
            )
            self._idle.append(connection)

    def _dispatch_now(self, index: int) -> None:
        now_ns = self._clock.now_ns()
        self._recorder.reschedule(index, now_ns)
        self._dispatch(index, now_ns)

    async def close(self) -> None:
        """Close every socket and end every task."""
        for request in self._requests.values():
            request.timer.cancel()
        for task in self._connecting:
            task.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        for connection in tuple(self._open):
            connection.abort()
        # Transports report their end in a later turn of the loop.
        while self._open:
            await asyncio.sleep(0)

    def finish(
        self, request: _Request, stream: SseStream, status: RequestStatus, reason: str
    ) -> None:
        """Book the end of a request, once."""
        if self._requests.pop(request.index, None) is None:
            return
        request.timer.cancel()
        tokens = (stream.tokens, stream.first_ns, stream.last_ns)
        self._recorder.on_end(request.index, status, tokens, reason, stream.times_ns)
        following = next(self._waiting, None)
        if following is not None:
            self._dispatch_now(following)
        if self._recorder.ended == len(self._workload):
            self._all_ended.set()

    def _dispatch(self, index: int, due_ns: int) -> None:
        left_s = max(due_ns + self._timeout_ns - self._clock.now_ns(), 0) / NS_PER_S
        timer = self._loop.call_later(left_s, self._time_out, index)
        request = _Request(self, index, timer)
        self._requests[index] = request
        while self._idle:
            connection = self._idle.pop()
            if not connection.closing:
                self._send(request, connection)
                return
        task = self._loop.create_task(self._connect_and_send(request))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect_and_send(self, request: _Request) -> None:
        try:
            _, connection = await self._loop.create_connection(
                self._new_connection, self._endpoint.host, self._endpoint.port
            )
        except OSError as error:
            self._not_sent(request, error)
            return
        if request.index not in self._requests:  # timed out meanwhile
            self._idle.append(connection)
            return
        if connection.closing:
            self._not_sent(request, ConnectionResetError("closed right after connecting"))
            return
        self._send(request, connection)

    def _send(self, request: _Request, connection: StreamConnection) -> None:
        index = request.index
        request.connection = connection
        osl = int(self._workload.osl[index])
        head, body = self._factory.build(index, int(self._workload.isl[index]), osl)
        connection.start(request, head, body, osl)
        self._recorder.on_sent(index, self._clock.now_ns())

    def _not_sent(self, request: _Request, error: OSError) -> None:
        if request.index not in self._requests:
            return
        self._recorder.on_sent(request.index, self._clock.now_ns())
        if error.errno in OUT_OF_RESOURCES:
            self._recorder.client_exhausted = True
            reason = f"client out of resources: {error}"
        elif isinstance(error, ConnectionRefusedError):
            reason = f"connection refused: {error}"
        else:
            reason = f"cannot connect: {error}"
        self.finish(request, SseStream(), RequestStatus.FAILED, reason)

    def _time_out(self, index: int) -> None:
        request = self._requests[index]
        stream = SseStream()
        if request.connection is not None:
            stream = request.connection.stream
            request.connection.abort()
        else:
            self._recorder.on_sent(index, self._clock.now_ns())
        self.finish(request, stream, RequestStatus.UNFINISHED, "timeout")

    def _new_connection(self) -> StreamConnection:
        return StreamConnection(
            self._clock.now_ns, self._idle.append, self._open, keep_times=self._keep_times
        )

    async def _report(self, report: Progress) -> None:
        while True:
            report(self._recorder.progress())
            await asyncio.sleep(PROGRESS_INTERVAL_S)


@contextlib.contextmanager
def _without_gc_pauses() -> Iterator[None]:
    """Keep objects that exist already out of the collector's sight for a while."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
