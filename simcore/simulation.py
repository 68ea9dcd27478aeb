"""Run a deployment against requests in virtual time.

A request source says what is sent when. :func:`run_source` joins it with a cluster,
faults and a control loop; :func:`simulate` is the source whose arrivals are known
beforehand, :mod:`simcore.closed_loop` has those that wait for answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from contracts.decision import RoleTarget
from contracts.errors import InvariantError
from contracts.faults import Fault, LostRequestPolicy
from contracts.observation import ClusterSnapshot
from contracts.plan import DeploymentPlan
from contracts.ports import TimerFactory
from contracts.records import RequestStatus, RunRecord
from contracts.units import s_to_ns
from contracts.workload import RequestSpec, Workload
from simcore.cluster import Cluster
from simcore.cluster.worker import Worker
from simcore.kernel import EventOrder, Kernel
from simcore.perf.roofline import roofline

# After the last arrival a run may go on for this long; what is left is unfinished.
DRAIN_LIMIT_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodicControl:
    """Something that looks at the cluster every ``interval_s`` and wants targets."""

    interval_s: float
    act: Callable[[ClusterSnapshot], Sequence[RoleTarget]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultTrigger:
    """A fault that waits for the cluster to be in some state.

    Attributes:
        due: asked every ``poll_s`` from ``fault.at_s`` on until it says yes.
        until_s: when it has not said so by then, nothing happens.
    """

    fault: Fault
    due: Callable[[ClusterSnapshot], bool]
    until_s: float
    poll_s: float = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What may happen to a run besides its requests.

    Attributes:
        faults: what breaks, and when.
        triggers: what breaks as soon as the cluster is in some state.
        lost_policy: what happens to the requests of a worker that dies.
        control: looks at the cluster and scales it.
        limit_ns: the run ends here at the latest; ``None`` runs until all is done.
        timer_for: step times of an engine.
    """

    faults: Sequence[Fault] = ()
    triggers: Sequence[FaultTrigger] = ()
    lost_policy: LostRequestPolicy = LostRequestPolicy.RETRY
    control: PeriodicControl | None = None
    limit_ns: int | None = None
    timer_for: TimerFactory = roofline


class RequestPort(Protocol):
    """What a request source may do."""

    @property
    def now_ns(self) -> int:
        """The present."""
        ...

    def call_at(self, at_ns: int, call: Callable[[], None]) -> None:
        """Make a call in the order of arrivals, after engines and faults of that instant."""
        ...

    def send(self, request: RequestSpec) -> None:
        """Hand a request to the cluster now; ids must not repeat."""
        ...


class RequestSource(Protocol):
    """Sends requests."""

    @property
    def reacts(self) -> bool:
        """Whether it wants to hear how requests end."""
        ...

    def begin(self, port: RequestPort) -> None:
        """The run begins; called once, at time zero."""
        ...

    def ended(self, request_id: int, status: RequestStatus) -> None:
        """A request has ended now."""
        ...


class _Driver:
    """Joins a source, a cluster and a control loop; counts what was sent."""

    def __init__(self, plan: DeploymentPlan, source: RequestSource, settings: RunSettings) -> None:
        self._kernel = Kernel()
        self._source = source
        self._settings = settings
        self._sent = 0
        self._cluster = Cluster(
            self._kernel,
            plan,
            listener=self if source.reacts else None,
            lost_policy=settings.lost_policy,
            timer_for=settings.timer_for,
        )

    # -- the port of the source ----------------------------------------------------

    @property
    def now_ns(self) -> int:
        return self._kernel.now_ns

    def call_at(self, at_ns: int, call: Callable[[], None]) -> None:
        self._kernel.wake_at(at_ns, EventOrder.ARRIVAL, lambda _: call())

    def send(self, request: RequestSpec) -> None:
        self._sent += 1
        self._cluster.submit(request)

    # -- the listener of the cluster -----------------------------------------------

    def on_tokens(self, request_id: int, generated: int, at_ns: int) -> None:
        """Sources do not look at single tokens."""

    def on_step(self, worker: Worker, at_ns: int) -> None:
        """Nor at steps."""

    def on_end(self, request_id: int, status: RequestStatus, reason: str, at_ns: int) -> None:
        del reason, at_ns
        self._source.ended(request_id, status)

    def run(self) -> RunRecord:
        kernel, cluster, settings = self._kernel, self._cluster, self._settings
        self._source.begin(self)
        for fault in settings.faults:
            kernel.call_at(s_to_ns(fault.at_s), EventOrder.CONTROL, partial(cluster.inject, fault))
        for trigger in settings.triggers:
            self._schedule_poll(trigger, s_to_ns(trigger.fault.at_s))
        if settings.control is not None:
            self._schedule_tick(settings.control)
        kernel.run(settings.limit_ns)
        record = cluster.record()
        if len(record.table) != self._sent:
            raise InvariantError(f"{self._sent} requests sent, {len(record.table)} recorded")
        return record

    def _schedule_poll(self, trigger: FaultTrigger, at_ns: int) -> None:
        def poll() -> None:
            if trigger.due(self._cluster.snapshot()):
                self._cluster.inject(trigger.fault)
            else:
                self._schedule_poll(trigger, at_ns + s_to_ns(trigger.poll_s))

        if at_ns <= s_to_ns(trigger.until_s):
            self._kernel.call_at(at_ns, EventOrder.CONTROL, poll)

    def _schedule_tick(self, control: PeriodicControl) -> None:
        interval_ns = s_to_ns(control.interval_s)
        if interval_ns < 1:
            raise InvariantError("a control interval must be positive")
        limit_ns = self._settings.limit_ns
        last_event_ns = 0

        def tick() -> None:
            nonlocal last_event_ns
            targets = control.act(self._cluster.snapshot())
            if targets:
                self._cluster.scale(targets)
            now_ns = self._kernel.now_ns
            if self._kernel.peek_ns() is not None:
                last_event_ns = now_ns
            # Requests that nobody serves are waited for, but not for ever.
            hopeful = now_ns - last_event_ns <= s_to_ns(DRAIN_LIMIT_S)
            busy = last_event_ns == now_ns or (self._cluster.open_requests > 0 and hopeful)
            next_ns = now_ns + interval_ns
            if busy and (limit_ns is None or next_ns <= limit_ns):
                self._kernel.call_at(next_ns, EventOrder.TICK, tick)

        self._kernel.call_at(interval_ns, EventOrder.TICK, tick)


class _OpenLoop:
    """Sends every request at its own time, whatever became of the others."""

    reacts = False

    def __init__(self, workload: Workload) -> None:
        self._requests = workload.requests()
        self._next: RequestSpec | None = None
        self._port: RequestPort | None = None

    def begin(self, port: RequestPort) -> None:
        self._port = port
        self._next = next(self._requests)
        port.call_at(self._next.arrival_ns, self._arrive)

    def ended(self, request_id: int, status: RequestStatus) -> None:
        """Arrivals are known beforehand."""

    def _arrive(self) -> None:
        """Hand over all requests of this instant."""
        port, request = self._port, self._next
        if port is None or request is None:
            raise InvariantError("nothing arrives now")
        now_ns, requests = port.now_ns, self._requests
        while request is not None and request.arrival_ns == now_ns:
            port.send(request)
            request = next(requests, None)
        self._next = request
        if request is not None:
            port.call_at(request.arrival_ns, self._arrive)


def run_source(plan: DeploymentPlan, source: RequestSource, settings: RunSettings) -> RunRecord:
    """Run until the source has nothing more to send and all work is done.

    Rows of the result are in the order in which the requests were sent.

    Raises:
        InputError: a fault hits nothing, or control wants what the plan forbids.
        InvariantError: requests, tokens or KV blocks were lost; our bug.
    """
    return _Driver(plan, source, settings).run()


def simulate(
    plan: DeploymentPlan,
    workload: Workload,
    *,
    faults: Sequence[Fault] = (),
    lost_policy: LostRequestPolicy = LostRequestPolicy.RETRY,
    control: PeriodicControl | None = None,
    timer_for: TimerFactory = roofline,
) -> RunRecord:
    """Run to the end of all work and return the records.

    Every offered request has a row in the result. Requests that have not ended
    ``DRAIN_LIMIT_S`` after the last arrival stay ``unfinished``.

    Raises:
        InputError: a fault hits nothing, or control wants what the plan forbids.
        InvariantError: requests, tokens or KV blocks were lost; our bug.
    """
    settings = RunSettings(
        faults=faults, lost_policy=lost_policy, control=control, timer_for=timer_for
    )
    return simulate_with(plan, workload, settings)


def simulate_with(plan: DeploymentPlan, workload: Workload, settings: RunSettings) -> RunRecord:
    """As :func:`simulate`, with everything that may happen in one value.

    Raises:
        InputError: a fault hits nothing, or control wants what the plan forbids.
        InvariantError: requests, tokens or KV blocks were lost; our bug.
    """
    if settings.limit_ns is None:
        limit_ns = workload.duration_ns + s_to_ns(DRAIN_LIMIT_S)
        settings = replace(settings, limit_ns=limit_ns)
    record = run_source(plan, _OpenLoop(workload), settings)
    if len(record.table) != len(workload):
        raise InvariantError(f"{len(workload)} requests offered, {len(record.table)} recorded")
    return record
