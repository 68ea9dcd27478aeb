"""The frontend's counters under Dynamo's names, and totals that survive restarts.

Names are those of Dynamo's frontend (``dynamo_frontend_*``). Arrivals are the counter of
started requests where there is one (1.6), else finished ones plus those in flight: the count
of finished requests alone would hide demand while a deployment is overloaded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from contracts.errors import TransientError
from contracts.observation import Counters
from planner.adapters.traffic.exposition import Sample
from planner.adapters.traffic.source import Target

PREFIX = "dynamo_frontend_"
STARTED = PREFIX + "requests_started_total"
FINISHED = PREFIX + "requests_total"
IN_FLIGHT = PREFIX + "inflight_requests"
INPUT, OUTPUT = PREFIX + "input_sequence_tokens", PREFIX + "output_sequence_tokens"
TTFT, ITL = PREFIX + "time_to_first_token_seconds", PREFIX + "inter_token_latency_seconds"
HISTOGRAMS = (INPUT, OUTPUT, TTFT, ITL)
_ENDS = ("sum", "count")
WANTED = (
    STARTED,
    FINISHED,
    IN_FLIGHT,
    *(f"{name}_{end}" for name in HISTOGRAMS for end in ("sum", "count")),
)
_KNOWN_MAX = 256
_MS_PER_S = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """Totals of one frontend, or differences of two totals; times are seconds.

    ``started`` may fall by a request when it is made of two metrics, of which one is older.
    """

    started: float = 0.0
    finished: float = 0.0
    failed: float = 0.0
    isl_sum: float = 0.0
    isl_count: float = 0.0
    osl_sum: float = 0.0
    osl_count: float = 0.0
    ttft_sum: float = 0.0
    ttft_count: float = 0.0
    itl_sum: float = 0.0
    itl_count: float = 0.0

    def plus(self, other: Amounts, sign: int = 1) -> Amounts:
        """The sum, or with ``sign=-1`` the difference, of each."""
        return Amounts(
            **{f.name: getattr(self, f.name) + sign * getattr(other, f.name) for f in fields(self)}
        )

    def fell_below(self, other: Amounts) -> bool:
        """Whether any total is smaller, as after a restart."""
        names = (f.name for f in fields(self) if f.name != "started")
        return any(getattr(self, name) < getattr(other, name) for name in names)


def read_page(page: Sequence[Sample], model: str | None, source: str) -> Amounts:
    """What one frontend has counted.

    Args:
        page: its samples.
        model: compared in lower case; only counts when the frontend serves several models.
        source: address for messages.

    Raises:
        TransientError: it serves several models and this one is not among them, or a value
            is not finite.
    """
    page = [sample for sample in page if sample.name in WANTED]
    if not all(math.isfinite(sample.value) for sample in page):
        raise TransientError(f"{source}: a counter is not finite", retry_after_s=0.0)
    served = {sample.labels["model"].lower() for sample in page if "model" in sample.labels}
    if len(served) > 1:
        if model is None or model.lower() not in served:
            raise TransientError(
                f"{source} serves {', '.join(sorted(served))}, not {model}", retry_after_s=0.0
            )
        page = [s for s in page if s.labels.get("model", "").lower() in ("", model.lower())]
    names = {sample.name for sample in page}

    def total(name: str, **labels: str) -> float:
        return sum(
            sample.value
            for sample in page
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    finished = total(FINISHED)
    return Amounts(
        started=total(STARTED) if STARTED in names else finished + total(IN_FLIGHT),
        finished=finished,
        failed=total(FINISHED, status="error"),
        **{
            f"{key}_{end}": total(f"{name}_{end}")
            for key, name in (("isl", INPUT), ("osl", OUTPUT), ("ttft", TTFT), ("itl", ITL))
            for end in _ENDS
        },
    )


class Totals:
    """Sums of several processes over time: restarts, arrivals and departures only add.

    What a process had counted before it was first seen does not count, unless it started
    after the last look.
    """

    def __init__(self) -> None:
        self._amounts = Amounts()
        self._started_most = 0
        self._last: dict[str, Amounts] = {}
        self._looked_s: float | None = None

    def add(self, pages: Mapping[str, Amounts], targets: Sequence[Target], now_s: float) -> None:
        """Take in one look at all targets; ``pages`` are by identity."""
        for target in targets:
            page = pages[target.identity]
            self._amounts = self._amounts.plus(page.plus(self._base(target, page), -1))
            self._last.pop(target.identity, None)
            self._last[target.identity] = page
        for identity in list(self._last)[: max(0, len(self._last) - _KNOWN_MAX)]:
            del self._last[identity]
        self._looked_s = now_s

    def counters(self) -> Counters:
        """Under the names of observations; counts are rounded, times are milliseconds."""
        amounts = self._amounts
        self._started_most = max(self._started_most, round(amounts.started))
        return Counters(
            requests_started=self._started_most,
            requests_completed=round(amounts.osl_count),
            requests_failed=round(amounts.failed),
            isl_tokens_started=round(amounts.isl_sum),
            isl_count=round(amounts.isl_count),
            osl_tokens_completed=round(amounts.osl_sum),
            ttft_ms_sum=amounts.ttft_sum * _MS_PER_S,
            ttft_count=round(amounts.ttft_count),
            itl_ms_sum=amounts.itl_sum * _MS_PER_S,
            itl_count=round(amounts.itl_count),
        )

    def _base(self, target: Target, page: Amounts) -> Amounts:
        last = self._last.get(target.identity)
        if last is not None:
            return Amounts() if page.fell_below(last) else last
        begun = target.started_s
        if begun is None or self._looked_s is None or begun <= self._looked_s:
            return page
        return Amounts()
