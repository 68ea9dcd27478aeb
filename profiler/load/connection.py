"""One keep-alive connection: writes a request, reads the streamed answer, is free again."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from typing import Protocol

import httptools

from contracts.records import RequestStatus
from profiler.load.stream import SseStream

ERROR_BODY_BYTES_MAX = 4096
OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL})


class Exchange(Protocol):
    """The owner of the request that a connection is working on."""

    def on_end(self, stream: SseStream, status: RequestStatus, reason: str) -> None:
        """The answer is complete or will never be."""
        ...


class StreamConnection(asyncio.Protocol):
    """Client side of HTTP/1.1 with at most one request in flight.

    Attributes:
        stream: what was read of the current or latest answer.

    Args:
        now_ns: reads the clock, once for each network read.
        on_idle: called when the connection can take another request.
        alive: holds the connection from the opening of its socket to the end of it.
        keep_times: note the instant of every content chunk.
    """

    def __init__(
        self,
        now_ns: Callable[[], int],
        on_idle: Callable[[StreamConnection], None],
        alive: set[StreamConnection],
        *,
        keep_times: bool = False,
    ) -> None:
        self._keep_times = keep_times
        self._now_ns = now_ns
        self._on_idle = on_idle
        self._alive = alive
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._reset_response()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; called by the event loop."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._alive.add(self)

    def start(self, exchange: Exchange, head: bytes, body: bytes, osl: int) -> None:
        """Send a request whose answer shall have ``osl`` content chunks."""
        assert self._transport is not None
        assert self._exchange is None
        self._reset_response()
        self._exchange = exchange
        self._osl = osl
        self._transport.writelines((head, body))

    @property
    def closing(self) -> bool:
        """Whether it cannot take a request any more."""
        return self._transport is None or self._transport.is_closing()

    def abort(self) -> None:
        """Close at once; the request in flight is dropped without a report."""
        self._exchange = None
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if self._exchange is None:
            self.abort()
            return
        self._at_ns = self._now_ns()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(RequestStatus.FAILED, f"bad response: {error}", reusable=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        answered = self._status == 200 and (self.stream.done or self.stream.error is not None)
        detail = f": {exc}" if exc else ""
        lost = RequestStatus.FAILED, f"disconnected{detail}"
        status, reason = self._judge() if answered else lost
        self._end(status, reason, reusable=False)
        self._transport = None
        self._alive.discard(self)

    # Callbacks of httptools.HttpResponseParser.

    def on_headers_complete(self) -> None:
        """The status is known."""
        self._status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """A part of the body; one call for each part of a chunk that was read."""
        if self._status == 200:
            self.stream.feed(body, self._at_ns)
        elif len(self._error_body) < ERROR_BODY_BYTES_MAX:
            self._error_body += body

    def on_message_complete(self) -> None:
        """The answer ended; judge it."""
        if self._status < 200:
            return
        status, reason = self._judge()
        self._end(status, reason, reusable=self._parser.should_keep_alive())

    def _judge(self) -> tuple[RequestStatus, str]:
        if self._status != 200:
            refused = 400 <= self._status < 500
            status = RequestStatus.REJECTED if refused else RequestStatus.FAILED
            detail = self._error_body[:200].decode(errors="replace")
            return status, f"http {self._status}: {detail}"
        stream = self.stream
        if stream.error is not None:
            return RequestStatus.FAILED, f"error in stream: {stream.error}"
        if not stream.done:
            return RequestStatus.FAILED, "stream without [DONE]"
        if stream.tokens != self._osl:
            few = "too few tokens" if stream.tokens < self._osl else "too many tokens"
            return RequestStatus.FAILED, f"{few}: {stream.tokens} instead of {self._osl}"
        return RequestStatus.COMPLETED, ""

    def _end(self, status: RequestStatus, reason: str, *, reusable: bool) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        if reusable and not self.closing:
            self._on_idle(self)
        elif self._transport is not None:
            self._transport.abort()
        exchange.on_end(self.stream, status, reason)

    def _reset_response(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.stream = SseStream(keep_times=self._keep_times)
        self._status = 0
        self._at_ns = 0
        self._osl = 0
        self._error_body = b""
