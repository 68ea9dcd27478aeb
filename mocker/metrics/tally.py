"""One count of a quantity that can be exposed with several sets of buckets."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt


class Tally:
    """Counts by the union of all bounds anybody asks for; half a microsecond a value.

    Args:
        bounds: sets of upper bounds; :meth:`buckets` takes any subset of their union.
    """

    def __init__(self, *bounds: Iterable[float]) -> None:
        self.bounds = tuple(sorted({float(bound) for each in bounds for bound in each}))
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    @property
    def count(self) -> int:
        """Values so far."""
        return sum(self.counts)

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, possibly several times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def observe_all(self, values: npt.NDArray[np.float64]) -> None:
        """Count many values at once; shape (n,)."""
        places = np.searchsorted(self.bounds, values, side="left")
        for place, times in enumerate(np.bincount(places, minlength=len(self.counts)).tolist()):
            if times:
                self.counts[place] += times
        self.total += float(values.sum())

    def buckets(self, bounds: Sequence[float]) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound, as Prometheus wants them."""
        rows, so_far, place = [], 0, 0
        for bound in bounds:
            while place < len(self.bounds) and self.bounds[place] <= bound:
                so_far += self.counts[place]
                place += 1
            rows.append((str(float(bound)), float(so_far)))
        rows.append(("+Inf", float(self.count)))
        return rows
