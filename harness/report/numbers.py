"""Numbers as people read them: few digits, units, and ``no data`` instead of a fake zero."""

from __future__ import annotations

import math
import re

from harness.store.in_words import NO_DATA


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
    found = re.fullmatch(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z", text)
    return "{}-{}-{} {}:{}:{} UTC".format(*found.groups()) if found else text


def difference(ratio: float | None) -> str:
    """A signed relative difference: ``+3.1 %``."""
    if ratio is None or math.isnan(ratio):
        return NO_DATA
    return f"{ratio * 100:+.1f} %"
