"""``pods/NAME/portforward``: connections of a client to ports of a pod, over one WebSocket.

kubectl tunnels SPDY through WebSocket messages. For each connection it opens two streams with
headers ``streamtype`` (``error``, ``data``), ``port`` and ``requestid``.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from dataclasses import dataclass, field

from harness.cluster.http.streams import spdy
from harness.cluster.http.streams.socket import WebSocket

PROTOCOL = "SPDY/3.1+portforward.k8s.io"
_PIECE = 32_768
_REFUSED_STREAM = 3


@dataclass(slots=True)
class _Connection:
    """Attributes: ``error`` is the stream for what went wrong, ``waiting`` is for the pod."""

    port: int
    error: int = 0
    waiting: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    task: asyncio.Task[None] | None = None


class PortForward:
    """One client's connections to one pod."""

    def __init__(self, socket: WebSocket, host: str) -> None:
        self._socket = socket
        self._host = host
        self._decoder = spdy.Decoder()
        self._encoder = spdy.Encoder()
        self._errors: dict[str, int] = {}
        self._connections: dict[int, _Connection] = {}

    async def run(self) -> None:
        """Forward until the client leaves or makes no sense."""
        try:
            with contextlib.suppress(ValueError, struct.error):
                async for message in self._socket.messages():
                    for frame in self._decoder.frames(message):
                        if frame.kind == spdy.GOAWAY:
                            return
                        await self._take(frame)
        finally:
            tasks = [found.task for found in self._connections.values() if found.task]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, frame: spdy.Frame) -> None:
        if frame.kind == spdy.PING:
            await self._socket.send(spdy.control(spdy.PING, frame.body))
        elif frame.kind == spdy.SYN_STREAM:
            await self._open(frame)
        elif frame.kind == spdy.RST_STREAM:
            found = self._connections.pop(frame.stream, None)
            if found is not None and found.task is not None:
                found.task.cancel()
        elif frame.kind == 0 and frame.stream in self._connections:
            connection = self._connections[frame.stream]
            if frame.body:
                connection.waiting.put_nowait(frame.body)
            if frame.flags & spdy.FIN:
                connection.waiting.put_nowait(b"")

    async def _open(self, frame: spdy.Frame) -> None:
        kind, identity = frame.headers.get("streamtype"), frame.headers.get("requestid", "")
        port = frame.headers.get("port", "")
        if kind not in {"error", "data"} or not port.isdigit():
            await self._socket.send(spdy.reset(frame.stream, _REFUSED_STREAM))
            return
        await self._socket.send(self._encoder.syn(spdy.SYN_REPLY, frame.stream, {}))
        if kind == "error":
            self._errors[identity] = frame.stream
            return
        connection = _Connection(int(port), self._errors.pop(identity, 0))
        self._connections[frame.stream] = connection
        connection.task = asyncio.create_task(self._forward(frame.stream, connection))

    async def _forward(self, stream: int, connection: _Connection) -> None:
        """Both directions of one connection until the pod ends it."""
        said = b""
        try:
            reader, writer = await asyncio.open_connection(self._host, connection.port)
        except OSError as error:
            said = f"cannot connect to {self._host}:{connection.port}: {error}".encode()
        else:
            sending = asyncio.create_task(_drain(connection.waiting, writer))
            try:
                while piece := await reader.read(_PIECE):
                    await self._socket.send(spdy.data(stream, piece))
            except OSError as error:
                said = str(error).encode()
            finally:
                sending.cancel()
                writer.close()
                with contextlib.suppress(OSError, asyncio.CancelledError):
                    await sending
        await self._socket.send(spdy.data(stream, b"", end=True))
        if connection.error:
            await self._socket.send(spdy.data(connection.error, said, end=True))
        self._connections.pop(stream, None)


async def _drain(waiting: asyncio.Queue[bytes], writer: asyncio.StreamWriter) -> None:
    while piece := await waiting.get():
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
