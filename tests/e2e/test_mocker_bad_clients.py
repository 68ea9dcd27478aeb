"""Clients that drip their requests or do not read: they delay nobody else.

Tokens of ordinary streams are compared with the instants at which the server says they were due,
so that what the engines do with more requests does not count. Quiet and disturbed rounds take
turns, and the best pair counts: a machine that is busy for a moment disturbs one pair, a server
that waits for a bad client disturbs all.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

MODEL = "Qwen/Qwen3-0.6B"
ROOT = Path(__file__).parents[2]
STREAMS, TOKENS = 8, 60
DRIPS, LAZY = 60, 4
DRIP_S = 0.1
ROUNDS = 3
# A bad client's share of a token's time: in a round that waits for one it is seconds.
RATIO, SLACK_MS = 3.0, 3.0
_MARK = b'"content":" '


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    words = [sys.executable, "-m", "mocker", "serve", "--port", "0", "--engine", "vllm"]
    process = subprocess.Popen(
        [*words, "--gpu", "l40s", "--", "--model", MODEL],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    host, _, port = line.rpartition("//")[2].strip().partition(":")
    yield host, int(port)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in errors


def request(path: str = "/v1/chat/completions", **changes: Any) -> bytes:
    asked = {"model": MODEL, "messages": [{"role": "user", "content": "a b c"}], "stream": True}
    body = json.dumps(asked | changes)
    return f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


async def lateness_ms(address: tuple[str, int]) -> list[float]:
    """Of every token of an ordinary stream, beyond its earliest one."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(request(max_tokens=TOKENS, mocker={"timestamps": True}))
    loop, seen, text = asyncio.get_running_loop(), list[float](), b""
    try:
        while b"data: [DONE]" not in text:
            part = await reader.read(65536)
            assert part, text[-200:]
            before = text.count(_MARK)
            text += part
            seen += [loop.time() * 1e3] * (text.count(_MARK) - before)
    finally:
        writer.close()
    timing = json.loads(text.rpartition(b'"timing": ')[2].partition(b"}")[0] + b"}")
    due = [instant / 1e6 for instant in timing["token_ns"]]
    assert len(seen) == len(due) == TOKENS
    late = [a - b for a, b in zip(seen, due, strict=True)]
    return [each - min(late) for each in late]


async def round_ms(address: tuple[str, int]) -> float:
    """The lateness that nine of ten tokens stay below."""
    found = await asyncio.gather(*(lateness_ms(address) for _ in range(STREAMS)))
    return statistics.quantiles([each for stream in found for each in stream], n=10)[-1]


@contextlib.asynccontextmanager
async def dripping(address: tuple[str, int]) -> AsyncIterator[None]:
    """Half-sent heads and half-sent bodies, a byte at a time."""
    whole = request(max_tokens=5)
    at = [len(whole) // 2 if k % 2 else 9 for k in range(DRIPS)]
    opened = [await asyncio.open_connection(*address) for _ in range(DRIPS)]
    for (_, writer), start in zip(opened, at, strict=True):
        writer.write(whole[:start])

    async def drip() -> None:
        for step in range(len(whole) - max(at) - 1):
            await asyncio.sleep(DRIP_S)
            for (_, writer), start in zip(opened, at, strict=True):
                writer.write(whole[start + step : start + step + 1])

    task = asyncio.create_task(drip())
    try:
        yield
        assert not task.done(), "the attack ended before the measurement"
    finally:
        task.cancel()
        for _, writer in opened:
            writer.close()


def lazy(address: tuple[str, int]) -> socket.socket:
    """Asks for much and reads nothing."""
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    found.connect(address)
    found.sendall(request(max_tokens=30_000, n=8, logprobs=True, top_logprobs=20))
    return found


async def paused(address: tuple[str, int], count: int) -> None:
    """Until the server has stopped to write to so many; before, they are just more work."""
    async with httpx.AsyncClient(
        base_url=f"http://{address[0]}:{address[1]}", trust_env=False
    ) as client:
        async with asyncio.timeout(40):
            while True:
                page = (await client.get("/metrics")).text
                lines = [x for x in page.splitlines() if x.startswith("mocker_slow_reader_pauses")]
                if lines and float(lines[-1].split()[-1]) >= count:
                    return
                await asyncio.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("bad", ["dripping", "not reading"])
def test_bad_clients_delay_nobody(bad: str, address: tuple[str, int]) -> None:
    async def run() -> list[tuple[float, float]]:
        found = []
        for turn in range(ROUNDS):
            quiet = await round_ms(address)
            if bad == "dripping":
                async with dripping(address):
                    disturbed = await round_ms(address)
            else:
                with contextlib.ExitStack() as stack:
                    for _ in range(LAZY):
                        stack.enter_context(contextlib.closing(lazy(address)))
                    await paused(address, LAZY * (turn + 1))
                    disturbed = await round_ms(address)
            found.append((quiet, disturbed))
        return found

    pairs = asyncio.run(run())
    assert min(disturbed - RATIO * quiet for quiet, disturbed in pairs) <= SLACK_MS, pairs
