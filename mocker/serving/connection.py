"""One HTTP/1.1 connection of our own server.

Made for many streams with small parts: a part is one system call, requests are parsed by
httptools, and nothing wakes a task for a token. Requests of one connection are answered one
after the other; their bodies are read before the application is called.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

import httptools

from mocker.serving.asgi import BODY_BYTES_MAX, Asgi, DirectApp
from mocker.serving.exchange import Exchange, problem

HEAD_BYTES_MAX = 64 * 1024
PIPELINED_MAX = 16
# The kernel's buffer comes on top; above it tokens are counted instead of written.
HIGH_WATER_BYTES = 64 * 1024
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: %b\r\n\r\n"


# Makes the protocol that takes over a connection, and is told when it has the transport.
Upgrade = Callable[[], tuple[asyncio.Protocol, Callable[[], None]]]


class Owner(Protocol):
    """The server that a connection belongs to."""

    app: Asgi
    direct: DirectApp | None
    connections: set[HttpConnection]
    upgrades: Mapping[bytes, Upgrade]

    def now_s(self) -> float:
        """Seconds on the loop's clock."""
        ...


class HttpConnection(asyncio.Protocol):
    """Parses requests and runs the application for one after the other.

    Attributes:
        since_s: when it began to wait for what it waits for now.
        exchange: the request that is being answered.
    """

    __slots__ = (
        "_body", "_closing", "_expects", "_fd", "_head_size", "_headers", "_parser", "_reading",
        "_refused", "_size", "_url", "_waiting", "_write_at_once", "exchange", "loop", "owner",
        "since_s", "slow", "transport",
    )  # fmt: skip

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self.owner = owner
        self.loop = loop
        self.since_s = owner.now_s()
        self.exchange: Exchange | None = None
        self.transport: asyncio.Transport | None = None
        self._fd = -1
        self.slow = False
        # Nothing waits in the transport's buffer, as far as we know, and the client is there.
        self._write_at_once = False
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
        self._fd = transport.get_extra_info("socket").fileno()
        self._write_at_once = True
        self.owner.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # of asyncio
        """The client has gone."""
        self.owner.connections.discard(self)
        self.transport, self._fd = None, -1
        self._write_at_once = False
        self._waiting.clear()
        if self.exchange is not None:
            self.exchange.lose()

    def pause_writing(self) -> None:
        """The reader is slow."""
        self.slow = True
        if self.exchange is not None:
            self.exchange.writable = False

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
        self._head_size += len(name) + len(value)
        if self._head_size > HEAD_BYTES_MAX:
            self._count(0)
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
            exchange = Exchange(self, self.owner.app, scope, body, keep_alive=keep_alive)
            self.exchange = exchange
            if not exchange.begin(self.owner.direct):
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
            self._write_at_once = False
            transport.write(data)
        else:
            self._write_at_once = True
            self.offer(data)

    def offer(self, data: bytes) -> bool:
        """One system call; false when bytes are buffered or the client has gone."""
        if not self._write_at_once:
            return False
        try:
            sent = os.write(self._fd, data)
        except BlockingIOError:
            sent = 0
        except OSError:
            sent = -1
        if sent < len(data):
            self._go_on_with(data, sent)
        return True

    def _go_on_with(self, data: bytes, sent: int) -> None:
        """The transport takes what the kernel did not; a broken connection (-1) is given up."""
        self._write_at_once = False
        transport = self.transport
        assert transport is not None
        if sent < 0:
            transport.abort()
        else:
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
