"""A histogram of the gaps between output tokens, and who fills it.

Each power of two is cut into 128 equal buckets (the layout of HdrHistogram), so a
bucket is at most 1/128 as wide as its lower edge and its middle is at most 1/256, 0.4 %,
away from anything in it. All arithmetic is on integers: equal runs give equal histograms
on every machine, in whatever order the gaps come.
"""

from __future__ import annotations

from typing import NamedTuple

from contracts.errors import InvariantError
from simcore.engine.sequence import DecodeSet, Sequence

_BITS = 7
# A percentile is at most this far from the exact order statistic, relatively.
RELATIVE_ERROR = 1 / 2 ** (_BITS + 1)


class GapBucket(NamedTuple):
    """``gaps`` of at least ``low_fs`` and less than ``high_fs`` femtoseconds."""

    low_fs: int
    high_fs: int
    gaps: int


class GapHistogram:
    """Counts gaps between tokens; femtoseconds.

    Attributes:
        count: gaps so far.
        sum_fs: their exact sum.
        min_fs: the shortest, 0 when there is none.
        max_fs: the longest.
    """

    __slots__ = ("_counts", "count", "max_fs", "min_fs", "sum_fs")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.sum_fs = 0
        self.min_fs = 0
        self.max_fs = 0

    def add(self, gap_fs: int, weight: int) -> None:
        """Count ``weight`` gaps of the same length.

        Raises:
            InvariantError: a negative gap or no weight.
        """
        if gap_fs < 0 or weight < 1:
            raise InvariantError(f"{weight} gaps of {gap_fs} fs")
        self._span(gap_fs, gap_fs, weight)
        self.sum_fs += gap_fs * weight
        self._put(_bucket(gap_fs), weight)

    def add_series(self, first_fs: int, growth_fs: int, steps: int, members: int) -> None:
        """Count the gaps of ``steps`` decode steps of ``members`` requests.

        Step k, from 0, is a gap of ``first_fs + k * growth_fs`` for every member. The
        cost is that of the buckets touched, not of the steps.

        Raises:
            InvariantError: a negative gap or growth, no step, or no member.
        """
        if first_fs < 0 or growth_fs < 0 or steps < 1 or members < 1:
            raise InvariantError(f"{steps} steps of {members} from {first_fs} by {growth_fs} fs")
        last_fs = first_fs + growth_fs * (steps - 1)
        self._span(first_fs, last_fs, steps * members)
        self.sum_fs += members * (steps * (first_fs + last_fs) // 2)
        at, last = _bucket(first_fs), _bucket(last_fs)
        done = 0
        while at != last:
            # Steps whose gap is below the upper edge of the bucket.
            below = -(-(_edges(at)[1] - first_fs) // growth_fs)
            self._put(at, (below - done) * members)
            done = below
            at = _bucket(first_fs + growth_fs * done)
        self._put(at, (steps - done) * members)

    def merge(self, other: GapHistogram) -> None:
        """Add all gaps of another histogram."""
        if other.count == 0:
            return
        self._span(other.min_fs, other.max_fs, other.count)
        self.sum_fs += other.sum_fs
        for at, count in other._counts.items():
            self._put(at, count)

    def mean_fs(self) -> float:
        """The exact mean; NaN when there is no gap."""
        return self.sum_fs / self.count if self.count else float("nan")

    def percentile_fs(self, percent: float) -> float:
        """The smallest gap that ``percent`` per cent of all do not exceed.

        At most ``RELATIVE_ERROR`` away from the exact order statistic (nearest rank);
        NaN when there is no gap.

        Raises:
            InvariantError: ``percent`` does not lie between 0 and 100.
        """
        if not 0 <= percent <= 100:
            raise InvariantError(f"percentile {percent}")
        if self.count == 0:
            return float("nan")
        below = 0
        middle = 0.0
        for low_fs, high_fs, gaps in self.buckets():
            below += gaps
            middle = (low_fs + high_fs - 1) / 2
            if below * 100 >= percent * self.count:
                break
        return min(max(middle, float(self.min_fs)), float(self.max_fs))

    def buckets(self) -> list[GapBucket]:
        """All buckets that are not empty, shortest gaps first."""
        return [GapBucket(*_edges(at), self._counts[at]) for at in sorted(self._counts)]

    def _span(self, low_fs: int, high_fs: int, count: int) -> None:
        self.min_fs = low_fs if self.count == 0 else min(self.min_fs, low_fs)
        self.max_fs = max(self.max_fs, high_fs)
        self.count += count

    def _put(self, at: int, count: int) -> None:
        self._counts[at] = self._counts.get(at, 0) + count


class GapMeter:
    """Measures the gaps of one rank from its steps, without touching its members.

    All members had their newest token at the end of the last step in which they decoded,
    except those that joined after it.

    Attributes:
        histogram: all gaps so far.
    """

    __slots__ = ("_decodes", "_joined", "_token_fs", "histogram")

    def __init__(self, decodes: DecodeSet) -> None:
        self.histogram = GapHistogram()
        self._decodes = decodes
        self._joined: list[Sequence] = []
        self._token_fs = 0

    def forget(self, decodes: DecodeSet) -> None:
        """Everything running is lost."""
        self._decodes = decodes
        self._joined = []

    def run(self, start_fs: int, first_fs: int, growth_fs: int, steps: int) -> None:
        """A run of decode steps in which every member took part."""
        end_fs = start_fs + steps * first_fs + growth_fs * (steps * (steps - 1) // 2)
        if not self._joined and self._token_fs == start_fs:
            self.histogram.add_series(first_fs, growth_fs, steps, self._decodes.count)
        else:
            self.step(start_fs + first_fs)
            if steps > 1:
                count = self._decodes.count
                self.histogram.add_series(first_fs + growth_fs, growth_fs, steps - 1, count)
        self._token_fs = end_fs

    def step(self, end_fs: int) -> None:
        """Every member got a token."""
        count = self._decodes.count
        if self._joined:
            for sequence in self._joined:
                self.histogram.add(end_fs - sequence.token_fs, 1)
            count -= len(self._joined)
            self._joined = []
        if count:
            self.histogram.add(end_fs - self._token_fs, count)
        self._token_fs = end_fs

    def token(self, sequence: Sequence, at_fs: int) -> None:
        """A request got a token from the last chunk of its prompt, before it joins."""
        if sequence.token_fs >= 0:
            self.histogram.add(at_fs - sequence.token_fs, 1)
        sequence.token_fs = at_fs

    def join(self, sequence: Sequence) -> None:
        """A request is about to become a member."""
        if self._decodes.count == 0:
            self._token_fs = sequence.token_fs
        elif self._token_fs != sequence.token_fs:
            self._joined.append(sequence)

    def leave(self, sequence: Sequence) -> None:
        """A member is taken out before its end."""
        if sequence in self._joined:
            self._joined.remove(sequence)
        else:
            sequence.token_fs = self._token_fs


def _bucket(gap_fs: int) -> int:
    shift = max(0, gap_fs.bit_length() - _BITS - 1)
    return (shift << _BITS) + (gap_fs >> shift)


def _edges(at: int) -> tuple[int, int]:
    shift = max(0, (at >> _BITS) - 1)
    low = (at - (shift << _BITS)) << shift
    return low, low + (1 << shift)
