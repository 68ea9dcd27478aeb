"""A digest of a run: equal digests mean bit-identical runs.

Events of workers, faults and transfers are hashed in the order in which they happen.
What became of each request (worker, first token, end and so on) is hashed once from
its row, which costs far less than an event each.
"""

from __future__ import annotations

import hashlib
import struct
from enum import IntEnum

_FLUSH_BYTES = 1 << 16
_PACK = struct.Struct("<qqqq").pack


class DigestKind(IntEnum):
    """Kinds of events that enter the digest."""

    WORKER = 5
    TRANSFER = 6
    RESERVED = 7
    FAULT = 8
    ADAPTER = 9


class EventDigest:
    """Hashes events in the order in which they happen."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self._buffer = bytearray()
        self.events = 0
        self.last_ns = 0

    def add(self, at_ns: int, kind: DigestKind, subject: int, detail: int) -> None:
        """Add one event; ``subject`` and ``detail`` are ids or codes."""
        self.events += 1
        self.last_ns = at_ns
        self._buffer += _PACK(at_ns, kind, subject, detail)
        if len(self._buffer) >= _FLUSH_BYTES:
            self._hash.update(self._buffer)
            self._buffer.clear()

    def hexdigest(self, rows: bytes) -> str:
        """Digest of all events so far and of the rows of all requests."""
        copy = self._hash.copy()
        copy.update(self._buffer)
        copy.update(rows)
        return copy.hexdigest()
