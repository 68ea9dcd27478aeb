"""Frames between frontend and worker, over one connection that began as HTTP.

A frame is its length (4 bytes), its kind (1 byte) and its content. What happens once for a
request is JSON; the tokens of an engine step are one frame of pairs (id, tokens so far).
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
from array import array
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any

from contracts.errors import PermanentError
from contracts.records import RequestStatus
from contracts.workload import PromptText
from mocker.engines.port import Outcome, Submitted

Begun = Callable[[], None]
UPGRADE = b"mocker-frames"
FRAME_BYTES_MAX = 64 * 1024 * 1024
_HEAD = struct.Struct("!IB")
_END = struct.Struct("!IBIIQI")
_STATUSES = tuple(RequestStatus)
_SWAP = sys.byteorder == "little"


class Kind(IntEnum):
    """What a frame says; ``NOTED`` answers ``DRAINING``: no request comes after it."""

    HELLO = 1
    SUBMIT = 2
    CANCEL = 3
    TOKENS = 4
    END = 5
    DRAINING = 6
    NOTED = 7


def frame(kind: Kind, content: bytes = b"") -> bytes:
    """A frame."""
    return _HEAD.pack(len(content), kind) + content


def json_frame(kind: Kind, content: Any) -> bytes:  # noqa: ANN401  # JSON
    """A frame with JSON in it."""
    return frame(kind, json.dumps(content).encode())


def submit_frame(request_id: int, request: Submitted) -> bytes:
    """Frontend to worker: a request."""
    text = None if request.text is None else list(request.text)
    rest = request._replace(text=None, client_id=None)._asdict()
    return json_frame(Kind.SUBMIT, {**rest, "id": request_id, "text": text})


def read_submit(content: bytes) -> tuple[int, Submitted]:
    """The request of a frame."""
    data = json.loads(content)
    text = data.pop("text")
    request_id = int(data.pop("id"))
    if text is not None:
        data["text"] = PromptText(tuple(text[0]), tuple(text[1]), text[2])
    return request_id, Submitted(**data)


def cancel_frame(request_id: int) -> bytes:
    """Frontend to worker: nobody wants the answer any more."""
    return frame(Kind.CANCEL, struct.pack("!I", request_id))


def read_cancel(content: bytes) -> int:
    """The id of a frame."""
    return int(struct.unpack("!I", content)[0])


def tokens_frame(pairs: array[int]) -> bytes:
    """Worker to frontend: id and tokens so far, in turn."""
    if _SWAP:
        pairs.byteswap()
    return frame(Kind.TOKENS, pairs.tobytes())


def read_tokens(content: bytes) -> Sequence[int]:
    """The numbers of a frame, id and tokens so far in turn."""
    pairs = array("I", content)
    if _SWAP:
        pairs.byteswap()
    return pairs


def end_frame(request_id: int, outcome: Outcome) -> bytes:
    """Worker to frontend: a request has ended."""
    times = array("q", outcome.token_ns)
    if _SWAP:
        times.byteswap()
    numbers = _END.pack(
        request_id,
        _STATUSES.index(outcome.status),
        outcome.generated,
        outcome.cached,
        outcome.arrival_ns,
        len(times),
    )
    return frame(Kind.END, numbers + times.tobytes() + outcome.reason.encode())


def read_end(content: bytes) -> tuple[int, Outcome]:
    """The id and the outcome of a frame."""
    request_id, code, generated, cached, arrival_ns, count = _END.unpack_from(content)
    times = array("q")
    end = _END.size + count * times.itemsize
    times.frombytes(content[_END.size : end])
    if _SWAP:
        times.byteswap()
    reason = content[end:].decode()
    return request_id, Outcome(_STATUSES[code], reason, generated, cached, arrival_ns, times)


class FrameProtocol(asyncio.Protocol):
    """Cuts a stream of bytes into frames.

    Args:
        on_frame: gets every frame.
        on_lost: called once when the connection has ended.
        ask: what turns an HTTP connection into one of frames; the answer comes before them.
    """

    def __init__(
        self,
        on_frame: Callable[[Kind, bytes], None],
        on_lost: Callable[[], None],
        ask: bytes | None = None,
    ) -> None:
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._ask = ask
        self._data = bytearray()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self._ask is not None:
            transport.write(self._ask)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # of asyncio
        """The other side has gone."""
        self.transport = None
        self._on_lost()

    def data_received(self, data: bytes) -> None:
        """Take bytes; whole frames are passed on."""
        held, at = self._data, 0
        held += data
        if self._ask is not None and not self._agreed():
            return
        while len(held) - at >= _HEAD.size:
            length, kind = _HEAD.unpack_from(held, at)
            if length > FRAME_BYTES_MAX:
                raise PermanentError(f"a frame of {length} bytes")
            end = at + _HEAD.size + length
            if len(held) < end:
                break
            self._on_frame(Kind(kind), bytes(held[at + _HEAD.size : end]))
            at = end
        del held[:at]

    def _agreed(self) -> bool:
        """Whether the other side has agreed to frames; one that refuses is left."""
        head, found, rest = bytes(self._data).partition(b"\r\n\r\n")
        if not found:
            return False
        self._ask = None
        self._data[:] = rest
        if head.startswith(b"HTTP/1.1 101"):
            return True
        if self.transport is not None:
            self.transport.abort()
        return False

    def send(self, data: bytes) -> None:
        """Send frames; dropped when the other side has gone."""
        if self.transport is not None:
            self.transport.write(data)

    def close(self) -> None:
        """End the connection."""
        if self.transport is not None:
            self.transport.close()
