"""Checks of a verdict as people read them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.store.verdict import Bound, Check

NO_DATA = "no data"
_SINGULAR = {"runs": "run", "events": "event", "requests": "request"}
_CHECK_NAMES = {
    "attainment_min": "requests within the SLA, of all offered",
    "completed_ratio_min": "requests completed, of all offered",
    "ttft_ms_p95_max": "TTFT, 95th percentile",
    "itl_ms_p95_max": "ITL, 95th percentile",
    "ttft_ms_p50_max": "TTFT, median",
    "ttft_ms_p99_max": "TTFT, 99th percentile",
    "itl_ms_p50_max": "ITL, median",
    "itl_ms_p99_max": "ITL, 99th percentile",
    "e2e_ms_p95_max": "E2E, 95th percentile",
    "gpu_hours_max": "GPU time",
    "recovery_s_max": "recovery after a fault, longest",
    "ttft_ms_p50_difference": "TTFT median, difference between rungs",
    "itl_ms_p50_difference": "ITL median, difference between rungs",
    "attainment_difference": "attainment, difference between rungs",
    "sometimes": "at some instant",
    "never": "at no instant",
    "error": "refused",
    "differences": "requests, decisions and changes of workers that differ",
    "baseline": "worse than the baseline:",
}
_BOUNDS = {Bound.AT_LEAST: "at least", Bound.AT_MOST: "at most", Bound.EQUAL: "exactly"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRow:
    """One expectation."""

    name: str
    key: str
    rung: str
    asked: str
    measured: str
    outcome: str
    note: str


def check_row(check: Check) -> CheckRow:
    """What was asked, what was measured, and whether that is enough."""
    asked, measured = asked_and_measured(check.asked, check.measured, check.unit)
    seed = "" if check.seed is None else f", seed {check.seed}"
    key, space, window = check.name.partition(" ")
    return CheckRow(
        name=f"{_CHECK_NAMES.get(key, key)}{space}{window}",
        key=check.name,
        rung=f"{check.rung}{seed}",
        asked=f"{_BOUNDS[check.bound]} {asked}",
        measured=measured,
        outcome=check.outcome.value,
        note=check.note,
    )


def asked_and_measured(asked: float, measured: float | None, unit: str) -> tuple[str, str]:
    """Two numbers with as many digits as it takes to tell them apart."""
    scale, shown_unit = (1.0, unit) if unit else (100.0, "%")
    if measured is None or math.isnan(measured):
        return _plain(asked * scale, 4, shown_unit), NO_DATA
    for digits in range(4, 16):
        pair = (
            _plain(asked * scale, digits, shown_unit),
            _plain(measured * scale, digits, shown_unit),
        )
        if (pair[0] != pair[1]) == (asked != measured):
            return pair
    return pair


def _plain(value: float, digits: int, unit: str) -> str:
    decimals = digits - 1 - math.floor(math.log10(abs(value))) if value else 0
    text = f"{value:,.{max(decimals, 0)}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return f"{text} {_SINGULAR.get(unit, unit) if text == '1' else unit}"
