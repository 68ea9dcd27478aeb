"""Trace formats of published data sets: Mooncake, Azure, BurstGPT and ServeGen.

The parsers take lines, not files, so the simulator stays free of I/O. Every error
carries the number of the offending line; a column that nobody knows is an error.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from contracts.errors import InputError
from contracts.units import NS_PER_MS, s_to_ns
from contracts.workload import Workload
from simcore.workload.rows import TraceRow, TraceRows

MOONCAKE_BLOCK_TOKENS = 512
_MOONCAKE_KEYS = frozenset(("timestamp", "input_length", "output_length", "hash_ids"))
_AZURE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_BURSTGPT_COLUMNS = ("Timestamp", "Model", "Request tokens", "Response tokens", "Log Type")
_BURSTGPT_OPTIONAL = ("Total tokens", "Session ID", "Elapsed time")
_SERVEGEN_COLUMNS = ("arrival_s", "client_id", "input_tokens", "output_tokens", "reason_ratio")


def parse_mooncake(
    lines: Iterable[str],
    *,
    source: str,
    limit: int | None = None,
    speed: float = 1.0,
    block_tokens: int = MOONCAKE_BLOCK_TOKENS,
) -> Workload:
    """Read a Mooncake trace: JSON objects with ``timestamp`` (ms) and token lengths.

    The first request is moved to time zero; ``speed`` 2 halves all gaps. ``hash_ids``
    stand for blocks of ``block_tokens`` prompt tokens, the last one perhaps partial; each
    id covers the prompt up to the end of its block.

    Raises:
        InputError: a malformed or unsorted line (with its number), or an empty trace.
    """
    if block_tokens < 1:
        raise InputError("must be positive", path="block_tokens", value=str(block_tokens))
    rows = TraceRows(source, limit, speed)
    for number, entry in json_objects(rows, lines, _MOONCAKE_KEYS):
        isl = rows.whole(number, "input_length", entry.get("input_length"))
        osl = rows.whole(number, "output_length", entry.get("output_length"))
        arrival_ms = rows.finite(number, "timestamp", entry.get("timestamp"))
        text = rows.blocks(number, entry.get("hash_ids"), isl, block_tokens) if isl > 0 else None
        rows.add(number, TraceRow(round(arrival_ms * NS_PER_MS), isl, osl, text))
    return rows.workload()


def parse_azure(
    lines: Iterable[str], *, source: str, limit: int | None = None, speed: float = 1.0
) -> Workload:
    """Read an Azure LLM inference trace: CSV with TIMESTAMP and token counts.

    Timestamps are wall-clock text with up to nanoseconds; the first request is moved to
    time zero.

    Raises:
        InputError: a wrong column, a malformed or unsorted line, or an empty trace.
    """
    rows = TraceRows(source, limit, speed)
    for number, entry in csv_objects(rows, lines, source, _AZURE_COLUMNS):
        try:
            arrival_ns = _wall_clock_ns(entry["TIMESTAMP"])
        except ValueError as error:
            raise rows.error(number, "malformed TIMESTAMP", repr(entry["TIMESTAMP"])) from error
        isl = rows.whole(number, "ContextTokens", entry["ContextTokens"])
        osl = rows.whole(number, "GeneratedTokens", entry["GeneratedTokens"])
        rows.add(number, TraceRow(arrival_ns, isl, osl))
    return rows.workload()


def parse_burstgpt(
    lines: Iterable[str], *, source: str, limit: int | None = None, speed: float = 1.0
) -> Workload:
    """Read a BurstGPT trace: CSV with ``Timestamp`` in seconds and token counts.

    Requests without response tokens failed when the trace was taken; they are left out,
    and the source of the workload says how many. Model, log type and further columns do not
    matter to the simulator.

    Raises:
        InputError: a wrong column, a malformed or unsorted line, or an empty trace.
    """
    rows, failed = TraceRows(source, limit, speed), 0
    for number, entry in csv_objects(rows, lines, source, _BURSTGPT_COLUMNS, _BURSTGPT_OPTIONAL):
        osl = rows.whole(number, "Response tokens", entry["Response tokens"])
        if osl == 0:
            failed += 1
            continue
        arrival_s = rows.finite(number, "Timestamp", entry["Timestamp"])
        isl = rows.whole(number, "Request tokens", entry["Request tokens"])
        rows.add(number, TraceRow(s_to_ns(arrival_s), isl, osl))
    workload = rows.workload()
    if failed:
        text = f"{source}, {failed} failed requests of the trace left out"
        workload = replace(workload, source=text)
    return workload


def parse_servegen(
    lines: Iterable[str], *, source: str, limit: int | None = None, speed: float = 1.0
) -> Workload:
    """Read requests sampled by ServeGen: CSV with arrivals in seconds and token counts.

    ``reason_ratio`` is the share of the output that is thinking, empty for models that
    do not think. A ``client_id`` names who sent the request; the simulator treats all
    clients alike.

    Raises:
        InputError: a wrong column, a malformed or unsorted line, or an empty trace.
    """
    rows = TraceRows(source, limit, speed)
    for number, entry in csv_objects(rows, lines, source, _SERVEGEN_COLUMNS):
        osl = rows.whole(number, "output_tokens", entry["output_tokens"])
        ratio = rows.finite(number, "reason_ratio", entry["reason_ratio"] or 0.0)
        if not 0 <= ratio <= 1:
            raise rows.error(number, "reason_ratio must lie between 0 and 1", str(ratio))
        row = TraceRow(
            arrival_ns=s_to_ns(rows.finite(number, "arrival_s", entry["arrival_s"])),
            isl=rows.whole(number, "input_tokens", entry["input_tokens"]),
            osl=osl,
            reasoning_tokens=round(ratio * osl),
        )
        rows.add(number, row)
    return rows.workload()


def json_objects(
    rows: TraceRows, lines: Iterable[str], known: frozenset[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of JSON lines with their line numbers, until ``rows`` is full.

    Raises:
        InputError: not an object, or a key that is not ``known``.
    """
    for number, text in enumerate(lines, start=1):
        if rows.full:
            return
        if not text.strip():
            continue
        try:
            entry = json.loads(text)
        except json.JSONDecodeError as error:
            raise rows.error(number, f"not a JSON object: {error.msg}", text[:60]) from error
        if not isinstance(entry, dict):
            raise rows.error(number, "not a JSON object", text[:60])
        if not entry.keys() <= known:
            unknown = sorted(entry.keys() - known)
            raise rows.error(number, "unknown keys", ", ".join(unknown))
        yield number, entry


def csv_objects(
    rows: TraceRows,
    lines: Iterable[str],
    source: str,
    required: Sequence[str],
    optional: Sequence[str] = (),
) -> Iterator[tuple[int, Mapping[str, str]]]:
    """The lines of a CSV file by column name, with their numbers, until ``rows`` is full.

    Raises:
        InputError: a missing or unknown column, or a line with another number of fields.
    """
    reader = csv.reader(lines)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_columns(header, source, required, optional)
        for fields in reader:
            if rows.full:
                return
            if not fields:
                continue
            if len(fields) != len(header):
                raise rows.error(reader.line_num, "malformed line", ",".join(fields)[:60])
            yield reader.line_num, dict(zip(header, fields, strict=True))
    except csv.Error as error:
        raise rows.error(reader.line_num, f"not a CSV line: {error}", "broken text") from error


def _check_columns(
    header: Sequence[str], source: str, required: Sequence[str], optional: Sequence[str]
) -> None:
    """Refuse a header that lacks a column, repeats one, or has one that nobody knows."""
    allowed = ", ".join((*required, *optional))
    known = {*required, *optional}
    unknown = [name for name in header if name not in known]
    for message, found in (
        ("columns are missing", not set(required) <= set(header)),
        ("unknown columns", bool(unknown)),
        ("a column is given twice", len(set(header)) < len(header)),
    ):
        if found:
            value = ", ".join(unknown if message == "unknown columns" else header)
            raise InputError(
                message, source=source, path="line 1", value=value or "nothing", allowed=allowed
            )


def _wall_clock_ns(text: str) -> int:
    plain = text.strip().removesuffix("Z").removesuffix("+00:00").replace(" ", "T")
    stamp = np.datetime64(plain, "ns")
    if np.isnat(stamp):
        raise ValueError(text)
    return int(stamp.astype(np.int64))
