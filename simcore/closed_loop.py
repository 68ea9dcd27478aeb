"""Run a deployment under a fixed number of requests in flight."""

from __future__ import annotations

from contracts.errors import InputError, InvariantError
from contracts.plan import DeploymentPlan
from contracts.records import RequestStatus, RunRecord
from contracts.workload import IntArray, RequestSpec
from simcore.cluster import Cluster
from simcore.kernel import EventOrder, Kernel


class _Loop:
    """Sends the next request at the instant at which one ends."""

    def __init__(self, kernel: Kernel, isl: IntArray, osl: IntArray) -> None:
        self.cluster: Cluster | None = None
        self._kernel = kernel
        self._lengths = list(zip(isl.tolist(), osl.tolist(), strict=True))
        self._next = 0

    def on_tokens(self, request_id: int, generated: int, at_ns: int) -> None:
        """Tokens do not matter here."""

    def on_end(self, request_id: int, status: RequestStatus, reason: str, at_ns: int) -> None:
        """One place is free, however the request ended."""
        del request_id, status, reason, at_ns
        self.schedule()

    def schedule(self) -> None:
        """Send one more request now, after everything else of this instant."""
        if self._next < len(self._lengths):
            index = self._next
            self._next += 1
            self._kernel.call_at(self._kernel.now_ns, EventOrder.ARRIVAL, lambda: self._send(index))

    def _send(self, index: int) -> None:
        if self.cluster is None:
            raise InvariantError("the loop has no cluster")
        isl, osl = self._lengths[index]
        self.cluster.submit(
            RequestSpec(request_id=index, arrival_ns=self._kernel.now_ns, isl=isl, osl=osl)
        )


def simulate_closed_loop(
    plan: DeploymentPlan, *, isl: IntArray, osl: IntArray, concurrency: int
) -> RunRecord:
    """Keep ``concurrency`` requests in flight until all have been served.

    The first ``concurrency`` requests start together at time zero, as benchmark clients
    do; each further one starts when one has ended.

    Args:
        plan: the deployment.
        isl: shape (n,), prompt tokens of each request, at least 1.
        osl: shape (n,), output tokens of each request, at least 1.
        concurrency: requests in flight.

    Raises:
        InputError: no request, a length below one token, or no concurrency.
    """
    if concurrency < 1 or len(isl) == 0 or len(isl) != len(osl):
        raise InputError("needs requests and a concurrency of at least 1", value=str(concurrency))
    if int(isl.min()) < 1 or int(osl.min()) < 1:
        raise InputError("lengths must be at least one token")
    kernel = Kernel()
    loop = _Loop(kernel, isl, osl)
    loop.cluster = Cluster(kernel, plan, listener=loop)
    for _ in range(concurrency):
        loop.schedule()
    kernel.run()
    record = loop.cluster.record()
    if len(record.table) != len(isl):
        raise InvariantError(f"{len(isl)} requests offered, {len(record.table)} recorded")
    return record
