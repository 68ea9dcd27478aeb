"""What a load run hands back: the request table and how far it can be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contracts.records import RequestStatus, RequestTable
from contracts.units import NS_PER_MS
from contracts.workload import IntArray, Workload
from profiler.load.stream import NEVER

DISPATCH_SHARE_OF_TTFT = 0.05
DISPATCH_LIMIT_NS_MIN = 20 * NS_PER_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadProgress:
    """How far a load run is; ``ended`` counts completed, failed and timed-out requests."""

    total: int
    sent: int
    ended: int
    completed: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadResult:
    """Result of one load run.

    Attributes:
        table: times in undilated nanoseconds after the first scheduled instant. The
            client cannot see retries and preemptions, both are -1.
        dispatch_delay_ns: shape (n,), wall-clock nanoseconds from the scheduled to the
            actual send; of a request that could not be sent, until that was known.
        dispatch_limit_ns: the 99th percentile of the delay must stay at or below this.
        saturated: it did not, or the client ran out of resources: latencies then say
            more about the client than about the server.
        tokens: shape (n,), content chunks received for each request.
        tokens_received: their sum.
        tokens_wanted: output tokens that the workload asked for.
        failures: requests that did not complete, by reason.
        examples: one full message for each reason.
        token_ns: undilated instants of the content chunks of each request, if they were kept.
    """

    table: RequestTable
    dispatch_delay_ns: IntArray
    dispatch_limit_ns: int
    saturated: bool
    tokens: IntArray
    tokens_received: int
    tokens_wanted: int
    failures: dict[str, int]
    examples: dict[str, str]
    token_ns: tuple[IntArray, ...] = ()

    @property
    def dispatch_delay_ms_p99(self) -> float:
        """99th percentile of the dispatch delay, wall-clock milliseconds."""
        return float(np.percentile(self.dispatch_delay_ns, 99)) / NS_PER_MS


class LoadRecorder:
    """Collects what happens to each request, in wall-clock nanoseconds."""

    def __init__(self, workload: Workload, speed: float) -> None:
        count = len(workload)
        self._workload = workload
        self._speed = speed
        self.start_ns = 0
        self.sent = 0
        self.ended = 0
        self.completed = 0
        self.client_exhausted = False
        self._due_ns: dict[int, int] = {}
        self._token_ns: dict[int, Sequence[int]] = {}
        self._delay_ns = np.zeros(count, dtype=np.int64)
        self._first_ns = np.full(count, NEVER, dtype=np.int64)
        self._finish_ns = np.full(count, NEVER, dtype=np.int64)
        self._tokens = np.zeros(count, dtype=np.int64)
        self._status = np.full(count, RequestStatus.UNFINISHED.value, dtype="<U10")
        self._failures = Counter[str]()
        self._examples: dict[str, str] = {}

    def scheduled_ns(self, index: int) -> int:
        """Wall-clock instant at which a request is due."""
        if index in self._due_ns:
            return self._due_ns[index]
        return self.start_ns + round(int(self._workload.arrival_ns[index]) / self._speed)

    def reschedule(self, index: int, at_ns: int) -> None:
        """A request of a closed loop is due at this wall-clock instant."""
        self._due_ns[index] = at_ns

    def on_sent(self, index: int, at_ns: int) -> None:
        """The request left, or the attempt to send it was given up."""
        self._delay_ns[index] = max(at_ns - self.scheduled_ns(index), 0)
        self.sent += 1

    def on_end(
        self,
        index: int,
        status: RequestStatus,
        tokens: tuple[int, int, int],
        reason: str,
        times_ns: Sequence[int] = (),
    ) -> None:
        """The request ended.

        Args:
            index: position of the request in the workload.
            status: how it ended.
            tokens: their number, and the instants of the first and the last one
                (``NEVER`` if there was none).
            reason: category of the failure, then optionally a colon and details.
            times_ns: instant of every token, if they are kept.
        """
        count, first_ns, last_ns = tokens
        self._tokens[index] = count
        self._first_ns[index] = first_ns
        self._token_ns[index] = times_ns
        self._status[index] = status.value
        self.ended += 1
        if status is RequestStatus.COMPLETED:
            self.completed += 1
            self._finish_ns[index] = last_ns
            return
        category = reason.partition(": ")[0]
        self._failures[category] += 1
        self._examples.setdefault(category, reason)

    def progress(self) -> LoadProgress:
        """Counts so far."""
        return LoadProgress(
            total=len(self._workload), sent=self.sent, ended=self.ended, completed=self.completed
        )

    def result(self) -> LoadResult:
        """Everything collected, converted to undilated time."""
        table = RequestTable(
            arrival_ns=self._arrivals(),
            isl=self._workload.isl,
            osl=self._workload.osl,
            first_token_ns=self._undilated(self._first_ns),
            finish_ns=self._undilated(self._finish_ns),
            status=self._status,
            retries=np.full(len(self._workload), NEVER, dtype=np.int64),
            preemptions=np.full(len(self._workload), NEVER, dtype=np.int64),
        )
        limit_ns = self._limit_ns(table)
        late = float(np.percentile(self._delay_ns, 99)) > limit_ns
        return LoadResult(
            table=table,
            dispatch_delay_ns=self._delay_ns,
            dispatch_limit_ns=limit_ns,
            saturated=late or self.client_exhausted,
            tokens=self._tokens,
            tokens_received=int(self._tokens.sum()),
            tokens_wanted=int(self._workload.osl.sum()),
            failures=dict(sorted(self._failures.items())),
            examples=self._examples,
            token_ns=tuple(
                self._undilated(np.asarray(self._token_ns.get(index, ()), dtype=np.int64))
                for index in range(len(self._workload))
            ),
        )

    def _arrivals(self) -> IntArray:
        if not self._due_ns:
            return self._workload.arrival_ns
        due_ns = np.array(
            [self.scheduled_ns(index) for index in range(len(self._workload))], dtype=np.int64
        )
        return np.maximum(self._undilated(due_ns), 0)

    def _undilated(self, at_ns: IntArray) -> IntArray:
        since_start = np.rint((at_ns - self.start_ns) * self._speed).astype(np.int64)
        return np.where(at_ns == NEVER, NEVER, since_start)

    def _limit_ns(self, table: RequestTable) -> int:
        got_token = table.first_token_ns >= 0
        if not got_token.any():
            return DISPATCH_LIMIT_NS_MIN
        ttft_ns = (table.first_token_ns - table.arrival_ns)[got_token] / self._speed
        return max(DISPATCH_LIMIT_NS_MIN, round(DISPATCH_SHARE_OF_TTFT * float(np.median(ttft_ns))))
