"""The least that a Python server can do for paced streams: fixed chunks, written when they are due.

No engine, no JSON, one event loop of asyncio and one kernel timer. Eight lists of streams are
written to in turn, as eight engines would be; what this reaches in the same minute on the same
machine is the ceiling that the mocker's punctuality is shown beside::

    python -m tests.bench.mocker_load.ticker 10

The argument is the time between two tokens in ms. It prints its port like the mocker.
"""

from __future__ import annotations

import asyncio
import heapq
import os
import re
import sys
import time
from itertools import count

from mocker.clock import WallClock

ENGINES = 8
_TOKENS = re.compile(rb'"max_tokens": (\d+)')
_HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
_EVENT = (
    b'data: {"id":"chatcmpl-0-0","object":"chat.completion.chunk","created":1700000000,'
    b'"model":"meta-llama/Llama-3.1-8B","choices":[{"index":0,"delta":{"content":" word"},'
    b'"logprobs":null,"finish_reason":null}]}\n\n'
)
_CHUNK = b"%x\r\n%b\r\n" % (len(_EVENT), _EVENT)
_LAST = b"0\r\n\r\n"


class Ticker:
    """Writes to all streams of an engine at once, every ``step_ns``."""

    def __init__(self, step_ns: int) -> None:
        self._clock = WallClock()
        self._alarm = self._clock.alarm(self.tick)
        self._step_ns = step_ns
        self._due: list[tuple[int, int]] = []
        self._streams: list[list[list[int]]] = [[] for _ in range(ENGINES)]
        self._next = count()

    def add(self, fd: int, tokens: int) -> None:
        """Begin a stream; the engine of it begins to step with its first one."""
        engine = next(self._next) % ENGINES
        if not self._streams[engine]:
            heapq.heappush(self._due, (time.monotonic_ns() + self._step_ns, engine))
            self._alarm.set(self._due[0][0])
        os.write(fd, _HEAD)
        self._streams[engine].append([fd, tokens])

    def tick(self) -> None:
        """Write what is due."""
        while self._due and self._due[0][0] <= time.monotonic_ns():
            at_ns, engine = heapq.heappop(self._due)
            streams = self._streams[engine]
            for stream in streams:
                os.write(stream[0], _CHUNK)
                stream[1] -= 1
            if not all(left for _, left in streams):
                for fd, left in streams:
                    if not left:
                        os.write(fd, _LAST)
                self._streams[engine] = streams = [each for each in streams if each[1]]
            if streams:
                heapq.heappush(self._due, (at_ns + self._step_ns, engine))
        if self._due:
            self._alarm.set(self._due[0][0])


class Stream(asyncio.Protocol):
    """Takes requests; the load client sends head and body together and one at a time."""

    def __init__(self, ticker: Ticker) -> None:
        self._ticker = ticker
        self._fd = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._fd = transport.get_extra_info("socket").fileno()

    def data_received(self, data: bytes) -> None:
        found = _TOKENS.search(data)
        if found is not None:
            self._ticker.add(self._fd, int(found.group(1)))


async def main(step_ms: float) -> None:
    """Serve until the process is ended."""
    ticker = Ticker(int(step_ms * 1e6))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Stream(ticker), "127.0.0.1", 0, backlog=2048)
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(f"ticker ready http://127.0.0.1:{port}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
