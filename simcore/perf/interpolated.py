"""A step timer that interpolates between known step times.

A decode step of ``r`` requests is a line in the summed context: ``base(r) + slope(r) *
context``. Base and slope are interpolated in ``r``; below the smallest known ``r`` both stay
as they are, above the largest one the base goes on in a straight line.

A step with prompt chunks of ``n`` new after ``p`` earlier tokens costs

    linear(sum of n + r) + sum(pair * n * (p + n / 2) + excess(n, p)) + growth(r) + slope * context

and at least ``floor``. ``linear`` is what a lone prompt costs without its attention,
interpolated in tokens and prolonged in a straight line; ``pair`` is the cost of one pair of
tokens, ``excess`` what is known beyond it, zero where no prompt with a past is known;
``growth`` is what ``r`` requests cost more than the smallest known number. ``floor`` is the
cheapest known prompt step: a host that launches kernels one by one is hidden behind the GPU
above it. A lone chunk at a known point costs exactly what is known.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from contracts.errors import InvariantError
from contracts.hardware import Evidence
from contracts.ports import DecodeCost, PrefillChunk
from contracts.units import s_to_fs


class Line:
    """Straight pieces through points.

    Args:
        points: value by place, at least one; places at least 0.
        tail: slope after the last point; ``None`` goes on as the last piece does, but never
            down, and stays level after a single point.
    """

    def __init__(self, points: Mapping[float, float], tail: float | None = None) -> None:
        if not points:
            raise InvariantError("a line needs a point")
        self.places = sorted(points)
        self.values = [points[place] for place in self.places]
        if tail is None:
            tail = 0.0
            if len(self.places) > 1:
                rise = self.values[-1] - self.values[-2]
                tail = max(0.0, rise / (self.places[-1] - self.places[-2]))
        self._tail = tail

    def at(self, place: float) -> float:
        """The value; level before the first point."""
        places, values = self.places, self.values
        right = bisect_right(places, place)
        if right == 0:
            return values[0]
        left = right - 1
        passed = place - places[left]
        if right == len(places):
            return values[left] + self._tail * passed
        return values[left] + (values[right] - values[left]) * (
            passed / (places[right] - places[left])
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCosts:
    """What is known; seconds, see the module.

    Attributes:
        base_s: of decode steps by requests.
        slope_s: for each token of context, by requests.
        linear_s: of prompt steps by tokens.
        floor_s: the cheapest prompt step.
        pair_s: for each pair of a new token and one that it attends to.
        excess_s: by past tokens, for each new token; one line for each number of new tokens.
    """

    base_s: Line
    slope_s: Line
    linear_s: Line
    floor_s: float
    pair_s: float
    excess_s: Mapping[float, Line]


class InterpolatedTimer:
    """Answers :class:`contracts.ports.RatedStepTimer`.

    Args:
        costs: what is known.
        evidence: where it comes from.
        error_ratio: expected relative error of a step (0-1), two thirds of steps.
    """

    def __init__(self, costs: StepCosts, *, evidence: Evidence, error_ratio: float) -> None:
        self._costs = costs
        self._evidence = evidence
        self._error_ratio = error_ratio
        self._past_tokens = sorted(costs.excess_s)
        self._smallest_base_s = costs.base_s.values[0]
        self._decode_memo: dict[int, DecodeCost] = {}
        self._shared_memo: dict[tuple[int, int], float] = {}

    @property
    def evidence(self) -> Evidence:
        """Whether the times are measured, calibrated or estimated."""
        return self._evidence

    @property
    def error_ratio(self) -> float:
        """Expected relative error of a step (0-1), two thirds of steps."""
        return self._error_ratio

    def decode_cost(self, requests: int) -> DecodeCost:
        """See :class:`contracts.ports.StepTimer`."""
        cost = self._decode_memo.get(requests)
        if cost is None:
            cost = self._decode_memo[requests] = DecodeCost(
                s_to_fs(self._costs.base_s.at(requests)),
                s_to_fs(max(0.0, self._costs.slope_s.at(requests))),
            )
        return cost

    def mixed_step_fs(
        self, requests: int, context_tokens: int, chunks: Sequence[PrefillChunk]
    ) -> int:
        """See :class:`contracts.ports.StepTimer`."""
        cost = self.decode_cost(requests)
        if not chunks:
            return cost.base_fs + cost.slope_fs * context_tokens
        tokens, attention_s, pair_s = 0, 0.0, self._costs.pair_s
        for new, past in chunks:
            tokens += new
            attention_s += pair_s * new * (past + new / 2)
            if past and self._past_tokens:
                attention_s += new * self._excess_s(new, past)
        step_s = self._shared_s(requests, tokens) + attention_s
        decode_fs = cost.slope_fs * context_tokens if requests else 0
        return max(s_to_fs(step_s) + decode_fs, s_to_fs(self._costs.floor_s))

    def _shared_s(self, requests: int, tokens: int) -> float:
        """What all tokens of the step share, and what each request adds."""
        cost = self._shared_memo.get((requests, tokens))
        if cost is None:
            cost = self._costs.linear_s.at(tokens + requests)
            if requests:
                cost += max(0.0, self._costs.base_s.at(requests) - self._smallest_base_s)
            self._shared_memo[requests, tokens] = cost
        return cost

    def _excess_s(self, new: int, past: int) -> float:
        """For each new token; between two known numbers of new tokens a straight line."""
        known = self._past_tokens
        right = bisect_right(known, new)
        if right == 0 or right == len(known):
            return self._costs.excess_s[known[max(0, right - 1)]].at(past)
        low, high = known[right - 1], known[right]
        first, second = self._costs.excess_s[low].at(past), self._costs.excess_s[high].at(past)
        return first + (second - first) * ((new - low) / (high - low))
