"""Decodes the protobuf bodies that typed Go clients send.

The tables name field numbers of the public wire format: number, JSON name and type. A type
is ``s`` (text), ``i`` (integer), ``z`` (integer whose zero means absent), ``b`` (boolean),
``y`` (bytes, base64 in JSON), ``q`` (quantity), ``t`` (time), ``u`` (time in microseconds),
``n`` (integer or text), ``m`` (map of text to text), ``my`` (to bytes), ``mq`` (to
quantities), or the name of another table; a leading ``*`` stands for a list, ``-`` for what
is left out. Fields without an entry are left out and reported.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from functools import lru_cache

from harness.cluster.http.protobuf_tables import TABLES
from harness.cluster.objects.errors import bad_request, unsupported_media
from harness.cluster.objects.meta import Json, Obj, micro_time_text, time_text

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def decode_object(body: bytes, notes: list[str]) -> Obj:
    """The object in a protobuf envelope.

    Args:
        body: the request's body.
        notes: gets a line for each field that was left out.

    Raises:
        ApiError: 400 for a damaged body, 415 for a kind without a table.
    """
    if not body.startswith(_MAGIC):
        raise bad_request("the body of the request is not protobuf of Kubernetes")
    try:
        return _unwrapped(body[len(_MAGIC) :], notes)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise bad_request(f"the body of the request is damaged: {error}") from error


def _unwrapped(body: bytes, notes: list[str]) -> Obj:
    envelope = {number: value for number, _, value in _fields(body)}
    names = {number: value.decode() for number, _, value in _fields(envelope.get(1, b""))}
    version, kind = names.get(1, ""), names.get(2, "")
    group = version.rpartition("/")[0]
    name = f"{group}/{kind}" if f"{group}/{kind}" in TABLES else kind
    if name not in TABLES:
        raise unsupported_media(f"{MEDIA_TYPE} for {kind}", ["application/json"])
    return {"apiVersion": version, "kind": kind, **_message(envelope.get(2, b""), name, notes)}


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _fields(data: bytes) -> Iterator[tuple[int, int, Json]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        value: Json
        if wire == _VARINT:
            value, at = _varint(data, at)
        elif wire == _BYTES:
            length, at = _varint(data, at)
            value, at = data[at : at + length], at + length
            if len(value) != length:
                raise IndexError("a field ends too early")
        elif wire in {_FIXED64, _FIXED32}:
            size = 8 if wire == _FIXED64 else 4
            value, at = data[at : at + size], at + size
        else:
            raise IndexError(f"wire type {wire} is unknown")
        yield number, wire, value


@lru_cache(maxsize=256)
def _table(name: str) -> dict[int, tuple[str, str]]:
    found = {}
    for entry in TABLES[name].split():
        number, field, kind = entry.split(":")
        found[int(number)] = (field, kind)
    return found


def _message(data: bytes, name: str, notes: list[str]) -> Obj:
    table = _table(name)
    result: Obj = {}
    for number, _, raw in _fields(data):
        field, kind = table.get(number, ("", "-"))
        if kind == "-":
            if not field and raw:
                notes.append(f"field {number} of {name} is not understood in protobuf")
            continue
        if kind.startswith("*"):
            result.setdefault(field, []).append(_value(raw, kind[1:], notes))
        elif kind in {"m", "my", "mq"}:
            entry = {part: value for part, _, value in _fields(raw)}
            key = entry.get(1, b"").decode()
            result.setdefault(field, {})[key] = _value(entry.get(2, b""), kind[1:] or "s", notes)
        else:
            _put(result, field, kind, _value(raw, kind, notes))
    return result


def _put(result: Obj, field: str, kind: str, value: Json) -> None:
    if not field:  # an embedded message: its fields belong to this one
        result.update(value)
    elif value is not None and not (kind in {"s", "z"} and not value):
        result[field] = value


def _value(raw: Json, kind: str, notes: list[str]) -> Json:
    if kind == "s":
        return raw.decode()
    if kind in {"i", "z"}:
        return raw - (1 << 64) if raw >> 63 else raw
    if kind == "b":
        return bool(raw)
    if kind == "y":
        return base64.b64encode(raw).decode()
    if kind in TABLES:
        return _message(raw, kind, notes)
    parts = {part: value for part, _, value in _fields(raw)}
    if kind == "q":
        return parts.get(1, b"").decode()
    if kind == "t":
        return time_text(parts[1]) if parts.get(1) else None
    if kind == "u":
        seconds = parts.get(1, 0) + parts.get(2, 0) / 1e9
        return micro_time_text(seconds) if seconds else None
    return parts.get(3, b"").decode() if parts.get(1) else parts.get(2, 0)
