"""Traces of one's own: CSV or JSON lines under the names that this project uses.

========== ======== ===========================================================
column     needed   meaning
========== ======== ===========================================================
arrival_s  one of   seconds since any instant
timestamp_ms  both  milliseconds since any instant
isl        yes      prompt tokens
osl        yes      output tokens
session    no       number of the session that the request belongs to
priority   no       whole number, lower is served first
adapter    no       LoRA adapter, empty for the base model
hash_ids   no       ids of the prompt's blocks, each for the prompt up to the
                    block's end; a JSON list, in CSV numbers apart by blanks
========== ======== ===========================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from contracts.errors import InputError
from contracts.units import NS_PER_MS, NS_PER_S
from contracts.workload import Workload
from simcore.workload.rows import TraceRow, TraceRows
from simcore.workload.traces import MOONCAKE_BLOCK_TOKENS, csv_objects, json_objects

_LENGTHS = ("isl", "osl")
_CLOCKS = {"arrival_s": NS_PER_S, "timestamp_ms": NS_PER_MS}
_EXTRAS = ("session", "priority", "adapter", "hash_ids")
_KEYS = frozenset((*_LENGTHS, *_CLOCKS, *_EXTRAS))


def parse_csv(
    lines: Iterable[str],
    *,
    source: str,
    limit: int | None = None,
    speed: float = 1.0,
    block_tokens: int = MOONCAKE_BLOCK_TOKENS,
) -> Workload:
    """Read a CSV trace with the columns listed at the top of this module.

    Raises:
        InputError: a wrong column, a malformed or unsorted line, or an empty trace.
    """
    rows = TraceRows(source, limit, speed)
    entries = csv_objects(rows, lines, source, _LENGTHS, (*_CLOCKS, *_EXTRAS))
    return _collect(rows, ((number, _from_text(rows, number, e)) for number, e in entries),
                    block_tokens)  # fmt: skip


def parse_jsonl(
    lines: Iterable[str],
    *,
    source: str,
    limit: int | None = None,
    speed: float = 1.0,
    block_tokens: int = MOONCAKE_BLOCK_TOKENS,
) -> Workload:
    """Read a trace of JSON objects with the keys listed at the top of this module.

    Raises:
        InputError: an unknown key, a malformed or unsorted line, or an empty trace.
    """
    rows = TraceRows(source, limit, speed)
    return _collect(rows, json_objects(rows, lines, _KEYS), block_tokens)


def _collect(
    rows: TraceRows, entries: Iterator[tuple[int, Mapping[str, Any]]], block_tokens: int
) -> Workload:
    if block_tokens < 1:
        raise InputError("must be positive", path="block_tokens", value=str(block_tokens))
    for number, entry in entries:
        isl = rows.whole(number, "isl", entry.get("isl"))
        adapter = entry.get("adapter", "")
        if not isinstance(adapter, str):
            raise rows.error(number, "adapter must be text", repr(adapter))
        session = rows.whole(number, "session", entry.get("session", -1))
        if session < -1:
            raise rows.error(number, "session must not be negative", str(session))
        ids = entry.get("hash_ids")
        row = TraceRow(
            arrival_ns=_arrival_ns(rows, number, entry),
            isl=isl,
            osl=rows.whole(number, "osl", entry.get("osl")),
            text=rows.blocks(number, ids, isl, block_tokens) if isl > 0 else None,
            priority=rows.whole(number, "priority", entry.get("priority", 0)),
            adapter=adapter,
            session=session,
        )
        rows.add(number, row)
    return rows.workload()


def _arrival_ns(rows: TraceRows, number: int, entry: Mapping[str, Any]) -> int:
    given = [name for name in _CLOCKS if name in entry]
    if len(given) != 1:
        raise rows.error(
            number, "needs either arrival_s or timestamp_ms", " and ".join(given) or "neither"
        )
    name = given[0]
    return round(rows.finite(number, name, entry[name]) * _CLOCKS[name])


def _from_text(rows: TraceRows, number: int, entry: Mapping[str, str]) -> dict[str, Any]:
    """A CSV line as a JSON object would have it; empty optional fields are left out."""
    found: dict[str, Any] = {
        name: text for name, text in entry.items() if text.strip() or name not in _EXTRAS
    }
    if "hash_ids" in found:
        try:
            found["hash_ids"] = [int(part) for part in found["hash_ids"].split()]
        except ValueError as error:
            raise rows.error(
                number, "hash_ids must be whole numbers", repr(entry["hash_ids"])[:60]
            ) from error
    return found
