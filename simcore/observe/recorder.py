"""Collects one row for each request in compact columns, and the running totals."""

from __future__ import annotations

from array import array

import numpy as np

from contracts.errors import InvariantError
from contracts.observation import Counters
from contracts.records import RequestStatus, RequestTable
from contracts.units import NS_PER_MS
from contracts.workload import RequestSpec

_STATUSES = tuple(RequestStatus)
_OPEN = _STATUSES.index(RequestStatus.UNFINISHED)


class Recorder:
    """Rows in order of arrival; every row must end exactly once."""

    def __init__(self) -> None:
        self._columns = {
            name: array("q")
            for name in ("arrival", "isl", "osl", "first", "finish", "retries", "preemptions")
        }
        self._status = array("b")
        self._started = self._completed = self._failed = 0
        self._isl_started = self._osl_completed = 0
        self._ttft_ns_sum = self._ttft_count = 0
        self._itl_ms_sum = 0.0
        self._itl_count = 0

    def __len__(self) -> int:
        return len(self._status)

    @property
    def open_requests(self) -> int:
        """Requests that have arrived and not ended."""
        return self._started - self._completed - self._failed

    def arrived(self, request: RequestSpec) -> int:
        """Open a row and return its number."""
        columns = self._columns
        columns["arrival"].append(request.arrival_ns)
        columns["isl"].append(request.isl)
        columns["osl"].append(request.osl)
        columns["first"].append(-1)
        columns["finish"].append(-1)
        columns["retries"].append(0)
        columns["preemptions"].append(0)
        self._status.append(_OPEN)
        self._started += 1
        self._isl_started += request.isl
        return len(self._status) - 1

    def first_token(self, row: int, at_ns: int) -> None:
        """The first output token became visible."""
        self._columns["first"][row] = at_ns
        self._ttft_ns_sum += at_ns - self._columns["arrival"][row]
        self._ttft_count += 1

    def retried(self, row: int) -> None:
        """The request was sent to another worker."""
        self._columns["retries"][row] += 1

    def ended(self, row: int, status: RequestStatus, at_ns: int) -> None:
        """Close a row.

        Raises:
            InvariantError: it was closed before.
        """
        if self._status[row] != _OPEN:
            raise InvariantError(f"request in row {row} ended twice")
        columns = self._columns
        self._status[row] = _STATUSES.index(status)
        columns["finish"][row] = at_ns
        if status is not RequestStatus.COMPLETED:
            self._failed += 1
            return
        self._completed += 1
        osl = columns["osl"][row]
        self._osl_completed += osl
        if osl > 1:
            self._itl_ms_sum += (at_ns - columns["first"][row]) / (osl - 1) / NS_PER_MS
            self._itl_count += 1

    def add_preemptions(self, row: int, preemptions: int) -> None:
        """Count preemptions that a request suffered in an engine it has left."""
        self._columns["preemptions"][row] += preemptions

    def counters(self) -> Counters:
        """Totals so far."""
        return Counters(
            requests_started=self._started,
            requests_completed=self._completed,
            requests_failed=self._failed,
            isl_tokens_started=self._isl_started,
            osl_tokens_completed=self._osl_completed,
            ttft_ms_sum=self._ttft_ns_sum / NS_PER_MS,
            ttft_count=self._ttft_count,
            itl_ms_sum=self._itl_ms_sum,
            itl_count=self._itl_count,
        )

    def table(self) -> RequestTable:
        """All rows as numpy columns."""
        columns = {name: np.array(values, dtype=np.int64) for name, values in self._columns.items()}
        names = np.array([status.value for status in _STATUSES])
        return RequestTable(
            arrival_ns=columns["arrival"],
            isl=columns["isl"],
            osl=columns["osl"],
            first_token_ns=columns["first"],
            finish_ns=columns["finish"],
            status=names[np.array(self._status, dtype=np.int64)],
            retries=columns["retries"],
            preemptions=columns["preemptions"],
        )
