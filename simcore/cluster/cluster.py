"""A deployment in motion: requests in, tokens out, workers scaled, crashed and replaced.

Time comes from the kernel only: virtual in the simulator, the wall clock in the mocker.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from contracts.decision import RoleTarget
from contracts.errors import InvariantError
from contracts.faults import Fault, LostRequestPolicy
from contracts.observation import ClusterSnapshot, WorkerState
from contracts.plan import DeploymentPlan, DisaggPlan, PoolPlan, Role
from contracts.ports import TimerFactory
from contracts.records import RequestStatus, RunRecord
from contracts.units import ns_to_s
from contracts.workload import RequestSpec
from simcore.cluster.deadlines import Deadlines
from simcore.cluster.fault_log import OpenFault
from simcore.cluster.gaps import token_gaps
from simcore.cluster.handoff import HandOffDesk, HandOffHooks
from simcore.cluster.history import History
from simcore.cluster.injector import FaultInjector, InjectorHooks
from simcore.cluster.listener import ClusterListener
from simcore.cluster.placement import Placement
from simcore.cluster.pool import Pool, PoolHooks
from simcore.cluster.request import LiveRequest, submission
from simcore.cluster.scaling import scale
from simcore.cluster.worker import Worker
from simcore.engine import EngineEvent, EventKind, StepReport
from simcore.engine.events import refusal, tokens_always_served
from simcore.kernel import Kernel
from simcore.observe import Recorder
from simcore.perf.roofline import roofline

_REPLACED = (WorkerState.STARTING, WorkerState.READY)


class Cluster:
    """All pools of one deployment.

    Args:
        kernel: the clock; its present is the start of the run.
        plan: what to run; the planned replicas are ready at once.
        listener: hears about tokens and ends.
        lost_policy: what happens to the requests of a worker that dies.
        step_events: report the tokens of every step, as a streaming server needs.
        timer_for: step times of an engine.
        recorder: keeps the rows of requests; all of them by default.
        on_step: is told about every step of every engine.
    """

    def __init__(  # noqa: PLR0913  # one of each thing a cluster is made of
        self,
        kernel: Kernel,
        plan: DeploymentPlan,
        *,
        listener: ClusterListener | None = None,
        lost_policy: LostRequestPolicy = LostRequestPolicy.RETRY,
        step_events: bool = False,
        timer_for: TimerFactory = roofline,
        recorder: Recorder | None = None,
        on_step: Callable[[Worker, StepReport], None] | None = None,
    ) -> None:
        self._kernel = kernel
        self._plan = plan
        self._listener = listener
        self._lost_policy = lost_policy
        self._step_events = step_events
        self._timer_for = timer_for
        self._live: dict[int, LiveRequest] = {}
        self._recorder = Recorder() if recorder is None else recorder
        self._on_step = on_step
        self._history = History(kernel)
        self._placement = Placement()
        self._deadlines = Deadlines(kernel, self._live.__contains__, self._time_out)
        self._pools = {pool.role: self._make_pool(pool) for pool in plan.topology.pools}
        self._entry = next(iter(self._pools.values()))
        limits = [pool.engine.limits for pool in plan.topology.pools]
        self._safe_tokens = min(tokens_always_served(each) for each in limits)
        self._desk = self._make_desk()
        self._injector = FaultInjector(
            kernel,
            self._pools,
            self._placement,
            self._desk,
            InjectorHooks(lose=self._lose_workers, retried=self._retried, misfit=self._misfit),
        )
        for pool in self._pools.values():
            for _ in range(pool.plan.replicas):
                pool.order(0.0)

    def _make_pool(self, plan: PoolPlan) -> Pool:
        return Pool(
            kernel=self._kernel,
            plan=plan,
            deployment=self._plan,
            hooks=PoolHooks(
                on_events=self._on_engine_events,
                on_state=self._history.state,
                on_ready=self._on_ready,
                on_adapter_load=self._history.adapter_load,
                on_adapter_ready=self._into_engine,
                on_step=self._on_step,
            ),
            placement=self._placement,
            every_step=self._step_events,
            timer=self._timer_for(plan.engine),
        )

    def _make_desk(self) -> HandOffDesk | None:
        topology = self._plan.topology
        if not isinstance(topology, DisaggPlan):
            return None
        hooks = HandOffHooks(
            on_reserved=self._history.reserved, to_prefill=self._dispatch,
            to_decode=self._to_decode, refuse=self._refuse, on_moved=self._drain_entry,
        )  # fmt: skip
        return HandOffDesk(self._kernel, topology, self._pools, hooks)

    # -- requests ------------------------------------------------------------------

    @property
    def pools(self) -> Collection[Pool]:
        """All pools, entry pool first."""
        return self._pools.values()

    @property
    def open_requests(self) -> int:
        """Requests that have arrived and not ended."""
        return len(self._live)

    def submit(self, request: RequestSpec) -> None:
        """Take a request now; its latencies count from ``request.arrival_ns``."""
        request_id = request.request_id
        if request_id in self._live:
            raise InvariantError(f"request id {request_id} is in use")
        live = LiveRequest(request, self._recorder.arrived(request))
        self._live[request_id] = live
        if request.isl + request.osl > self._safe_tokens and self._refused(live):
            return
        if request.timeout_ns:
            self._deadlines.add(request.arrival_ns + request.timeout_ns, request_id)
        self._dispatch(live)

    def _refused(self, live: LiveRequest) -> bool:
        """End a request that an engine could never serve."""
        for pool in self._pools.values():
            engine = pool.plan.engine
            reason = refusal(engine.limits, submission(live, pool.role), engine.backend)
            if reason is not None:
                self._end(live, RequestStatus.REJECTED, reason)
                return True
        return False

    def cancel(self, request_id: int) -> None:
        """The client has gone; frees what the request holds. Unknown ids are ignored."""
        live = self._live.get(request_id)
        if live is not None:
            self._stop(live, RequestStatus.CANCELLED, "cancelled by the client")

    def _time_out(self, request_id: int) -> None:
        self._stop(self._live[request_id], RequestStatus.TIMED_OUT, "the client gave up waiting")

    def _refuse(self, live: LiveRequest) -> None:
        self._stop(live, RequestStatus.REJECTED, "no decode worker has enough memory left")

    def _misfit(self, request_id: int) -> None:
        self._stop(self._live[request_id], RequestStatus.FAILED, "its worker lost too much memory")

    def _stop(self, live: LiveRequest, status: RequestStatus, reason: str) -> None:
        """End a request early and free everything that it holds anywhere."""
        self._end(live, status, reason)
        worker, live.worker = live.worker, None
        if worker is not None:
            self._pools[worker.role].withdraw(worker, live)
        elif live in self._entry.pending:
            self._entry.pending.remove(live)
        if self._desk is not None:
            self._desk.forget(live)
            self._move_waiting()

    def _dispatch(self, live: LiveRequest) -> None:
        """Send a request to the entry pool, or let it wait."""
        desk, pool = self._desk, self._entry
        live.recompute = False
        if not pool.ready or (desk is not None and desk.full):
            pool.pending.append(live)
            return
        if desk is not None and not desk.admits(live):
            return
        worker = pool.pick(live)
        if worker is None:
            raise InvariantError(f"no worker for request {live.request_id}")
        pool.router.placed(worker, live)
        self._enter(live, worker)

    def _move_waiting(self) -> None:
        """Room, or a place in the queue for it, may have become free."""
        if self._desk is not None:
            self._desk.retry_waiting()
        self._drain_entry()

    def _drain_entry(self) -> None:
        pending, desk = self._entry.pending, self._desk
        while pending and self._entry.ready and not (desk is not None and desk.full):
            self._dispatch(pending.popleft())

    def _enter(self, live: LiveRequest, worker: Worker) -> None:
        live.worker = worker
        if not live.adapter or self._pools[worker.role].admits(worker, live):
            self._into_engine(worker, live)

    def _into_engine(self, worker: Worker, live: LiveRequest) -> None:
        now_ns = self._kernel.now_ns
        reason = worker.engine.submit(now_ns, submission(live, worker.role))
        if reason is not None:
            # It passed the gate, so the worker has lost memory since.
            live.worker = None
            self._pools[worker.role].let_go(worker, live)
            self._end(live, RequestStatus.REJECTED, reason)
            return
        self._recorder.assigned(live.row, worker.code)
        worker.arm()

    def _to_decode(self, live: LiveRequest, worker: Worker) -> None:
        self._history.transferred(live)
        self._enter(live, worker)

    def _on_engine_events(self, worker: Worker, events: list[EngineEvent]) -> None:
        router, role = self._pools[worker.role].router, worker.role
        for event in events:
            live = self._live.get(event.request_id)
            if live is None:
                continue
            if event.kind is EventKind.FINISHED:
                self._finished(worker, live, event)
            elif role is not Role.PREFILL:
                router.prefilled(worker, live)
                self._first_token(live, event.at_ns)
        if role is Role.DECODE and self._desk is not None:
            self._desk.retry_waiting()
        if self._step_events and self._listener is not None and role is not Role.PREFILL:
            worker.engine.catch_up(self._kernel.now_ns)
            self._listener.on_step(worker, self._kernel.now_ns)

    def _finished(self, worker: Worker, live: LiveRequest, event: EngineEvent) -> None:
        live.worker = None
        self._pools[worker.role].let_go(worker, live)
        if worker.role is not Role.PREFILL:
            self._completed(live, event)
        elif self._desk is not None:
            self._recorder.add_preemptions(live.row, event.preemptions)
            self._desk.prefilled(live, worker)

    def _completed(self, live: LiveRequest, event: EngineEvent) -> None:
        if self._listener is not None:
            self._listener.on_tokens(live.request_id, live.osl, event.at_ns)
        self._recorder.add_preemptions(live.row, event.preemptions)
        self._end(live, RequestStatus.COMPLETED, "")

    def _first_token(self, live: LiveRequest, at_ns: int) -> None:
        self._recorder.first_token(live.row, at_ns)
        if self._listener is not None:
            self._listener.on_tokens(live.request_id, 1, at_ns)

    def _end(self, live: LiveRequest, status: RequestStatus, reason: str) -> None:
        now_ns = self._kernel.now_ns
        del self._live[live.request_id]
        self._recorder.ended(live.row, status, now_ns)
        if self._listener is not None:
            self._listener.on_end(live.request_id, status, reason, now_ns)

    # -- workers -------------------------------------------------------------------

    def scale(self, targets: Sequence[RoleTarget]) -> None:
        """Set how many workers of each role shall be starting or ready.

        Raises:
            InputError: unknown role, negative number, or more GPUs than the budget.
        """
        scale(self._pools, self._plan, targets)

    def inject(self, fault: Fault) -> None:
        """Make a fault happen now, whatever its ``at_s``.

        Raises:
            InputError: it hits nothing.
            UnsupportedError: the engines cannot suffer it.
        """
        self._history.fault(fault)
        self._injector.inject(fault)

    def _lose_workers(self, workers: Sequence[Worker], fault: OpenFault, restart: bool) -> None:
        """These workers die now."""
        replaced = [worker.role for worker in workers if worker.state in _REPLACED]
        for worker in workers:
            self._pools[worker.role].lose(worker)
        lost = [(live, worker) for worker in workers for live in self._collect_lost(worker)]
        retry = self._lost_policy is LostRequestPolicy.RETRY
        fault.suffered(len(lost), retry=retry)
        for role in replaced if restart else ():
            self._pools[role].order(self._plan.startup_s)
        for live, worker in lost:
            if retry:
                self._go_on(live)
            else:
                self._stop(live, RequestStatus.FAILED, f"worker {worker.worker_id} died")
        self._move_waiting()

    def _go_on(self, live: LiveRequest) -> None:
        self._retried(live.request_id)
        if self._desk is not None and live.source is not None:
            self._desk.resume(live)
        else:
            self._dispatch(live)

    def _retried(self, request_id: int) -> None:
        self._live[request_id].retries += 1
        self._recorder.retried(self._live[request_id].row)

    def _collect_lost(self, worker: Worker) -> list[LiveRequest]:
        pool = self._pools[worker.role]
        lost: list[LiveRequest] = []
        for request_id, generated in worker.engine.fail(self._kernel.now_ns):
            live = self._live.get(request_id)
            if live is not None:
                if worker.role is not Role.PREFILL:
                    live.generated = generated
                lost.append(live)
        lost.extend(pool.awaiting_adapters(worker))
        for live in lost:
            live.worker = None
            pool.router.ended(worker, live)
        if self._desk is not None:
            lost.extend(self._desk.lose_worker(worker))
        return lost

    def _on_ready(self, pool: Pool) -> None:
        ready = {role: len(each.ready) for role, each in self._pools.items()}
        self._injector.log.ready(ready, self._kernel.now_ns)
        if pool is self._entry:
            self._drain_entry()
        elif self._desk is not None:
            self._desk.retry_waiting()

    # -- answers -------------------------------------------------------------------

    def report_steps(self, *, every_step: bool) -> None:
        """From now on report the tokens of every step, or first tokens and ends only."""
        self._step_events = every_step
        for pool in self._pools.values():
            pool.report_steps(every_step=every_step)

    def snapshot(self) -> ClusterSnapshot:
        """What a planner may see now."""
        pools = self._pools.values()
        return ClusterSnapshot(
            now_s=ns_to_s(self._kernel.now_ns),
            counters=self._recorder.counters(),
            workers=tuple(view for pool in pools for view in pool.views()),
            loads=tuple(pool.load() for pool in pools),
        )

    def record(self) -> RunRecord:
        """Everything that happened so far, checked for conservation.

        Raises:
            InputError: a fault is over and has hit nothing.
            InvariantError: requests, tokens, KV blocks or bytes do not add up.
        """
        if (rows := self._recorder.open_requests) != len(self._live):
            raise InvariantError(f"{rows} open rows, {len(self._live)} live requests")
        for pool in self._pools.values():
            pool.assert_conserved()
        if self._desk is not None:
            self._desk.assert_conserved(len(self._live))
        history = self._history
        return RunRecord(
            table=self._recorder.table(),
            worker_events=tuple(history.worker_events),
            faults=self._injector.log.records(),
            digest=history.digest.hexdigest(self._recorder.content()),
            duration_s=ns_to_s(max(history.digest.last_ns, self._recorder.last_ns())),
            token_gaps=token_gaps(self._pools.values()),
        )
