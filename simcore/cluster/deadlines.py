"""Client time-outs: one scheduled event for all of them, not one for each request."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from simcore.kernel import EventOrder, Kernel, ScheduledCall


class Deadlines:
    """Tells when a request is still alive at its deadline.

    Engine events of the same nanosecond come first, so a request that completes exactly
    at its deadline has completed.

    Args:
        alive: whether a request has not ended.
        expire: receives the id of a request that is late.
    """

    def __init__(
        self, kernel: Kernel, alive: Callable[[int], bool], expire: Callable[[int], None]
    ) -> None:
        self._kernel = kernel
        self._alive = alive
        self._expire = expire
        self._heap: list[tuple[int, int]] = []
        self._call: ScheduledCall | None = None
        self._call_ns = 0

    def add(self, at_ns: int, request_id: int) -> None:
        """Watch a request."""
        heapq.heappush(self._heap, (max(at_ns, self._kernel.now_ns), request_id))
        self._arm()

    def _arm(self) -> None:
        heap = self._heap
        while heap and not self._alive(heap[0][1]):
            heapq.heappop(heap)
        if self._call is not None:
            if heap and self._call_ns <= heap[0][0]:
                return
            self._call.cancel()
            self._call = None
        if heap:
            self._call_ns = heap[0][0]
            self._call = self._kernel.call_at(self._call_ns, EventOrder.CONTROL, self._fire)

    def _fire(self) -> None:
        self._call = None
        heap, now_ns = self._heap, self._kernel.now_ns
        while heap and heap[0][0] <= now_ns:
            request_id = heapq.heappop(heap)[1]
            if self._alive(request_id):
                self._expire(request_id)
        self._arm()
