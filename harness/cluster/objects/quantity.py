"""Kubernetes quantities: ``500m``, ``2Gi``, ``8``."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

_UNITS = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}
_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)([A-Za-z]*)")


def parse_quantity(value: object) -> Decimal:
    """The number that a quantity stands for.

    Raises:
        ValueError: the text is no quantity.
    """
    matched = _FORM.fullmatch(str(value))
    if matched is None or matched[2] not in _UNITS:
        raise ValueError(f"{value!r} is no quantity")
    try:
        return Decimal(matched[1]) * _UNITS[matched[2]]
    except InvalidOperation as error:
        raise ValueError(f"{value!r} is no quantity") from error


def quantity_text(value: Decimal) -> str:
    """A quantity in plain or milli units."""
    if value == value.to_integral_value():
        return str(int(value))
    return f"{int(value * 1000)}m"
