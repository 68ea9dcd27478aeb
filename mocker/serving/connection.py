"""One HTTP/1.1 connection of our own server.

Made for many streams with small parts: a part is one system call, requests are parsed by
httptools, and nothing wakes a task for a token. Requests of one connection are answered one
after the other; their bodies are read before the application is called.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

import httptools

from mocker.serving.asgi import BODY_BYTES_MAX, BODY_PORT, Asgi

HEAD_BYTES_MAX = 64 * 1024
PIPELINED_MAX = 16
# The kernel's buffer comes on top; above it tokens are counted instead of written.
HIGH_WATER_BYTES = 64 * 1024
_LOG = logging.getLogger(__name__)
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: %b\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_GONE: dict[str, Any] = {"type": "http.disconnect"}


# Makes the protocol that takes over a connection, and is told when it has the transport.
Upgrade = Callable[[], tuple[asyncio.Protocol, Callable[[], None]]]


class Owner(Protocol):
    """The server that a connection belongs to."""

    app: Asgi
    connections: set[HttpConnection]
    upgrades: Mapping[bytes, Upgrade]

    def now_s(self) -> float:
        """Seconds on the loop's clock."""
        ...


def problem(status: int, message: str) -> bytes:
    """A whole answer to a request that never reaches the application."""
    body = (
        b'{"error":{"message":"%b","type":"invalid_request_error","param":null,"code":null}}'
        % message.encode()
    )
    head = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
    return head % (status, _REASONS[status], len(body)) + b"connection: close\r\n\r\n" + body


class HttpConnection(asyncio.Protocol):
    """Parses requests and runs the application for one after the other.

    Attributes:
        since_s: when it began to wait for what it waits for now.
        exchange: the request that is being answered.
    """

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self.owner = owner
        self.loop = loop
        self.since_s = owner.now_s()
        self.exchange: Exchange | None = None
        self.transport: asyncio.Transport | None = None
        self.fd = -1
        self.slow = False
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[dict[str, Any], bytes, bool]] = deque()
        self._reading = False
        self._refused = False
        self._closing = False
        self._begin()

    # -- the loop calls these ------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self.transport = transport
        self.fd = transport.get_extra_info("socket").fileno()
        self.owner.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # of asyncio
        """The client has gone."""
        self.owner.connections.discard(self)
        self.transport, self.fd = None, -1
        self._waiting.clear()
        if self.exchange is not None:
            self.exchange.lose()

    def pause_writing(self) -> None:
        """The reader is slow."""
        self.slow = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self.slow = False
        if self.exchange is not None:
            self.exchange.resume()

    def data_received(self, data: bytes) -> None:
        """Parse; answers begin when a request is complete."""
        if self._refused:
            return
        if not self._reading and self.exchange is None:
            self.since_s = self.owner.now_s()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse(400, f"not HTTP: {type(error).__name__}")

    # -- httptools calls these -------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self._begin()
        self._reading = True

    def on_url(self, url: bytes) -> None:
        """The target, possibly in parts."""
        self._url += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        name = name.lower()
        self._headers.append((name, value))
        self._count(len(name) + len(value))
        if name == b"expect" and value.lower() == b"100-continue":
            self._expects = True
        elif name == b"content-length" and value.isdigit() and int(value) > BODY_BYTES_MAX:
            self._refuse(413, f"the body is larger than {BODY_BYTES_MAX} bytes")

    def on_headers_complete(self) -> None:
        """The client may wait for a word before it sends the body."""
        if self._expects and self.transport is not None and not self._refused:
            self.transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._size += len(body)
        if self._size > BODY_BYTES_MAX:
            self._refuse(413, f"the body is larger than {BODY_BYTES_MAX} bytes")
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """A request is complete."""
        self._reading = False
        parser = self._parser
        if self._refused or parser.should_upgrade():
            return
        path, _, query = self._url.partition(b"?")
        raw = path
        if b"%" in path:
            path = unquote_to_bytes(path)
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": parser.get_http_version(),
            "method": parser.get_method().decode(),
            "scheme": "http",
            "path": path.decode("utf-8", "replace"),
            "raw_path": raw,
            "query_string": query,
            "root_path": "",
            "headers": self._headers,
            "client": None,
            "server": None,
        }
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._waiting.append((scope, body, parser.should_keep_alive()))
        if self.exchange is None:
            self.next()
        elif len(self._waiting) > PIPELINED_MAX:
            self._refuse(429, "too many requests at once on one connection")

    # -- requests ----------------------------------------------------------------------------

    @property
    def overdue_since_s(self) -> float | None:
        """Since when the client has owed the rest of a request; ``None`` when it owes none."""
        return self.since_s if (self._reading or self._refused) and self.exchange is None else None

    @property
    def idle(self) -> bool:
        """It neither reads nor answers a request."""
        return not self._reading and self.exchange is None

    def next(self) -> None:
        """Answer the next request, if there is one."""
        self.exchange = None
        self.since_s = self.owner.now_s()
        if self.transport is None:
            return
        if self._closing:
            self.transport.close()
        elif self._waiting:
            scope, body, keep_alive = self._waiting.popleft()
            exchange = self.exchange = Exchange(self, scope, body, keep_alive=keep_alive)
            exchange.task = self.loop.create_task(exchange.run())

    def _upgrade(self, rest: bytes) -> None:
        """Hand the connection over to another protocol."""
        wanted = next((value for name, value in self._headers if name == b"upgrade"), b"")
        make, transport = self.owner.upgrades.get(wanted), self.transport
        if make is None or transport is None or self.exchange is not None:
            self._refuse(400, "no such upgrade here")
            return
        protocol, begun = make()
        self.owner.connections.discard(self)
        transport.write(_SWITCH % wanted)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        begun()
        if rest:
            protocol.data_received(rest)

    def finish(self) -> None:
        """Close as soon as nothing is being answered."""
        self._closing = True
        if self.idle and self.transport is not None:
            self.transport.close()

    def write(self, data: bytes) -> None:
        """One system call when nothing is buffered, the transport does the rest."""
        transport = self.transport
        if transport is None:
            return
        if transport.get_write_buffer_size():
            transport.write(data)
            return
        try:
            sent = os.write(self.fd, data)
        except BlockingIOError:
            sent = 0
        except OSError:
            transport.abort()
            return
        if sent < len(data):
            transport.write(data[sent:])

    def _begin(self) -> None:
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._size = self._head_size = 0
        self._expects = False

    def _count(self, size: int) -> None:
        self._head_size += size
        if self._head_size > HEAD_BYTES_MAX:
            self._refuse(431, "the head is too large")

    def _refuse(self, status: int, message: str) -> None:
        """Answer at once; what still comes is read and dropped, so that the client reads it."""
        if self._refused or self.transport is None:
            return
        self._refused = True
        if self.exchange is not None:
            self.transport.abort()
            return
        self.since_s = self.owner.now_s()
        self.transport.write(problem(status, message))
        self.transport.write_eof()


class Exchange:
    """One request and its answer; the port of its body."""

    __slots__ = (
        "_body", "_chunked", "_connection", "_gone", "_head", "_head_only", "_keep_alive",
        "_lost", "_resumed", "_scope", "_started", "_told", "ended", "task",
    )  # fmt: skip

    def __init__(
        self, connection: HttpConnection, scope: dict[str, Any], body: bytes, *, keep_alive: bool
    ) -> None:
        scope["extensions"] = {BODY_PORT: self}
        self._connection = connection
        self._scope = scope
        self._body: bytes | None = body
        self._keep_alive = keep_alive
        self._head = b""
        self._head_only = scope["method"] == "HEAD"
        self._chunked = False
        self._started = False
        self._gone: asyncio.Future[None] | None = None
        self._told: Callable[[], None] | None = None
        self._resumed: Callable[[], None] | None = None
        self._lost = False
        self.ended = False
        self.task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Call the application and see that the client gets an answer."""
        connection = self._connection
        try:
            await connection.owner.app(self._scope, self._receive, self._send)
        except Exception:  # noqa: BLE001  # the application's bug must not end the server
            _LOG.exception("the application failed")
            self._fail()
        if not self.ended and not self._lost:
            self._fail()
        connection.next()

    def lose(self) -> None:
        """The client has gone."""
        self._lost = True
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
        if self._told is not None:
            self._told()

    def resume(self) -> None:
        """The client reads again."""
        if self._resumed is not None:
            self._resumed()

    # -- the port of the body -------------------------------------------------------------

    @property
    def writable(self) -> bool:
        """False while much is buffered."""
        return not self._connection.slow

    def write(self, part: bytes) -> None:
        """Send a part of the body now."""
        if self._chunked:
            part = b"%x\r\n%b\r\n" % (len(part), part)
        self._connection.write(part)

    def attach(self, resumed: Callable[[], None], lost: Callable[[], None]) -> None:
        """Whom to tell what becomes of the client."""
        self._resumed, self._told = resumed, lost
        if self._lost:
            lost()

    def abort(self) -> None:
        """Reset the connection."""
        if self._connection.transport is not None:
            self._connection.transport.abort()

    # -- ASGI ---------------------------------------------------------------------------------

    async def _receive(self) -> MutableMapping[str, Any]:
        body, self._body = self._body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        if not self._lost:
            if self._gone is None:
                self._gone = self._connection.loop.create_future()
            await self._gone
        return _GONE

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._head = self._format_head(message["status"], message.get("headers", ()))
            if self._chunked:
                # Together with the first part if that comes at once, else alone.
                self._connection.loop.call_soon(self._flush_head)
            return
        part, more = message.get("body", b""), message.get("more_body", False)
        self._send_part(part, more=more)
        if more and self._connection.slow and not self._lost:
            await self._drained()

    def _flush_head(self) -> None:
        if not self._started:
            self._send_part(b"", more=True)

    def _send_part(self, part: bytes, *, more: bool) -> None:
        if self.ended or self._lost:
            return
        if self._head_only:
            part = b""
        if self._chunked and not self._head_only:
            if part:
                part = b"%x\r\n%b\r\n" % (len(part), part)
            if not more:
                part += _LAST_CHUNK
        if not self._started:
            self._started = True
            part = self._head + part
        if part:
            self._connection.write(part)
        if not more:
            self.ended = True
            if not self._keep_alive and self._connection.transport is not None:
                self._connection.transport.close()

    async def _drained(self) -> None:
        resumed = self._connection.loop.create_future()

        def wake() -> None:
            if not resumed.done():
                resumed.set_result(None)

        before = self._resumed, self._told
        self._resumed = self._told = wake
        await resumed
        self._resumed, self._told = before

    def _format_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        lines = [b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, b""))]
        sized = status in (204, 304)
        for name, value in headers:
            lines.append(b"%b: %b\r\n" % (name, value))
            sized = sized or name == b"content-length"
        if not sized:
            if self._scope["http_version"] == "1.0":
                self._keep_alive = False
            else:
                self._chunked = True
                lines.append(b"transfer-encoding: chunked\r\n")
        if not self._keep_alive:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)

    def _fail(self) -> None:
        """The application ended without an answer, or in the middle of one."""
        transport = self._connection.transport
        if transport is None or self.ended:
            return
        if self._started:
            transport.abort()
        else:
            self.ended = True
            transport.write(problem(500, "the server failed"))
            transport.close()
