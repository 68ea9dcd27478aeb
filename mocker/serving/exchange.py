"""One request and its answer on a connection of our own server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, MutableMapping
from http import HTTPStatus
from typing import Any, Protocol

from mocker.serving.asgi import BODY_PORT, Asgi, DirectApp, Headers, Offer

_LOG = logging.getLogger(__name__)
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_LAST_CHUNK = b"0\r\n\r\n"
_GONE: dict[str, Any] = {"type": "http.disconnect"}


class Line(Protocol):
    """The connection as an exchange needs it.

    Attributes:
        transport: ``None`` when the client has gone.
        slow: the client does not read, and much is buffered.
    """

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport | None
    slow: bool

    def write(self, data: bytes) -> None:
        """Send bytes."""
        ...

    def offer(self, data: bytes) -> bool:
        """Send bytes at once, or not at all."""
        ...

    def next(self) -> None:
        """The exchange has ended."""
        ...


def problem(status: int, message: str) -> bytes:
    """A whole answer to a request that never reaches the application."""
    body = (
        b'{"error":{"message":"%b","type":"invalid_request_error","param":null,"code":null}}'
        % message.encode()
    )
    head = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
    return head % (status, _REASONS[status], len(body)) + b"connection: close\r\n\r\n" + body


class Exchange:
    """One request and its answer; the port of its body.

    Attributes:
        writable: false while the client does not read and much is buffered.
    """

    __slots__ = (
        "_app", "_body", "_chunked", "_connection", "_gone", "_head", "_head_only", "_keep_alive",
        "_lost", "_resumed", "_scope", "_started", "_told", "ended", "task", "writable",
    )  # fmt: skip

    def __init__(
        self, connection: Line, app: Asgi, scope: dict[str, Any], body: bytes, *, keep_alive: bool
    ) -> None:
        self._connection = connection
        self._app = app
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
        self.writable = not connection.slow
        self.ended = False
        self.task: asyncio.Task[None] | None = None

    def begin(self, direct: DirectApp | None) -> bool:
        """Let the application answer in calls, if it does so; false when it needs a task."""
        if direct is None:
            return False
        try:
            return direct.direct(self._scope, self._body or b"", self)
        except Exception:  # noqa: BLE001  # the application's bug must not end the server
            _LOG.exception("the application failed")
            self._fail()
            self._leave()
            return True

    async def run(self) -> None:
        """Call the application and see that the client gets an answer."""
        self._scope["extensions"] = {BODY_PORT: self}
        try:
            await self._app(self._scope, self._receive, self._send)
        except Exception:  # noqa: BLE001  # the application's bug must not end the server
            _LOG.exception("the application failed")
            self._fail()
        if not self.ended and not self._lost:
            self._fail()
        # The scope holds this exchange; without the circle its memory is free at once.
        self._scope.pop("extensions", None)
        self._leave()

    def _leave(self) -> None:
        """The next request may be answered."""
        self._told = self._resumed = None
        self._connection.next()

    def lose(self) -> None:
        """The client has gone."""
        self._lost = True
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
        if self._told is not None:
            self._told()

    def resume(self) -> None:
        """The client reads again."""
        self.writable = True
        if self._resumed is not None:
            self._resumed()

    # -- the port of the body -------------------------------------------------------------

    def write(self, part: bytes) -> None:
        """Send a part of the body now."""
        if self._chunked:
            part = b"%x\r\n%b\r\n" % (len(part), part)
        self._connection.write(part)

    def offer(self) -> Offer | None:
        """The connection itself, once the head has been sent."""
        plain = self._chunked and self._started and not self._head_only and not self.ended
        return self._connection.offer if plain else None

    def open(self, status: int, headers: Headers, part: bytes) -> None:
        """Send the head and the first part."""
        self._head = self._format_head(status, headers)
        self._send_part(part, more=True)

    def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Send everything."""
        self._head = self._format_head(status, headers)
        self.close(body)

    def close(self, part: bytes = b"") -> None:
        """Send the last part and go on with the next request."""
        self._send_part(part, more=False)
        self._leave()

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
        if more and not self.writable and not self._lost:
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

    def _format_head(self, status: int, headers: Headers) -> bytes:
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
