"""One WebSocket connection of a client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class WebSocket:
    """Messages to and from a client; whole messages are written one after the other."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._lock = asyncio.Lock()

    async def accept(self, subprotocol: str) -> None:
        """Agree to talk."""
        await self._receive()  # websocket.connect
        await self._send({"type": "websocket.accept", "subprotocol": subprotocol})

    async def refuse(self) -> None:
        """Do not talk; the client hears 403."""
        await self._receive()
        await self._send({"type": "websocket.close", "code": 1000})

    async def messages(self) -> AsyncIterator[bytes]:
        """What the client sends, until it leaves."""
        while (message := await self._receive())["type"] == "websocket.receive":
            found = message.get("bytes")
            yield found if found is not None else str(message.get("text") or "").encode()

    async def send(self, content: bytes) -> None:
        """Send one binary message; a client that has gone hears nothing."""
        async with self._lock:
            with contextlib.suppress(OSError, RuntimeError):
                await self._send({"type": "websocket.send", "bytes": content})

    async def close(self) -> None:
        """End the conversation."""
        async with self._lock:
            with contextlib.suppress(OSError, RuntimeError):
                await self._send({"type": "websocket.close", "code": 1000})
