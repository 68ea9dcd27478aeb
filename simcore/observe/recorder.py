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
_CODES = {status: code for code, status in enumerate(_STATUSES)}
_OPEN = _STATUSES.index(RequestStatus.UNFINISHED)


# Numbers of one row, side by side in one array.
_ARRIVAL, _ISL, _OSL, _FIRST, _FINISH, _RETRIES, _PREEMPTIONS, _WORKER = range(8)
_WIDTH = 8


class Recorder:
    """Rows in order of arrival; every row must end exactly once."""

    def __init__(self) -> None:
        self._rows = array("q")
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
        isl = request.isl
        self._rows.extend((request.arrival_ns, isl, request.osl, -1, -1, 0, 0, -1))
        self._status.append(_OPEN)
        self._isl_started += isl
        self._started = number = self._started + 1
        return number - 1

    def assigned(self, row: int, worker_code: int) -> None:
        """A worker got the request."""
        self._rows[row * _WIDTH + _WORKER] = worker_code

    def first_token(self, row: int, at_ns: int) -> None:
        """The first output token became visible."""
        at = row * _WIDTH
        self._rows[at + _FIRST] = at_ns
        self._ttft_ns_sum += at_ns - self._rows[at]
        self._ttft_count += 1

    def retried(self, row: int) -> None:
        """The request was sent to another worker."""
        self._rows[row * _WIDTH + _RETRIES] += 1

    def ended(self, row: int, status: RequestStatus, at_ns: int) -> None:
        """Close a row.

        Raises:
            InvariantError: it was closed before.
        """
        if self._status[row] != _OPEN:
            raise InvariantError(f"request in row {row} ended twice")
        rows, at = self._rows, row * _WIDTH
        self._status[row] = _CODES[status]
        rows[at + _FINISH] = at_ns
        if status is not RequestStatus.COMPLETED:
            self._failed += 1
            return
        self._completed += 1
        osl = rows[at + _OSL]
        self._osl_completed += osl
        if osl > 1:
            self._itl_ms_sum += (at_ns - rows[at + _FIRST]) / (osl - 1) / NS_PER_MS
            self._itl_count += 1

    def add_preemptions(self, row: int, preemptions: int) -> None:
        """Count preemptions that a request suffered in an engine it has left."""
        if preemptions:
            self._rows[row * _WIDTH + _PREEMPTIONS] += preemptions

    def content(self) -> bytes:
        """Every number of every row, for a digest; equal bytes mean equal requests."""
        return self._rows.tobytes() + self._status.tobytes()

    def last_ns(self) -> int:
        """Time of the last arrival, first token or end."""
        if not self._rows:
            return 0
        times = np.array(self._rows, dtype=np.int64).reshape(-1, _WIDTH)
        return int(times[:, (_ARRIVAL, _FIRST, _FINISH)].max())

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
        rows = np.array(self._rows, dtype=np.int64).reshape(-1, _WIDTH)
        names = np.array([status.value for status in _STATUSES])
        column = [np.ascontiguousarray(rows[:, index]) for index in range(_WIDTH)]
        return RequestTable(
            arrival_ns=column[_ARRIVAL],
            isl=column[_ISL],
            osl=column[_OSL],
            first_token_ns=column[_FIRST],
            finish_ns=column[_FINISH],
            status=names[np.array(self._status, dtype=np.int64)],
            retries=column[_RETRIES],
            preemptions=column[_PREEMPTIONS],
        )


class RollingRecorder(Recorder):
    """Forgets the oldest requests that have ended, so that its size is bounded.

    Row numbers that it gives out stay valid until their request has ended.

    Args:
        keep: requests that have ended and are kept at least; up to twice as many are.

    Attributes:
        request_ids: of the rows that are kept, in the order of :meth:`table`.
    """

    def __init__(self, keep: int) -> None:
        super().__init__()
        self._keep = keep
        self._serial = 0
        self._places: dict[int, int] = {}
        self.request_ids = array("q")

    def arrived(self, request: RequestSpec) -> int:
        """Open a row and return its number."""
        super().arrived(request)
        self._places[self._serial] = len(self._status) - 1
        self.request_ids.append(request.request_id)
        self._serial += 1
        return self._serial - 1

    def assigned(self, row: int, worker_code: int) -> None:
        """A worker got the request."""
        super().assigned(self._places[row], worker_code)

    def first_token(self, row: int, at_ns: int) -> None:
        """The first output token became visible."""
        super().first_token(self._places[row], at_ns)

    def retried(self, row: int) -> None:
        """The request was sent to another worker."""
        super().retried(self._places[row])

    def add_preemptions(self, row: int, preemptions: int) -> None:
        """Count preemptions that a request suffered in an engine it has left."""
        super().add_preemptions(self._places[row], preemptions)

    def ended(self, row: int, status: RequestStatus, at_ns: int) -> None:
        """Close a row.

        Raises:
            InvariantError: it was closed before.
        """
        place = self._places.pop(row, None)
        if place is None:
            raise InvariantError(f"request in row {row} ended twice")
        super().ended(place, status, at_ns)
        if len(self._status) - len(self._places) >= 2 * self._keep:
            self._forget()

    def _forget(self) -> None:
        """Keep the open rows and the newest of the others."""
        first = len(self._status) - self._keep
        survivors = sorted({*self._places.values(), *range(max(0, first), len(self._status))})
        moved = {old: new for new, old in enumerate(survivors)}
        rows, status, ids = array("q"), array("b"), array("q")
        for old in survivors:
            rows.extend(self._rows[old * _WIDTH : (old + 1) * _WIDTH])
            status.append(self._status[old])
            ids.append(self.request_ids[old])
        self._rows, self._status, self.request_ids = rows, status, ids
        self._places = {row: moved[old] for row, old in self._places.items()}
