"""Per-request results, as columns. Simulator and load generator fill the same table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from contracts.observation import WorkerView
from contracts.units import NS_PER_MS
from contracts.workload import IntArray


class RequestStatus(StrEnum):
    """How a request ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    UNFINISHED = "unfinished"
    TIMED_OUT = "timed_out"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RequestTable:
    """One row for each offered request, in order of arrival.

    Times are nanoseconds on the rung's (undilated) clock; ``first_token_ns`` and
    ``finish_ns`` are -1 in rows where that never happened. Latencies count from
    ``arrival_ns``, the scheduled send time.

    Attributes:
        status: shape (n,), values of :class:`RequestStatus`.
        retries: shape (n,), how often the request was sent to another worker after a loss.
        preemptions: shape (n,), recompute preemptions inside engines (-1: not visible).
    """

    arrival_ns: IntArray
    isl: IntArray
    osl: IntArray
    first_token_ns: IntArray
    finish_ns: IntArray
    status: npt.NDArray[np.str_]
    retries: IntArray
    preemptions: IntArray

    def __len__(self) -> int:
        return len(self.arrival_ns)

    @property
    def completed(self) -> npt.NDArray[np.bool_]:
        """Rows that ended well."""
        return np.asarray(self.status == RequestStatus.COMPLETED.value)

    @property
    def ttft_ms(self) -> npt.NDArray[np.float64]:
        """Time to first token; NaN where there was none."""
        ttft = (self.first_token_ns - self.arrival_ns) / NS_PER_MS
        return np.where(self.first_token_ns >= 0, ttft, np.nan)

    @property
    def e2e_ms(self) -> npt.NDArray[np.float64]:
        """Arrival to last token; NaN where it did not complete."""
        e2e = (self.finish_ns - self.arrival_ns) / NS_PER_MS
        return np.where(self.completed, e2e, np.nan)

    @property
    def itl_ms(self) -> npt.NDArray[np.float64]:
        """Mean gap between output tokens; NaN for unfinished requests and single tokens."""
        gaps = np.maximum(self.osl - 1, 1)
        itl = (self.finish_ns - self.first_token_ns) / gaps / NS_PER_MS
        return np.where(self.completed & (self.osl > 1), itl, np.nan)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRecord:
    """What one injected fault did; seconds on the rung's undilated clock.

    Attributes:
        kind: name of the fault, for example ``worker_crash``.
        target: what it hit: worker ids joined by commas, ``link``, ``router`` or a node.
        requests_hit: requests the target held when the fault struck; transfers of a link.
        requests_retried: of those, sent again (or held until that is possible).
        requests_failed: of those, given up.
        recovered_at_s: when every pool had as many ready workers as before a loss, or when
            a fault with a duration was over; ``None`` if never.
    """

    kind: str
    target: str
    at_s: float
    requests_hit: int
    requests_retried: int
    requests_failed: int
    recovered_at_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenGaps:
    """How long requests waited between two tokens, over all requests of a run.

    A request-mean ITL hides the pauses that a reader notices; these are the single gaps.
    Rows are in order of length; those without a gap are left out.

    Attributes:
        low_ms: shape (n,), lower edge of a bucket.
        high_ms: shape (n,), upper edge, at most 1/128 above the lower one.
        gaps: shape (n,), how many gaps lie in it.
    """

    low_ms: npt.NDArray[np.float64]
    high_ms: npt.NDArray[np.float64]
    gaps: IntArray

    def percentile_ms(self, percent: float) -> float:
        """The gap that ``percent`` per cent of all do not exceed (0-100); NaN without any."""
        if len(self.gaps) == 0:
            return float("nan")
        rank = percent / 100.0 * float(self.gaps.sum())
        at = min(int(np.searchsorted(np.cumsum(self.gaps), rank)), len(self.gaps) - 1)
        return float(self.low_ms[at] + self.high_ms[at]) / 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunRecord:
    """Everything one rung leaves behind.

    Attributes:
        table: the requests.
        worker_events: every state change of every worker, in order of time.
        faults: every injected fault that found a target.
        digest: hex digest of the event sequence; ``None`` on a wall clock.
        duration_s: undilated time from the first to the last event.
        token_gaps: single gaps inside engines, that of a hand-over between workers left
            out; ``None`` where nobody measured them.
    """

    table: RequestTable
    worker_events: tuple[WorkerView, ...]
    faults: tuple[FaultRecord, ...]
    digest: str | None
    duration_s: float
    token_gaps: TokenGaps | None = None
