"""Frames of SPDY, the forwarding of connections and attaching, without kubectl."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from harness.cluster.http.streams import spdy
from harness.cluster.http.streams.attach import attach
from harness.cluster.http.streams.portforward import PortForward
from harness.cluster.http.streams.socket import WebSocket

Say = Callable[[bytes], Awaitable[None]]


class Client:
    """The other end of a WebSocket."""

    def __init__(self) -> None:
        self.coming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.frames: list[spdy.Frame] = []
        self.heard: list[bytes] = []
        self.changed = asyncio.Event()
        self._decoder = spdy.Decoder()
        self._encoder = spdy.Encoder()

    async def receive(self) -> dict[str, Any]:
        return await self.coming.get()

    async def send(self, message: dict[str, Any]) -> None:
        self.frames += self._decoder.frames(message["bytes"])
        self.changed.set()

    def say(self, content: bytes) -> None:
        self.coming.put_nowait({"type": "websocket.receive", "bytes": content})

    def open(self, stream: int, kind: str, port: int) -> None:
        headers = {"streamtype": kind, "port": str(port), "requestid": "0"}
        self.say(self._encoder.syn(spdy.SYN_STREAM, stream, headers))

    def leave(self) -> None:
        self.coming.put_nowait({"type": "websocket.disconnect"})

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 5)

    def body(self, stream: int) -> bytes:
        return b"".join(f.body for f in self.frames if (f.kind, f.stream) == (0, stream))

    def ended(self, stream: int) -> bool:
        return any((f.kind, f.stream) == (0, stream) and f.flags & spdy.FIN for f in self.frames)


def test_frames_survive_any_cut() -> None:
    encoder = spdy.Encoder()
    sent = encoder.syn(spdy.SYN_STREAM, 1, {"port": "80", "streamtype": "data"})
    sent += spdy.data(1, b"body", end=True) + spdy.reset(3, 5)
    sent += encoder.syn(spdy.SYN_REPLY, 1, {"port": "80"})
    decoder = spdy.Decoder()
    found = [frame for i in range(len(sent)) for frame in decoder.frames(sent[i : i + 1])]
    assert [frame.kind for frame in found] == [spdy.SYN_STREAM, 0, spdy.RST_STREAM, spdy.SYN_REPLY]
    assert found[0].headers == {"port": "80", "streamtype": "data"}
    assert (found[1].body, found[1].flags) == (b"body", spdy.FIN)
    assert found[2].stream == 3
    assert found[3].headers == {"port": "80"}


def test_what_is_no_spdy_is_refused() -> None:
    with pytest.raises(ValueError, match=r"SPDY/3.1"):
        list(spdy.Decoder().frames(struct.pack(">II", 0x8002_0001, 0)))
    garbage = spdy.control(spdy.SYN_REPLY, b"\0\0\0\1garbage")
    with pytest.raises(ValueError, match="headers cannot be read"):
        list(spdy.Decoder().frames(garbage))


def test_a_connection_is_forwarded_and_a_closed_port_is_told() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read(100)).upper())
        await writer.drain()
        writer.close()

    async def scenario() -> Client:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        client = Client()
        forward = PortForward(WebSocket(client.receive, client.send), "127.0.0.1")
        running = asyncio.create_task(forward.run())
        client.open(1, "error", port)
        client.open(3, "data", port)
        client.say(spdy.data(3, b"hello"))
        await client.until(lambda: client.ended(3) and client.ended(1))
        server.close()
        await server.wait_closed()
        client.open(5, "error", port)
        client.open(7, "data", port)
        client.say(spdy.control(spdy.PING, b"\0\0\0\1"))
        await client.until(lambda: client.ended(5))
        client.open(9, "unknown", port)
        await client.until(lambda: client.frames[-1].kind == spdy.RST_STREAM)
        client.leave()
        await running
        return client

    client = asyncio.run(scenario())
    assert (client.body(3), client.body(1)) == (b"HELLO", b"")
    assert b"cannot connect" in client.body(5)
    assert any(frame.kind == spdy.PING for frame in client.frames)


def test_attached_output_ends_with_the_container_or_the_client() -> None:
    class Listener(Client):
        async def send(self, message: dict[str, Any]) -> None:
            self.heard.append(message.get("bytes", message["type"].encode()))

    async def pieces(*found: bytes, hold: bool) -> AsyncIterator[bytes]:
        for piece in found:
            yield piece
        if hold:
            await asyncio.Event().wait()

    async def scenario(*, hold: bool) -> list[bytes]:
        client = Listener()
        client.say(b"\0typed")
        task = asyncio.create_task(
            attach(WebSocket(client.receive, client.send), pieces(b"a", b"b", hold=hold))
        )
        await asyncio.sleep(0)
        if hold:
            client.leave()
        await task
        return client.heard

    outcome = b'\x03{"metadata": {}, "status": "Success"}'
    heard = asyncio.run(scenario(hold=False))
    assert heard == [b"\x01a", b"\x01b", outcome, b"websocket.close"]
    heard = asyncio.run(scenario(hold=True))
    assert heard[-1] == b"websocket.close"
    assert outcome not in heard
