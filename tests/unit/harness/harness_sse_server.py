"""A tiny scripted HTTP server for tests of the load generator."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
ROLE = (
    b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},'
    b'"finish_reason":null}]}\n\n'
)
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n'
DONE = b"data: [DONE]\n\n"


def token(text=" the"):
    delta = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
    return b"data: " + json.dumps(delta, separators=(",", ":")).encode() + b"\n\n"


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


@dataclass
class Request:
    headers: dict
    body: dict
    connection: int

    @property
    def index(self):
        return int(self.headers["x-request-id"].removeprefix("load-"))


@dataclass
class Log:
    base_url: str = ""
    requests: list = field(default_factory=list)
    connections: int = 0
    open: int = 0


Script = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


async def answer(request, writer):
    """The normal answer: role, tokens, finish, usage, done; one write for each part."""
    writer.write(HEAD + chunk(ROLE))
    for _ in range(request.body["max_tokens"]):
        writer.write(chunk(token()))
        await writer.drain()
    writer.write(chunk(FINISH) + chunk(USAGE) + chunk(DONE) + b"0\r\n\r\n")
    await writer.drain()


@asynccontextmanager
async def serving(script: Script = answer):
    log = Log()

    async def handle(reader, writer):
        log.connections += 1
        log.open += 1
        connection = log.connections
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                lines = head.split("\r\n")[1:-2]
                headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
                body = await reader.readexactly(int(headers["content-length"]))
                request = Request(headers, json.loads(body), connection)
                log.requests.append(request)
                await script(request, writer)
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            log.open -= 1
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    log.base_url = f"http://{host}:{port}"
    try:
        yield log
    finally:
        server.close()
        await server.wait_closed()
