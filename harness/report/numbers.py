"""Numbers as people read them: few digits, units, and ``no data`` instead of a fake zero."""

from __future__ import annotations

import math
from datetime import datetime

NO_DATA = "no data"


def quantity(value: float | None, unit: str = "") -> str:
    """Three to four significant digits and a unit: ``3.21 ms``, ``45.3 ms``, ``1,230 ms``."""
    if value is None or math.isnan(value):
        return NO_DATA
    size = abs(value)
    if size == 0 or (size >= 100 and math.isfinite(size)):
        text = f"{value:,.0f}"
    else:
        text = f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 1 else f"{value:.3g}"
    return f"{text} {unit}" if unit else text


def setting(value: float, unit: str) -> str:
    """A number that somebody chose, with the digits they gave: ``30 ms``, ``0.25 s``."""
    return f"{value:,.12g} {unit}"


def share(value: float | None) -> str:
    """A ratio in percent; 100 % and 0 % are written only when they are exact."""
    if value is None or math.isnan(value):
        return NO_DATA
    percent = value * 100
    text = f"{percent:.1f}"
    if (text == "100.0" and value < 1) or (text == "0.0" and value > 0):
        text = f"{percent:.3f}"
    return f"{text.removesuffix('.0')} %"


def instant(text: str) -> str:
    """The UTC time of a manifest: ``20260131T120000Z`` as ``2026-01-31 12:00:00 UTC``."""
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").strftime("%Y-%m-%d %H:%M:%S UTC")
    except ValueError:  # another program's
        return text


def difference(ratio: float | None) -> str:
    """A signed relative difference: ``+3.1 %``."""
    if ratio is None or math.isnan(ratio):
        return NO_DATA
    return f"{ratio * 100:+.1f} %"


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
    return f"{text} {unit}"
