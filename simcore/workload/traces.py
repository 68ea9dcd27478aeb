"""Trace formats: Mooncake JSON lines and Azure LLM CSV.

The parsers take lines, not files, so the simulator stays free of I/O. Every error
carries the number of the offending line.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable

import numpy as np

from contracts.errors import InputError
from contracts.units import NS_PER_MS
from contracts.workload import Workload

_AZURE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


class _Rows:
    """Collects checked rows of a trace."""

    def __init__(self, source: str, limit: int | None) -> None:
        self._source = source
        self._limit = limit
        self._arrival_ns: list[int] = []
        self._isl: list[int] = []
        self._osl: list[int] = []

    @property
    def full(self) -> bool:
        """The limit is reached."""
        return self._limit is not None and len(self._isl) >= self._limit

    def add(self, line: int, arrival_ns: int, isl: int, osl: int) -> None:
        if isl < 1 or osl < 1:
            raise self.error(line, "lengths must be at least one token", f"{isl} and {osl}")
        if self._arrival_ns and arrival_ns < self._arrival_ns[-1]:
            raise self.error(line, "timestamps must not decrease", f"{arrival_ns} ns")
        self._arrival_ns.append(arrival_ns)
        self._isl.append(isl)
        self._osl.append(osl)

    def error(self, line: int, message: str, value: str) -> InputError:
        return InputError(message, source=self._source, path=f"line {line}", value=value)

    def workload(self, speed: float) -> Workload:
        if not speed > 0:
            raise InputError(
                "must be positive", source=self._source, path="speed", value=str(speed)
            )
        arrival_ns = np.array(self._arrival_ns, dtype=np.int64)
        if len(arrival_ns):
            arrival_ns -= arrival_ns[0]
        return Workload(
            arrival_ns=np.round(arrival_ns / speed).astype(np.int64),
            isl=np.array(self._isl, dtype=np.int64),
            osl=np.array(self._osl, dtype=np.int64),
            source=self._source,
        )


def parse_mooncake(
    lines: Iterable[str], *, source: str, limit: int | None = None, speed: float = 1.0
) -> Workload:
    """Read a Mooncake trace: JSON objects with ``timestamp`` (ms) and token lengths.

    The first request is moved to time zero; ``speed`` 2 halves all gaps. Prefix block
    ids are accepted and not used.

    Raises:
        InputError: a malformed or unsorted line (with its number), or an empty trace.
    """
    rows = _Rows(source, limit)
    for number, text in enumerate(lines, start=1):
        if rows.full:
            break
        if not text.strip():
            continue
        try:
            entry = json.loads(text)
        except json.JSONDecodeError as error:
            raise rows.error(number, f"not a JSON object: {error.msg}", text[:60]) from error
        if not isinstance(entry, dict):
            raise rows.error(number, "not a JSON object", text[:60])
        timestamp_ms, isl, osl = (
            _number(rows, number, entry, key)
            for key in ("timestamp", "input_length", "output_length")
        )
        rows.add(number, round(timestamp_ms * NS_PER_MS), int(isl), int(osl))
    return rows.workload(speed)


def parse_azure(
    lines: Iterable[str], *, source: str, limit: int | None = None, speed: float = 1.0
) -> Workload:
    """Read an Azure LLM inference trace: CSV with TIMESTAMP and token counts.

    Timestamps are wall-clock text with up to nanoseconds; the first request is moved to
    time zero.

    Raises:
        InputError: a missing column, a malformed or unsorted line, or an empty trace.
    """
    rows = _Rows(source, limit)
    reader = csv.DictReader(lines)
    missing = [name for name in _AZURE_COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise InputError(
            "columns are missing",
            source=source,
            path="line 1",
            value=", ".join(reader.fieldnames or ()) or "nothing",
            allowed=", ".join(_AZURE_COLUMNS),
        )
    for entry in reader:
        if rows.full:
            break
        number = reader.line_num
        try:
            isl, osl = int(entry["ContextTokens"]), int(entry["GeneratedTokens"])
            arrival_ns = _wall_clock_ns(entry["TIMESTAMP"])
        except (TypeError, ValueError) as error:
            raise rows.error(number, "malformed line", str(list(entry.values()))) from error
        rows.add(number, arrival_ns, isl, osl)
    return rows.workload(speed)


def _number(rows: _Rows, line: int, entry: dict[str, object], key: str) -> float:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise rows.error(line, f"{key} must be a number", repr(value))
    return value


def _wall_clock_ns(text: str) -> int:
    plain = text.strip().removesuffix("Z").removesuffix("+00:00").replace(" ", "T")
    stamp = np.datetime64(plain, "ns")
    if np.isnat(stamp):
        raise ValueError(text)
    return int(stamp.astype(np.int64))
