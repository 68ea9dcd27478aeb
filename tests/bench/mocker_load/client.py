"""A small load client: one process, raw sockets, one epoll loop; prints JSON.

It spends about a microsecond on a token, so that two cores suffice to saturate a server::

    python -m tests.bench.mocker_load.client --port 8000 --model M --connections 64 --seconds 5

With ``--burst N`` all connections ask at once, N times. With ``--pace-ms`` it compares the
arrival of every token with the schedule that the mean gap of its own stream implies, and reports
lateness; the streams are started one by one. The kernel notes when a token arrived
(``SO_TIMESTAMPNS``, Linux), and the client looks every half millisecond: a client that sleeps until
a token comes makes the server pay for waking it, which one on another machine would not.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import re
import select
import socket
import struct
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

_TOKEN = b'"content":" '
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_READ = 1 << 14
SO_TIMESTAMPNS = 35  # of Linux; Python has no name for it
_TIMESPEC = struct.Struct("qq")
_NOTES = socket.CMSG_SPACE(_TIMESPEC.size)
# The first streams start so far apart that as many engines step at instants evenly spread.
PHASES = 8
# Within so many steps all the others start; their tokens of that time are left out.
RAMP_STEPS = 20
# The server accepts all connections before the first stream starts.
SETTLE_S = 0.5
# How often arrivals are looked for.
LOOK_S = 0.0005


@dataclass(slots=True)
class Tally:
    """What all connections together have seen."""

    tokens: int = 0
    reads: int = 0
    requests: int = 0
    failures: int = 0
    lateness_ms: list[float] = field(default_factory=list)
    longest_gap_ms: float = 0.0


class Connection:
    """Sends the same request again and again."""

    __slots__ = ("arrivals", "reads", "request", "sock", "stream", "tail", "tally")

    def __init__(self, address: tuple[str, int], request: bytes, tally: Tally, stream: bool):
        self.sock = socket.create_connection(address)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.request, self.tally, self.stream = request, tally, stream
        self.tail = b""
        self.arrivals: list[float] = []
        self.reads: list[tuple[float, bytes]] = []

    def send(self) -> None:
        """Start the next request."""
        self.tail = b""
        self.sock.sendall(self.request)

    def read(self) -> bool:
        """Take what has arrived; true when the answer is complete."""
        data = self.sock.recv(_READ)
        if not data:
            self.tally.failures += 1
            return True
        return self._stream_part(data) if self.stream else self._whole_part(data)

    def note(self) -> bool:
        """Take what has arrived and when; true when the answer is complete."""
        data, notes, _, _ = self.sock.recvmsg(_READ, _NOTES)
        at = time.time()
        for _, kind, value in notes:
            if kind == SO_TIMESTAMPNS:
                seconds, nanoseconds = _TIMESPEC.unpack(value)
                at = seconds + nanoseconds * 1e-9
        self.reads.append((at, data))
        if not data:
            self.tally.failures += 1
            return True
        # The end never comes in two parts: it is written at once and is short.
        return data.endswith(b"0\r\n\r\n")

    def understand(self) -> None:
        """Look for the tokens in what was noted."""
        for at, data in self.reads:
            before = self.tally.tokens
            self._stream_part(data)
            self.arrivals.extend([at] * (self.tally.tokens - before))

    def _stream_part(self, data: bytes) -> bool:
        tally = self.tally
        text = self.tail + data
        count = text.count(_TOKEN)
        tally.tokens += count
        tally.reads += 1
        done = text.endswith(b"\r\n0\r\n\r\n") or text == b"0\r\n\r\n"
        # Keep what may be the beginning of a token's mark or of the end of the answer.
        cut = max(text.rfind(_TOKEN) + len(_TOKEN), len(text) - 12, 0)
        self.tail = text[cut:]
        if done:
            tally.requests += 1
        return done

    def _whole_part(self, data: bytes) -> bool:
        self.tail += data
        head, found, body = self.tail.partition(b"\r\n\r\n")
        if not found:
            return False
        length = _LENGTH.search(head)
        if length is None or len(body) < int(length.group(1)):
            return False
        self.tally.requests += 1
        self.tally.failures += not head.startswith(b"HTTP/1.1 200")
        return True


def saturate(connections: list[Connection], seconds: float) -> dict[str, float]:
    """Keep every connection busy; returns the rates."""
    tally, poll = connections[0].tally, select.epoll()
    by_fd = {connection.sock.fileno(): connection for connection in connections}
    for fd, connection in by_fd.items():
        poll.register(fd, select.EPOLLIN)
        connection.send()
    start = time.monotonic()
    while time.monotonic() < start + seconds:
        for fd, _ in poll.poll(0.1):
            if by_fd[fd].read():
                by_fd[fd].send()
    elapsed = time.monotonic() - start
    return {
        "tokens_per_s": tally.tokens / elapsed,
        "requests_per_s": tally.requests / elapsed,
        "tokens": tally.tokens,
        "requests": tally.requests,
        "tokens_per_read": tally.tokens / max(1, tally.reads),
        "failures": tally.failures,
    }


def burst(connections: list[Connection], times: int) -> dict[str, float]:
    """Let all connections ask at once and wait for every answer, several times."""
    tally, poll = connections[0].tally, select.epoll()
    by_fd = {connection.sock.fileno(): connection for connection in connections}
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    start = time.monotonic()
    for _ in range(times):
        for connection in connections:
            connection.send()
        left = len(connections)
        while left:
            left -= sum(by_fd[fd].read() for fd, _ in poll.poll(10.0))
    elapsed = time.monotonic() - start
    return {
        "tokens": tally.tokens,
        "requests": tally.requests,
        "burst_s": elapsed / times,
        "tokens_per_read": tally.tokens / max(1, tally.reads),
        "failures": tally.failures,
    }


def pace(connections: list[Connection], itl_ms: float, tokens: int) -> dict[str, float]:
    """One stream on each connection; lateness of every token against its schedule.

    The schedule of a stream is ``first + k * itl``, shifted so that its earliest token is not
    early: what is measured is how much later than the best case each token came.
    """
    tally, poll = connections[0].tally, select.epoll()
    by_fd = {connection.sock.fileno(): connection for connection in connections}
    for connection in connections:
        poll.register(connection.sock.fileno(), select.EPOLLIN)
        connection.sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    note = {fd: connection.note for fd, connection in by_fd.items()}
    waiting = list(connections)
    gc.disable()
    open_streams = len(connections)
    time.sleep(SETTLE_S)
    starts = start_times_s(itl_ms, len(connections))
    begun = time.monotonic()
    deadline = begun + 60 + tokens * itl_ms / 1e3 * 4
    while open_streams and time.monotonic() < deadline:
        while waiting and time.monotonic() >= begun + starts[-len(waiting)]:
            waiting.pop().send()
        if not waiting:
            time.sleep(LOOK_S)
        for fd, _ in poll.poll(0):
            if note[fd]():
                poll.unregister(fd)
                open_streams -= 1
    busy_s = time.process_time()
    for connection in connections:
        connection.understand()
        _lateness(connection.arrivals, itl_ms, tally)
    late = sorted(tally.lateness_ms)
    share = lambda q: late[min(len(late) - 1, int(q * len(late)))] if late else -1.0  # noqa: E731
    return {
        "tokens": tally.tokens,
        "unfinished": open_streams,
        "late_ms_p50": share(0.5),
        "late_ms_p99": share(0.99),
        "late_ms_max": share(1.0),
        "longest_gap_ms": tally.longest_gap_ms,
        "client_busy_s": busy_s,
        "failures": tally.failures,
    }


def start_times_s(itl_ms: float, streams: int) -> list[float]:
    """When each stream starts, after the first one."""
    step_s = itl_ms / 1e3
    first = [number * step_s / PHASES for number in range(min(PHASES, streams))]
    rest = max(0, streams - PHASES)
    return first + [step_s * (1 + RAMP_STEPS * number / rest) for number in range(rest)]


def _lateness(arrivals: list[float], itl_ms: float, tally: Tally) -> None:
    """The first tokens wait for prompts of others and are left out."""
    skip = 2 * RAMP_STEPS
    rest = arrivals[skip:]
    if not rest:
        return
    offsets = [at * 1e3 - index * itl_ms for index, at in enumerate(rest)]
    start = min(offsets)
    tally.lateness_ms.extend(offset - start for offset in offsets)
    gaps = (after - before for before, after in itertools.pairwise(rest))
    tally.longest_gap_ms = max(tally.longest_gap_ms, max(gaps, default=0.0) * 1e3)


def waited_s(process: int | str) -> float:
    """Seconds that a process was ready to run and had no core; -1 where nobody counts them."""
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return -1.0


def request_of(given: argparse.Namespace, number: int) -> bytes:
    """The request of one connection."""
    words = "the first word of many"
    if given.prompt_words:
        words = f"r{number}" + " a" * (given.prompt_words - 1)
    content = {
        "model": given.model,
        "messages": [{"role": "user", "content": words}],
        "max_tokens": given.tokens,
        "ignore_eos": True,
        "stream": not given.whole,
    }
    body = json.dumps(content).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: load\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(body), body)
    )


def main() -> None:
    """Read the options, run, print one line of JSON."""
    options = argparse.ArgumentParser()
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--model", required=True)
    options.add_argument("--connections", type=int, default=64)
    options.add_argument("--seconds", type=float, default=5.0)
    options.add_argument("--tokens", type=int, default=100)
    options.add_argument("--whole", action="store_true", help="answers that are not streamed")
    options.add_argument("--pace-ms", type=float, default=0.0)
    options.add_argument("--burst", type=int, default=0)
    options.add_argument("--prompt-words", type=int, default=0, help="of prompts that differ")
    given = options.parse_args()
    tally = Tally()
    address = given.host, given.port
    connections = [
        Connection(address, request_of(given, number), tally, not given.whole)
        for number in range(given.connections)
    ]
    if given.burst:
        found = burst(connections, given.burst)
    elif given.pace_ms:
        found = pace(connections, given.pace_ms, given.tokens)
    else:
        found = saturate(connections, given.seconds)
    found |= {"client_cpu_s": time.process_time(), "client_waited_s": waited_s("self")}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
