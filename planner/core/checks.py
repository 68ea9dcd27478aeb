"""Range checks of the frozen configurations."""

from __future__ import annotations

import math

from contracts.errors import InputError


def require(
    name: str, value: float, *, low: float, high: float = math.inf, open_low: bool = False
) -> None:
    """Refuse a number outside its range.

    Raises:
        InputError: not finite or out of range; ``name`` says which.
    """
    above = value > low if open_low else value >= low
    if not (math.isfinite(value) and above and value <= high):
        allowed = f"{'above' if open_low else 'at least'} {low:g}"
        if math.isfinite(high):
            allowed += f" and at most {high:g}"
        raise InputError("is out of range", path=name, value=f"{value:g}", allowed=allowed)
