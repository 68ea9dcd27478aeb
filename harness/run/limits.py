"""Bounds on requests: over the whole run, and over windows around its faults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from contracts.records import RequestTable, RunRecord
from contracts.sla import SlaTarget
from contracts.units import NS_PER_S
from harness.scenario import Limits, When, WindowExpectation
from harness.store import Bound, RungSummary, summarise

_RATIOS = {"attainment_min": "attainment_ratio", "completed_ratio_min": "completed_ratio"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One bound and what was measured.

    Attributes:
        missing: why nothing was measured; empty when something was.
        lost: nothing was measured because something did not heal, which is a failure.
    """

    name: str
    bound: Bound
    asked: float
    value: float | None
    unit: str
    missing: str = ""
    lost: bool = False


def measured(table: RequestTable, limits: Limits, sla: SlaTarget) -> Iterator[Measured]:
    """Every bound that is asked for, measured over a table."""
    asked = limits.asked()
    summary = summarise(table, sla) if asked else None
    for name, wanted in asked.items():
        lower = name in _RATIOS
        yield Measured(
            name=name,
            bound=Bound.AT_LEAST if lower else Bound.AT_MOST,
            asked=wanted,
            value=None if summary is None else _value(name, summary),
            unit="" if lower else "ms",
        )


def _value(name: str, summary: RungSummary) -> float | None:
    """``ttft_ms_p95_max`` is the p95 of ``ttft_ms``."""
    if name in _RATIOS:
        ratio: float | None = getattr(summary, _RATIOS[name])
        return ratio
    metric, quantile = name.removesuffix("_max").rsplit("_", 1)
    quantiles = getattr(summary, metric)
    return None if quantiles is None else float(getattr(quantiles, quantile))


def in_window(record: RunRecord, window: WindowExpectation, sla: SlaTarget) -> Iterator[Measured]:
    """Every bound of a window, measured over the requests that arrive within it."""
    bounds = _bounds_s(record, window)
    for name, asked in window.asked().items():
        if bounds is None:
            never = ", ".join(f.kind for f in record.faults if f.recovered_at_s is None)
            text = f"never healed: {never}" if never else "no fault struck"
            yield Measured(
                name=name, bound=Bound.AT_MOST, asked=asked, value=None, unit="",
                missing=text, lost=bool(never),
            )  # fmt: skip
    if bounds is not None:
        yield from measured(_rows(record.table, *bounds), window, sla)


def _bounds_s(record: RunRecord, window: WindowExpectation) -> tuple[float, float] | None:
    """First and last second of a window; ``None`` when a fault that it needs is missing."""
    low, high = 0.0, float("inf")
    if window.when is not When.ALWAYS:
        if not record.faults:
            return None
        struck_s = min(fault.at_s for fault in record.faults)
        healed = [fault.recovered_at_s for fault in record.faults]
        healed_s = max((at_s for at_s in healed if at_s is not None), default=None)
        if None in healed or healed_s is None:
            healed_s = None
        if window.when is When.BEFORE:
            high = struck_s
        elif window.when is When.DURING:
            low, high = struck_s, float("inf") if healed_s is None else healed_s
        elif healed_s is None:
            return None
        else:
            low = healed_s + window.within_s
    low = max(low, window.from_s or 0.0)
    return low, min(high, float("inf") if window.to_s is None else window.to_s)


def _rows(table: RequestTable, low_s: float, high_s: float) -> RequestTable:
    arrival_s = table.arrival_ns / NS_PER_S
    chosen = (arrival_s >= low_s) & (arrival_s < high_s)
    columns: dict[str, Any] = {
        each.name: getattr(table, each.name)[np.flatnonzero(chosen)] for each in fields(table)
    }
    return RequestTable(**columns)
