"""Attention ranks that step together: a step lasts as long as that of its slowest rank."""

from __future__ import annotations

from collections.abc import Sequence


def slowest_line(lines: Sequence[tuple[int, int]]) -> tuple[int, int, int | None]:
    """The slowest of several linearly growing step times, and how long it stays that.

    Args:
        lines: (first, growth) in femtoseconds for each rank: step k lasts
            ``first + growth * k``; at least one.

    Returns:
        First and growth of the line on top, and the number of steps until another one
        is above it, ``None`` when that never happens.
    """
    first, growth = max(lines)
    valid: int | None = None
    for other_first, other_growth in lines:
        if other_growth > growth:
            steps = (first - other_first) // (other_growth - growth) + 1
            valid = steps if valid is None else min(valid, steps)
    return first, growth, valid
