"""Frames of SPDY/3.1, as far as ``kubectl port-forward`` uses them (no I/O here).

Layout and the dictionary of header compression: draft-mbelshe-httpbis-spdy-00, sections 2.2
to 2.6; numbers are big-endian.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

SYN_STREAM, SYN_REPLY, RST_STREAM, PING, GOAWAY = 1, 2, 3, 6, 7
FIN = 1
_CONTROL = 0x8000
_VERSION = 3
_ID_MASK = 0x7FFF_FFFF
_HEAD = struct.Struct(">II")
# Section 2.6.10.1: header names, each behind its length, then frequent values.
_NAMES = (
    "options, head, post, put, delete, trace, accept, accept-charset, accept-encoding, "
    "accept-language, accept-ranges, age, allow, authorization, cache-control, connection, "
    "content-base, content-encoding, content-language, content-length, content-location, "
    "content-md5, content-range, content-type, date, etag, expect, expires, from, host, "
    "if-match, if-modified-since, if-none-match, if-range, if-unmodified-since, "
    "last-modified, location, max-forwards, pragma, proxy-authenticate, proxy-authorization, "
    "range, referer, retry-after, server, te, trailer, transfer-encoding, upgrade, "
    "user-agent, vary, via, warning, www-authenticate, method, get, status, 200 OK, version, "
    "HTTP/1.1, url, public, set-cookie, keep-alive, origin"
)
_VALUES = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request"
    "401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented"
    "503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 "
    "Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,"
    "application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age="
    "gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = (
    b"".join(struct.pack(">I", len(name)) + name.encode() for name in _NAMES.split(", "))
    + _VALUES.encode()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame.

    Attributes:
        kind: of a control frame; 0 is data.
        stream: 0 where the kind has none.
        headers: of SYN_STREAM and SYN_REPLY, names in lower case.
        body: of a data frame, or of a control frame as it is.
    """

    kind: int
    stream: int = 0
    flags: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class Decoder:
    """Bytes to frames; one for a connection, because header compression has a state."""

    def __init__(self) -> None:
        self._left = b""
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)

    def frames(self, data: bytes) -> Iterator[Frame]:
        """Frames that are complete now.

        Raises:
            ValueError: this is not SPDY/3.1.
        """
        self._left += data
        while len(self._left) >= _HEAD.size:
            first, second = _HEAD.unpack_from(self._left)
            flags, size = second >> 24, second & 0xFF_FFFF
            if len(self._left) < _HEAD.size + size:
                return
            body = self._left[_HEAD.size : _HEAD.size + size]
            self._left = self._left[_HEAD.size + size :]
            yield self._frame(first, flags, body)

    def _frame(self, first: int, flags: int, body: bytes) -> Frame:
        if not first >> 31:
            return Frame(kind=0, stream=first & _ID_MASK, flags=flags, body=body)
        if (first >> 16) & 0x7FFF != _VERSION:
            raise ValueError("not a frame of SPDY/3.1")
        kind = first & 0xFFFF
        headed = {SYN_STREAM: 10, SYN_REPLY: 4}.get(kind)
        stream = 0
        if headed is not None or kind == RST_STREAM:
            stream = struct.unpack_from(">I", body)[0] & _ID_MASK
        headers = {} if headed is None else self._headers(body[headed:])
        return Frame(kind=kind, stream=stream, flags=flags, headers=headers, body=body)

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            plain = self._inflate.decompress(block)
        except zlib.error as error:
            raise ValueError(f"headers cannot be read: {error}") from error
        (count,), place = struct.unpack_from(">I", plain), 4
        words = []
        for _ in range(2 * count):
            (size,) = struct.unpack_from(">I", plain, place)
            words.append(plain[place + 4 : place + 4 + size].decode())
            place += 4 + size
        return {name.lower(): value for name, value in zip(words[::2], words[1::2], strict=True)}


class Encoder:
    """Frames to bytes; one for a connection."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def syn(self, kind: int, stream: int, headers: dict[str, str], flags: int = 0) -> bytes:
        """SYN_STREAM or SYN_REPLY."""
        plain = struct.pack(">I", len(headers))
        for word in (word for pair in headers.items() for word in pair):
            plain += struct.pack(">I", len(word)) + word.encode()
        block = self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        fixed = struct.pack(">I", stream) + (b"\0" * 6 if kind == SYN_STREAM else b"")
        return control(kind, fixed + block, flags)


def control(kind: int, body: bytes, flags: int = 0) -> bytes:
    """A control frame."""
    first = (_CONTROL | _VERSION) << 16 | kind
    return _HEAD.pack(first, flags << 24 | len(body)) + body


def data(stream: int, body: bytes, *, end: bool = False) -> bytes:
    """A data frame."""
    return _HEAD.pack(stream, (FIN if end else 0) << 24 | len(body)) + body


def reset(stream: int, status: int) -> bytes:
    """RST_STREAM."""
    return control(RST_STREAM, struct.pack(">II", stream, status))
