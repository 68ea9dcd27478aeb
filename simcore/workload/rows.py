"""Checked rows of a trace, and the workload that they make."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from contracts.errors import InputError
from contracts.workload import PromptText, Workload

# One prompt has at most so many tokens; a larger number is a broken trace.
TOKENS_MAX = 10**9
_NS_MAX = 2**62


class TraceRow(NamedTuple):
    """One request of a trace; lengths in tokens."""

    arrival_ns: int
    isl: int
    osl: int
    text: PromptText | None = None
    priority: int = 0
    adapter: str = ""
    session: int = -1
    reasoning_tokens: int = 0


class TraceRows:
    """Collects the rows of one trace and names the line of every wrong one.

    Args:
        source: file name for error messages.
        limit: requests to take, ``None`` for all.
        speed: 2.0 halves every gap between arrivals.

    Raises:
        InputError: the speed or the limit is not positive.
    """

    def __init__(self, source: str, limit: int | None, speed: float) -> None:
        if not (speed > 0 and math.isfinite(speed)):
            raise InputError(
                "must be a positive number", source=source, path="speed", value=str(speed)
            )
        if limit is not None and limit < 1:
            raise InputError("must be positive", source=source, path="limit", value=str(limit))
        self._source = source
        self._limit = math.inf if limit is None else limit
        self._speed = speed
        self._rows: list[TraceRow] = []
        self._last_ns = -_NS_MAX
        self._line = 1

    @property
    def full(self) -> bool:
        """The limit is reached."""
        return len(self._rows) >= self._limit

    def add(self, line: int, row: TraceRow) -> None:
        """Take one row.

        Raises:
            InputError: lengths below one token, or an arrival before the one above.
        """
        self._line = line
        if row.isl < 1 or row.osl < 1:
            raise self.error(line, "lengths must be at least one token", f"{row.isl} and {row.osl}")
        if row.isl > TOKENS_MAX or row.osl > TOKENS_MAX:
            raise self.error(line, "lengths are impossible", f"{row.isl} and {row.osl}")
        if row.arrival_ns < self._last_ns:
            raise self.error(line, "timestamps must not decrease", f"{row.arrival_ns} ns")
        if row.arrival_ns >= _NS_MAX:
            raise self.error(line, "the timestamp is impossible", f"{row.arrival_ns} ns")
        self._last_ns = row.arrival_ns
        self._rows.append(row)

    def error(self, line: int, message: str, value: str) -> InputError:
        """An error that names the line."""
        return InputError(message, source=self._source, path=f"line {line}", value=value)

    def whole(self, line: int, name: str, value: object) -> int:
        """A whole number.

        Raises:
            InputError: it is none.
        """
        if type(value) is int:
            return value
        number = self.finite(line, name, value)
        if number != int(number):
            raise self.error(line, f"{name} must be a whole number", repr(value))
        return int(number)

    def finite(self, line: int, name: str, value: object) -> float:
        """A finite number, also when given as text.

        Raises:
            InputError: it is none.
        """
        try:
            number = float("" if isinstance(value, bool) else value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError) as error:
            raise self.error(line, f"{name} must be a number", repr(value)) from error
        if not math.isfinite(number):
            raise self.error(line, f"{name} must be finite", repr(value))
        return number

    def blocks(self, line: int, ids: object, isl: int, block_tokens: int) -> PromptText | None:
        """The text of a prompt whose blocks have chained ids; ``None`` without any id.

        Raises:
            InputError: not a list of whole non-negative numbers, or too few or many of them.
        """
        if ids is None or ids == []:
            return None
        if not isinstance(ids, list) or set(map(type, ids)) - {int}:
            raise self.error(line, "hash_ids must be a list of whole numbers", repr(ids)[:60])
        if len(ids) != -(-isl // block_tokens):
            raise self.error(
                line,
                f"hash_ids must have one id for each {block_tokens} tokens of the prompt",
                f"{len(ids)} ids for {isl} tokens",
            )
        if min(ids) < 0:
            raise self.error(line, "hash_ids must not be negative", str(min(ids)))
        return PromptText(tuple(ids), (*range(block_tokens, isl, block_tokens), isl))

    def workload(self) -> Workload:
        """The requests, the first one moved to time zero.

        Raises:
            InputError: there is none.
        """
        if not self._rows:
            raise InputError(
                "the trace has no requests", source=self._source, path=f"line {self._line}"
            )
        arrivals, isl, osl, texts, priority, adapters, sessions, reasoning = zip(
            *self._rows, strict=True
        )
        arrival_ns = np.array(arrivals, dtype=np.int64)
        arrival_ns -= arrival_ns[0]
        if self._speed != 1.0:
            arrival_ns = np.round(arrival_ns / self._speed).astype(np.int64)
        return Workload(
            arrival_ns=arrival_ns,
            isl=np.array(isl, dtype=np.int64),
            osl=np.array(osl, dtype=np.int64),
            source=self._source,
            texts=texts if any(text is not None for text in texts) else None,
            priority=np.array(priority, dtype=np.int64) if any(priority) else None,
            adapters=adapters if any(adapters) else None,
            sessions=np.array(sessions, dtype=np.int64) if max(sessions) >= 0 else None,
            reasoning_tokens=np.array(reasoning, dtype=np.int64) if any(reasoning) else None,
        )
