"""Step times from a user's table.

The parser takes lines, not files, so the simulator stays free of I/O. Columns of the CSV,
in any order:

===========  =====================================================================
``kind``     ``prefill`` (one prompt, alone in its step) or ``decode``
``tokens``   prefill: new tokens of the step; decode: empty or equal to ``batch``
``batch``    decode: requests of the step; prefill: empty or 1
``context``  prefill: tokens computed before; decode: mean context of a request
``ms``       the step
``tp``       GPUs of the tensor-parallel engine; 1 where the column is missing
===========  =====================================================================

Each ``tp`` needs two prompt lengths without a past and, for one number of requests at
least, two contexts. Where a number of requests has more than two contexts its line is the
one with the least relative error; the others are met exactly. See
:mod:`simcore.perf.interpolated` for what happens between and beyond the points.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from contracts.errors import InputError, UnsupportedError
from contracts.hardware import Evidence
from contracts.plan import EngineSpec
from contracts.ports import TimerFactory
from simcore.perf.interpolated import InterpolatedTimer, Line, StepCosts

COLUMNS = ("kind", "tokens", "batch", "context", "ms")
_OPTIONAL = ("tp",)
# Prompt steps this close to the cheapest one cost as much as it does.
_FLOOR_RATIO = 1.001
# Assumed for a table whose maker does not say better.
TABLE_ERROR_RATIO = 0.15


class PrefillRow(NamedTuple):
    """A step with one prompt chunk and nothing else."""

    tokens: int
    past: int
    seconds: float


class DecodeRow(NamedTuple):
    """A step in which each request decodes one token; ``context`` is their mean."""

    requests: int
    context: float
    seconds: float


class StepTable(NamedTuple):
    """Known steps of one engine; a place that is there twice counts with its median."""

    prefill: tuple[PrefillRow, ...]
    decode: tuple[DecodeRow, ...]


def parse_step_table(lines: Iterable[str], *, source: str) -> dict[int, StepTable]:
    """Read a table; the result is by tensor-parallel size.

    Raises:
        InputError: a missing or unknown column, a malformed line (with its number), or too
            few points for an engine.
    """
    reader = csv.DictReader(lines)
    names = reader.fieldnames or ()
    missing = [name for name in COLUMNS if name not in names]
    unknown = [name for name in names if name not in (*COLUMNS, *_OPTIONAL)]
    if missing or unknown:
        wrong = f"missing {', '.join(missing)}" if missing else f"unknown {', '.join(unknown)}"
        raise InputError(
            "has the wrong columns", source=source, path="line 1", value=wrong,
            allowed=", ".join((*COLUMNS, *_OPTIONAL)),
        )  # fmt: skip
    prefill: dict[int, list[PrefillRow]] = {}
    decode: dict[int, list[DecodeRow]] = {}
    for row in reader:
        cells = _Cells(row, source, reader.line_num)
        tp = cells.whole("tp", least=1, default=1)
        seconds = cells.positive("ms") / 1e3
        kind = cells.text("kind")
        if kind == "prefill":
            cells.expect("batch", 1)
            tokens, past = cells.whole("tokens", least=1), cells.whole("context", default=0)
            prefill.setdefault(tp, []).append(PrefillRow(tokens, past, seconds))
        elif kind == "decode":
            requests = cells.whole("batch", least=1)
            cells.expect("tokens", requests)
            decode.setdefault(tp, []).append(
                DecodeRow(requests, cells.positive("context"), seconds)
            )
        else:
            raise cells.error("is unknown", "kind", "prefill or decode")
    tables = {
        tp: StepTable(tuple(prefill.get(tp, ())), tuple(decode.get(tp, ())))
        for tp in sorted({*prefill, *decode})
    }
    if not tables:
        raise InputError("has no rows", source=source)
    for tp, table in tables.items():
        _check(table, f"{source}: tp {tp}")
    return tables


def table_times(
    tables: Mapping[int, StepTable],
    *,
    evidence: Evidence = Evidence.MEASURED,
    error_ratio: float = TABLE_ERROR_RATIO,
) -> TimerFactory:
    """Step times from tables by tensor-parallel size.

    The result raises :class:`UnsupportedError` for an engine that no table is for: another
    ``tp``, pipeline stages, several attention ranks, or speculation.
    """
    made: dict[int, InterpolatedTimer] = {}

    def timer_for(engine: EngineSpec) -> InterpolatedTimer:
        if engine.tp not in tables:
            raise UnsupportedError(
                f"no step times for tp {engine.tp}; the table has tp "
                + ", ".join(str(tp) for tp in tables)
            )
        refuse_special(engine, "a table")
        if engine.tp not in made:
            made[engine.tp] = InterpolatedTimer(
                table_costs(tables[engine.tp]), evidence=evidence, error_ratio=error_ratio
            )
        return made[engine.tp]

    return timer_for


def refuse_special(engine: EngineSpec, what: str) -> None:
    """Refuse engines whose steps are more than one pass of one rank.

    Raises:
        UnsupportedError: pipeline stages, several attention ranks, or speculation.
    """
    if engine.pp > 1 or engine.dp > 1 or engine.speculation is not None:
        raise UnsupportedError(
            f"step times from {what} hold for one pass of one rank, not for pipeline stages, "
            "several attention ranks or speculation"
        )


def table_costs(table: StepTable) -> StepCosts:
    """Costs through the points of a table.

    Raises:
        InputError: too few points.
    """
    _check(table, "step table")
    base, slope = _decode_lines(table.decode)
    alone = _merged(table.prefill, 0)
    later = {
        past: _merged(table.prefill, past)
        for past in sorted({row.past for row in table.prefill if row.past})
    }
    pair_s = _pair_s(alone, later)
    linear, floor_s = _prompt_line(alone, pair_s, base[min(base)]), min(alone.values())
    excess: dict[float, dict[float, float]] = {}
    for past, steps in later.items():
        for tokens, seconds in steps.items():
            known_s = linear.at(tokens) + pair_s * tokens * (past + tokens / 2)
            more_s = (seconds - known_s) / tokens
            if seconds > floor_s * _FLOOR_RATIO or more_s < 0:
                excess.setdefault(tokens, {0.0: 0.0})[past] = more_s
    return StepCosts(
        base_s=Line(base),
        slope_s=Line(slope, tail=0.0),
        linear_s=linear,
        floor_s=floor_s,
        pair_s=pair_s,
        excess_s={tokens: Line(points, tail=0.0) for tokens, points in excess.items()},
    )


def _prompt_line(alone: Mapping[float, float], pair_s: float, one_s: float) -> Line:
    """Cost of prompt steps without attention, also below the floor of the host.

    Steps on the floor say only what the GPU needs at most. The last of them is kept, below
    it the cost falls to that of a decode step.

    Args:
        alone: seconds of a lone prompt without a past, by tokens.
        pair_s: attention of one pair.
        one_s: a decode step of few requests.
    """
    floor_s = min(alone.values())
    last = max(tokens for tokens, seconds in alone.items() if seconds <= floor_s * _FLOOR_RATIO)
    points = {
        tokens: seconds - pair_s * tokens * tokens / 2
        for tokens, seconds in alone.items()
        if tokens >= last
    }
    if last > 1:
        points[1] = min(one_s, points[last])
    return Line(points)


def largest_pair_s(alone: Mapping[float, float]) -> float:
    """The most that a pair may cost so that no longer prompt costs less without attention."""
    places = sorted(alone)
    rises = [
        2 * (alone[high] - alone[low]) / (high * high - low * low)
        for low, high in pairwise(places)
        if alone[high] > alone[low]
    ]
    return min(rises, default=0.0)


def _pair_s(alone: Mapping[float, float], later: Mapping[int, Mapping[float, float]]) -> float:
    """From prompts with a past; else from the bend of those without one."""
    known, floor_s = Line(alone), min(alone.values()) * _FLOOR_RATIO
    found = [
        (seconds - known.at(tokens)) / (tokens * past)
        for past, steps in later.items()
        for tokens, seconds in steps.items()
        if known.at(tokens) > floor_s
    ]
    if not found:
        places = [tokens for tokens in sorted(alone) if alone[tokens] > floor_s]
        found = [_bend(alone, *places[i : i + 3]) for i in range(len(places) - 2)]
    most = largest_pair_s({t: s for t, s in alone.items() if s > floor_s})
    return min(most, max(0.0, median(found))) if found else 0.0


def _bend(alone: Mapping[float, float], low: float, middle: float, high: float) -> float:
    """Second derivative through three points."""
    first = (alone[middle] - alone[low]) / (middle - low)
    second = (alone[high] - alone[middle]) / (high - middle)
    return 2 * (second - first) / (high - low)


def _merged(rows: Sequence[PrefillRow], past: int) -> dict[float, float]:
    """Seconds by new tokens, for one number of past tokens."""
    found: dict[int, list[float]] = {}
    for row in rows:
        if row.past == past:
            found.setdefault(row.tokens, []).append(row.seconds)
    return {tokens: median(seconds) for tokens, seconds in sorted(found.items())}


def _decode_lines(rows: Sequence[DecodeRow]) -> tuple[dict[float, float], dict[float, float]]:
    """Base and slope by requests."""
    groups: dict[int, list[DecodeRow]] = {}
    for row in rows:
        groups.setdefault(row.requests, []).append(row)
    lines = {
        requests: _line([(row.requests * row.context, row.seconds) for row in group])
        for requests, group in groups.items()
        if len({row.context for row in group}) > 1
    }
    base: dict[float, float] = {}
    slope: dict[float, float] = {}
    for requests, group in sorted(groups.items()):
        if requests in lines:
            base[requests], slope[requests] = lines[requests]
            continue
        near = min(lines, key=lambda known: abs(known - requests))
        total, seconds = requests * group[0].context, median(row.seconds for row in group)
        slope[requests] = min(lines[near][1], seconds / total)
        base[requests] = seconds - slope[requests] * total
    return base, slope


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Base and slope, neither negative, with the least squares of the relative error."""
    weights = [1.0 / (seconds * seconds) for _, seconds in points]
    total = math.fsum(weights)
    mid_x = math.fsum(w * x for w, (x, _) in zip(weights, points, strict=True)) / total
    mid_y = math.fsum(w * y for w, (_, y) in zip(weights, points, strict=True)) / total
    spread = math.fsum(w * (x - mid_x) ** 2 for w, (x, _) in zip(weights, points, strict=True))
    rise = math.fsum(
        w * (x - mid_x) * (y - mid_y) for w, (x, y) in zip(weights, points, strict=True)
    )
    slope = max(0.0, rise / spread)
    if slope * mid_x > mid_y:
        return 0.0, mid_y / mid_x
    return mid_y - slope * mid_x, slope


def _check(table: StepTable, source: str) -> None:
    lengths = {row.tokens for row in table.prefill if row.past == 0}
    if len(lengths) < 2:
        raise InputError(
            "needs prefill rows of two lengths with context 0 at least",
            source=source,
            value=str(len(lengths)),
        )
    contexts: dict[int, set[float]] = {}
    for row in table.decode:
        contexts.setdefault(row.requests, set()).add(row.context)
    most = max((len(found) for found in contexts.values()), default=0)
    if most < 2:
        raise InputError(
            "needs decode rows of one batch with two contexts at least",
            source=source,
            value=str(most),
        )


class _Cells:
    """One line; errors name its number."""

    def __init__(self, row: Mapping[str, str | None], source: str, line: int) -> None:
        self._row, self._source, self._line = row, source, line

    def text(self, name: str) -> str:
        return (self._row.get(name) or "").strip()

    def whole(self, name: str, *, least: int = 0, default: int | None = None) -> int:
        text = self.text(name)
        if not text and default is not None:
            return default
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise self.error("is no such whole number", name, f"at least {least}")
        return value

    def positive(self, name: str) -> float:
        try:
            value = float(self.text(name))
        except ValueError:
            value = math.nan
        if not (value > 0 and math.isfinite(value)):
            raise self.error("is no such number", name, "above 0")
        return value

    def expect(self, name: str, only: int) -> None:
        """Refuse anything but one value, or nothing."""
        if self.text(name) not in ("", str(only)):
            raise self.error("does not fit the kind", name, f"{only} or empty")

    def error(self, message: str, name: str, allowed: str) -> InputError:
        return InputError(
            message,
            source=self._source,
            path=f"line {self._line}: {name}",
            value=repr(self.text(name)),
            allowed=allowed,
        )
