"""Run a deployment against a workload in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from contracts.decision import RoleTarget
from contracts.errors import InvariantError
from contracts.faults import Fault, LostRequestPolicy
from contracts.observation import ClusterSnapshot
from contracts.plan import DeploymentPlan
from contracts.records import RunRecord
from contracts.units import s_to_ns
from contracts.workload import RequestSpec, Workload
from simcore.cluster import Cluster
from simcore.kernel import EventOrder, Kernel

# After the last arrival a run may go on for this long; what is left is unfinished.
DRAIN_LIMIT_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodicControl:
    """Something that looks at the cluster every ``interval_s`` and wants targets."""

    interval_s: float
    act: Callable[[ClusterSnapshot], Sequence[RoleTarget]]


class _Run:
    """Arrivals, faults and control ticks of one run."""

    def __init__(self, kernel: Kernel, cluster: Cluster, workload: Workload, limit_ns: int) -> None:
        self.kernel = kernel
        self.cluster = cluster
        self.limit_ns = limit_ns
        self.next_index = 0
        self._arrivals: list[int] = workload.arrival_ns.tolist()
        self._lengths = list(zip(workload.isl.tolist(), workload.osl.tolist(), strict=True))

    def schedule_arrival(self) -> None:
        if self.next_index < len(self._arrivals):
            at_ns = self._arrivals[self.next_index]
            self.kernel.call_at(at_ns, EventOrder.ARRIVAL, self._arrive)

    def schedule_tick(self, control: PeriodicControl) -> None:
        interval_ns = s_to_ns(control.interval_s)
        if interval_ns < 1:
            raise InvariantError("a control interval must be positive")

        def tick() -> None:
            targets = control.act(self.cluster.snapshot())
            if targets:
                self.cluster.scale(targets)
            busy = self.cluster.open_requests > 0 or self.kernel.peek_ns() is not None
            next_ns = self.kernel.now_ns + interval_ns
            if busy and next_ns <= self.limit_ns:
                self.kernel.call_at(next_ns, EventOrder.TICK, tick)

        self.kernel.call_at(interval_ns, EventOrder.TICK, tick)

    def _arrive(self) -> None:
        """Hand over all requests of this instant."""
        now_ns, arrivals = self.kernel.now_ns, self._arrivals
        while self.next_index < len(arrivals) and arrivals[self.next_index] == now_ns:
            index = self.next_index
            isl, osl = self._lengths[index]
            self.cluster.submit(RequestSpec(request_id=index, arrival_ns=now_ns, isl=isl, osl=osl))
            self.next_index += 1
        self.schedule_arrival()


def simulate(
    plan: DeploymentPlan,
    workload: Workload,
    *,
    faults: Sequence[Fault] = (),
    lost_policy: LostRequestPolicy = LostRequestPolicy.RETRY,
    control: PeriodicControl | None = None,
) -> RunRecord:
    """Run to the end of all work and return the records.

    Every offered request has a row in the result. Requests that have not ended
    ``DRAIN_LIMIT_S`` after the last arrival stay ``unfinished``.

    Raises:
        InputError: a fault hits nothing, or control wants what the plan forbids.
        InvariantError: requests, tokens or KV blocks were lost; our bug.
    """
    kernel = Kernel()
    cluster = Cluster(kernel, plan, lost_policy=lost_policy)
    limit_ns = workload.duration_ns + s_to_ns(DRAIN_LIMIT_S)
    run = _Run(kernel, cluster, workload, limit_ns)
    run.schedule_arrival()
    for fault in faults:
        kernel.call_at(s_to_ns(fault.at_s), EventOrder.CONTROL, partial(cluster.inject, fault))
    if control is not None:
        run.schedule_tick(control)
    kernel.run(limit_ns)
    record = cluster.record()
    if len(record.table) != len(workload):
        raise InvariantError(f"{len(workload)} requests offered, {len(record.table)} recorded")
    return record
