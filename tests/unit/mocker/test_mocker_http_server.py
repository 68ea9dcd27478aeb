"""Our own HTTP server, spoken to by hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from contracts.errors import PermanentError
from mocker.serving.asgi import BODY_PORT
from mocker.serving.connection import HEAD_BYTES_MAX, HIGH_WATER_BYTES
from mocker.serving.http_server import HttpServer

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def echo(scope, receive, send) -> None:
    """Answers with method, path and body; odd paths do odd things."""
    body, path = (await receive())["body"], scope["path"]
    if path == "/boom":
        raise RuntimeError("a bug")
    if path == "/nothing":
        return
    said = f"{scope['method']} {path} {scope['query_string'].decode()} ".encode() + body
    length = (b"content-length", str(len(said)).encode())
    if path == "/half":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        raise RuntimeError("a bug in the middle")
    headers = [] if path == "/stream" else [length]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": said})


def talk(sent: bytes, *, until: bytes = b"", app=echo, **options) -> bytes:
    """Send bytes and read until the end, or until something is seen."""

    async def run() -> bytes:
        server = HttpServer(app, **options)
        port = await server.start("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        read = b""
        try:
            async with asyncio.timeout(5):
                while not until or until not in read:
                    part = await reader.read(65536)
                    if not part:
                        break
                    read += part
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            await server.stop(0.0)
        return read

    return asyncio.run(run())


def get(path: str, more: str = "connection: close\r\n") -> bytes:
    return f"GET {path} HTTP/1.1\r\nhost: x\r\n{more}\r\n".encode()


def test_a_request_and_its_answer() -> None:
    read = talk(get("/a%20b?q=1"))
    head, _, body = read.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close" in head
    assert body == b"GET /a b q=1 "


def test_streams_are_chunked_unless_the_client_is_old() -> None:
    read = talk(get("/stream"))
    assert b"transfer-encoding: chunked" in read
    assert read.endswith(b"\r\n0\r\n\r\n")
    old = talk(b"GET /stream HTTP/1.0\r\n\r\n")
    assert b"chunked" not in old
    assert old.endswith(b"GET /stream  ")


def test_requests_of_one_connection_are_answered_in_their_order() -> None:
    read = talk(get("/one", "") + get("/stream", "") + get("/three"))
    at = [read.index(path) for path in (b"GET /one", b"GET /stream", b"GET /three")]
    assert at == sorted(at)
    assert read.count(b"HTTP/1.1 200") == 3


def test_bodies_by_length_and_in_chunks() -> None:
    head = "POST /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    assert talk(f"{head}content-length: 3\r\n\r\nabc".encode()).endswith(b"POST /x  abc")
    chunked = f"{head}transfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    assert talk(chunked.encode()).endswith(b"POST /x  abc")
    expects = f"{head}content-length: 3\r\nexpect: 100-continue\r\n\r\nabc"
    assert talk(expects.encode()).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")


def test_a_head_request_has_no_body() -> None:
    read = talk(b"HEAD /abc HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert read.endswith(b"\r\n\r\n")
    assert b"content-length: 11" in read


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n", b"413"),
        (b"GET / HTTP/1.1\r\nx: " + b"a" * (HEAD_BYTES_MAX + 1) + b"\r\n\r\n", b"431"),
        (get("/", "connection: upgrade\r\nupgrade: websocket\r\n"), b"400"),
    ],
)
def test_bad_requests_are_answered_and_the_connection_ends(sent: bytes, status: bytes) -> None:
    read = talk(sent)
    assert read.startswith(b"HTTP/1.1 " + status)
    assert b'"error"' in read


def test_bugs_of_the_application_are_answered(caplog) -> None:
    assert talk(get("/boom")).startswith(b"HTTP/1.1 500")
    assert talk(get("/nothing")).startswith(b"HTTP/1.1 500")
    assert not talk(get("/half")).endswith(b"0\r\n\r\n")
    assert "a bug" in caplog.text


def test_a_slow_loris_is_let_go(monkeypatch) -> None:
    monkeypatch.setattr("mocker.serving.http_server.SWEEP_S", 0.02)
    assert talk(b"POST /x HTTP/1.1\r\nhost: x\r\n", request_s=0.05) == b""
    assert talk(b"", keep_alive_s=0.05) == b""


def test_a_slow_reader_costs_a_buffer_and_no_more() -> None:
    """Parts are held back while the client does not read, and it hears of all that it missed."""

    async def run() -> tuple[int, bool, int]:
        state = {"resumed": 0, "size": 0, "held": False}

        async def app(scope, receive, send) -> None:
            port = scope["extensions"][BODY_PORT]
            again = asyncio.Event()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"go", "more_body": True})
            port.attach(again.set, again.set)
            while port.writable:
                port.write(b"x" * 4096)
                state["size"] += 4096
            state["held"] = True
            await again.wait()
            state["resumed"] += 1
            await send({"type": "http.response.body", "body": b"end"})

        server = HttpServer(app)
        port = await server.start("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(get("/"))
        while not state["held"]:
            await asyncio.sleep(0.001)
        buffered = max(c.transport.get_write_buffer_size() for c in server.connections)
        read = await reader.read(-1)
        writer.close()
        await server.stop(0.0)
        assert read.endswith(b"end\r\n0\r\n\r\n")
        return buffered, state["held"], state["resumed"]

    buffered, held, resumed = asyncio.run(run())
    assert buffered <= HIGH_WATER_BYTES + 8192
    assert (held, resumed) == (True, 1)


def test_the_application_hears_of_a_client_that_leaves() -> None:
    async def run() -> str:
        heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def app(scope, receive, send) -> None:
            await receive()
            heard.set_result((await receive())["type"])

        server = HttpServer(app)
        port = await server.start("127.0.0.1", 0)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get("/"))
        await writer.drain()
        await asyncio.sleep(0)
        writer.close()
        said = await asyncio.wait_for(heard, 5)
        await server.stop(0.0)
        return said

    assert asyncio.run(run()) == "http.disconnect"


def test_answers_may_end_before_the_server_does() -> None:
    async def run() -> bytes:
        go = asyncio.Event()

        async def app(scope, receive, send) -> None:
            await go.wait()
            await echo(scope, receive, send)

        server = HttpServer(app)
        port = await server.start("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get("/late", ""))
        while not any(connection.exchange for connection in server.connections):
            await asyncio.sleep(0.001)
        asyncio.get_running_loop().call_later(0.02, go.set)
        await server.stop(5.0)
        read = await reader.read(-1)
        writer.close()
        return read

    assert asyncio.run(run()).endswith(b"GET /late  ")


def test_a_taken_port_is_an_error() -> None:
    async def run() -> None:
        first, second = HttpServer(echo), HttpServer(echo)
        port = await first.start("127.0.0.1", 0)
        try:
            with pytest.raises(PermanentError, match="is the port taken"):
                await second.start("127.0.0.1", port)
        finally:
            await first.stop(0.0)

    asyncio.run(run())
