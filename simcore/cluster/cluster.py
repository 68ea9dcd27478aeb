"""A deployment in motion: requests in, tokens out, workers scaled, crashed and replaced.

The cluster knows time only through the kernel, so the same object runs in virtual
time inside the simulator and against the wall clock inside the mocker.
"""

from __future__ import annotations

from collections.abc import Sequence

from contracts.decision import RoleTarget
from contracts.errors import InputError, InvariantError
from contracts.faults import LostRequestPolicy, WorkerCrash
from contracts.observation import ClusterSnapshot, WorkerState, WorkerView
from contracts.plan import DeploymentPlan, DisaggPlan, Role
from contracts.records import RequestStatus, RunRecord
from contracts.units import ns_to_s
from contracts.workload import RequestSpec
from simcore.cluster.listener import ClusterListener
from simcore.cluster.pool import Pool, PoolHooks
from simcore.cluster.recovery import RecoveryLog
from simcore.cluster.request import LiveRequest
from simcore.cluster.transfer import TransferQueue
from simcore.cluster.worker import Worker
from simcore.engine import EngineEvent, EventKind, Submission
from simcore.engine.events import refusal
from simcore.kernel import Kernel
from simcore.observe import EventDigest, Recorder
from simcore.observe.digest import DigestKind
from simcore.perf import roofline

_STATE_CODES = {state: code for code, state in enumerate(WorkerState)}
_STATUS_CODES = {status: code for code, status in enumerate(RequestStatus)}
_ROLE_CODES = {role: code for code, role in enumerate(Role)}


class Cluster:
    """All pools of one deployment.

    Args:
        kernel: the clock; its present is the start of the run.
        plan: what to run; the planned replicas are ready at once.
        listener: hears about tokens and ends.
        lost_policy: what happens to the requests of a worker that dies.
        step_events: report the tokens of every step, as a streaming server needs.
    """

    def __init__(
        self,
        kernel: Kernel,
        plan: DeploymentPlan,
        *,
        listener: ClusterListener | None = None,
        lost_policy: LostRequestPolicy = LostRequestPolicy.RETRY,
        step_events: bool = False,
    ) -> None:
        self._kernel = kernel
        self._plan = plan
        self._listener = listener
        self._lost_policy = lost_policy
        self._step_events = step_events
        self._live: dict[int, LiveRequest] = {}
        self._recorder = Recorder()
        self._digest = EventDigest()
        self._recovery = RecoveryLog()
        self._worker_events: list[WorkerView] = []
        hooks = PoolHooks(
            on_events=self._on_engine_events, on_state=self._on_state, on_ready=self._on_ready
        )
        self._pools = {
            pool.role: Pool(
                kernel=kernel,
                plan=pool,
                timer=roofline(pool.engine),
                hooks=hooks,
                router=plan.router,
                every_step=step_events,
            )
            for pool in plan.topology.pools
        }
        self._entry = next(iter(self._pools.values()))
        self._transfers: TransferQueue | None = None
        if isinstance(plan.topology, DisaggPlan):
            engine = plan.topology.prefill.engine
            self._transfers = TransferQueue(
                kernel,
                plan.topology.link,
                engine.model.kv_bytes_per_token(engine.kv_dtype),
                self._to_decode,
            )
        for pool in self._pools.values():
            for _ in range(pool.plan.replicas):
                pool.order(0.0)

    # -- requests ------------------------------------------------------------------

    @property
    def open_requests(self) -> int:
        """Requests that have arrived and not ended."""
        return len(self._live)

    def submit(self, request: RequestSpec) -> None:
        """Take a request now; its latencies count from ``request.arrival_ns``."""
        request_id = request.request_id
        if request_id in self._live:
            raise InvariantError(f"request id {request_id} is in use")
        row = self._recorder.arrived(request)
        live = LiveRequest(request_id, request.isl, request.osl, row)
        self._live[request_id] = live
        self._digest.add(self._kernel.now_ns, DigestKind.ARRIVAL, request_id, request.isl)
        for pool in self._pools.values():
            reason = refusal(pool.plan.engine.limits, self._submission(live, pool.role))
            if reason is not None:
                self._end(live, RequestStatus.REJECTED, reason)
                return
        self._dispatch(live, self._entry)

    def cancel(self, request_id: int) -> None:
        """The client has gone; frees what the request holds. Unknown ids are ignored."""
        live = self._live.get(request_id)
        if live is None:
            return
        if live.worker is not None:
            worker = self._find(live.worker)
            worker.engine.cancel(self._kernel.now_ns, request_id)
            worker.arm()
            self._pools[worker.role].stop_if_drained(worker)
        elif self._transfers is None or not self._transfers.drop(request_id):
            for pool in self._pools.values():
                if live in pool.pending:
                    pool.pending.remove(live)
        self._end(live, RequestStatus.CANCELLED, "cancelled by the client")

    def _dispatch(self, live: LiveRequest, pool: Pool) -> None:
        worker = pool.pick()
        if worker is None:
            live.worker = None
            pool.pending.append(live)
            return
        now_ns = self._kernel.now_ns
        live.worker = worker.worker_id
        reason = worker.engine.submit(now_ns, self._submission(live, pool.role))
        if reason is not None:
            raise InvariantError(f"request {live.request_id} passed the gate and was refused")
        self._digest.add(now_ns, DigestKind.ASSIGNED, live.request_id, _worker_code(worker))
        worker.arm()

    def _submission(self, live: LiveRequest, role: Role) -> Submission:
        if role is Role.PREFILL:
            return Submission(request_id=live.request_id, isl=live.isl + live.generated, osl=1)
        computed = live.isl + live.generated - 1 if role is Role.DECODE else 0
        return Submission(
            request_id=live.request_id,
            isl=live.isl,
            osl=live.osl,
            generated=live.generated,
            computed=computed,
        )

    def _to_decode(self, live: LiveRequest) -> None:
        self._digest.add(self._kernel.now_ns, DigestKind.TRANSFER, live.request_id, live.isl)
        self._dispatch(live, self._pools[Role.DECODE])

    def _on_engine_events(self, worker: Worker, events: list[EngineEvent]) -> None:
        if worker.role is Role.PREFILL:
            for event in events:
                if event.kind is EventKind.FINISHED:
                    self._hand_off(worker, event)
            return
        for event in events:
            live = self._live.get(event.request_id)
            if live is None:
                continue
            if event.kind is EventKind.FIRST_TOKEN:
                self._first_token(live, event.at_ns)
            else:
                self._completed(live, event)
        if self._step_events and self._listener is not None:
            now_ns = self._kernel.now_ns
            for request_id, generated in worker.engine.progress(now_ns):
                if request_id in self._live:
                    self._listener.on_tokens(request_id, generated, now_ns)

    def _completed(self, live: LiveRequest, event: EngineEvent) -> None:
        if self._listener is not None:
            self._listener.on_tokens(live.request_id, live.osl, event.at_ns)
        self._recorder.add_preemptions(live.row, event.preemptions)
        self._end(live, RequestStatus.COMPLETED, "")

    def _hand_off(self, worker: Worker, event: EngineEvent) -> None:
        live = self._live.get(event.request_id)
        if live is None or self._transfers is None:
            return
        live.worker = None
        self._recorder.add_preemptions(live.row, event.preemptions)
        self._transfers.start(live, worker)

    def _first_token(self, live: LiveRequest, at_ns: int) -> None:
        self._recorder.first_token(live.row, at_ns)
        self._digest.add(at_ns, DigestKind.FIRST_TOKEN, live.request_id, 0)
        if self._listener is not None:
            self._listener.on_tokens(live.request_id, 1, at_ns)

    def _end(self, live: LiveRequest, status: RequestStatus, reason: str) -> None:
        now_ns = self._kernel.now_ns
        del self._live[live.request_id]
        self._recorder.ended(live.row, status, now_ns)
        self._digest.add(now_ns, DigestKind.END, live.request_id, _STATUS_CODES[status])
        if self._listener is not None:
            self._listener.on_end(live.request_id, status, reason, now_ns)

    # -- workers -------------------------------------------------------------------

    def scale(self, targets: Sequence[RoleTarget]) -> None:
        """Set how many workers of each role shall be starting or ready.

        GPUs of draining workers stay taken until they are done, so an order may be
        filled only in part; the next call completes it.

        Raises:
            InputError: unknown role, negative number, or more GPUs than the budget.
        """
        have = {role: pool.workers_active for role, pool in self._pools.items()}
        wanted = dict(have)
        for target in targets:
            if target.role not in self._pools or target.replicas < 0:
                raise InputError(
                    "this deployment cannot scale so",
                    path=target.role.value,
                    value=str(target.replicas),
                    allowed=f"0 or more of {', '.join(self._pools)}",
                )
            wanted[target.role] = target.replicas
        gpus = sum(n * self._pools[role].plan.engine.gpus for role, n in wanted.items())
        if gpus > self._plan.gpu_budget:
            raise InputError(
                "targets exceed the GPU budget",
                value=f"{gpus} GPUs",
                allowed=f"at most {self._plan.gpu_budget}",
            )
        for target in sorted(targets, key=lambda t: t.replicas - have[t.role]):
            pool = self._pools[target.role]
            taken = sum(p.gpus_taken for p in self._pools.values())
            room = (self._plan.gpu_budget - taken) // pool.plan.engine.gpus
            pool.resize(target.replicas, startup_s=self._plan.startup_s, room=max(0, room))

    def crash(self, fault: WorkerCrash) -> None:
        """Kill a ready worker now.

        Raises:
            InputError: the pool does not exist or has no such ready worker.
        """
        pool = self._pools.get(fault.role)
        if pool is None or not 0 <= fault.worker_index < len(pool.ready):
            have = 0 if pool is None else len(pool.ready)
            raise InputError(
                "the fault hits no worker",
                path=f"worker_crash {fault.role.value}",
                value=f"worker_index {fault.worker_index}",
                allowed=f"{have} ready workers at {ns_to_s(self._kernel.now_ns):.3f} s",
            )
        ready_before = len(pool.ready)
        worker = pool.ready[fault.worker_index]
        pool.lose(worker)
        lost = self._collect_lost(worker)
        retry = self._lost_policy is LostRequestPolicy.RETRY
        self._recovery.crashed(
            worker, ready_before, len(lost), retry=retry, now_ns=self._kernel.now_ns
        )
        if fault.restart:
            pool.order(self._plan.startup_s)
        for live in lost:
            if retry:
                live.retries += 1
                self._recorder.retried(live.row)
                self._dispatch(live, self._entry)
            else:
                self._end(live, RequestStatus.FAILED, f"worker {worker.worker_id} died")

    def _collect_lost(self, worker: Worker) -> list[LiveRequest]:
        lost: list[LiveRequest] = []
        for request_id, generated in worker.engine.fail(self._kernel.now_ns):
            live = self._live.get(request_id)
            if live is not None:
                if worker.role is not Role.PREFILL:
                    live.generated = generated
                lost.append(live)
        if self._transfers is not None:
            lost.extend(self._transfers.lose(worker))
        for live in lost:
            live.worker = None
        return lost

    def _on_state(self, worker: Worker) -> None:
        now_ns = self._kernel.now_ns
        self._worker_events.append(worker.view())
        self._digest.add(
            now_ns, DigestKind.WORKER, _worker_code(worker), _STATE_CODES[worker.state]
        )

    def _on_ready(self, pool: Pool) -> None:
        self._recovery.ready(pool.role, len(pool.ready), self._kernel.now_ns)
        for _ in range(len(pool.pending)):
            self._dispatch(pool.pending.popleft(), pool)

    def _find(self, worker_id: str) -> Worker:
        role = Role(worker_id.rsplit("-", 1)[0])
        return self._pools[role].find(worker_id)

    # -- answers -------------------------------------------------------------------

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
            InvariantError: requests, tokens or KV blocks do not add up.
        """
        if self._recorder.open_requests != len(self._live):
            raise InvariantError(
                f"{self._recorder.open_requests} open rows, {len(self._live)} live requests"
            )
        for pool in self._pools.values():
            pool.assert_conserved()
        return RunRecord(
            table=self._recorder.table(),
            worker_events=tuple(self._worker_events),
            faults=self._recovery.records(),
            digest=self._digest.hexdigest(),
            duration_s=ns_to_s(self._digest.last_ns),
        )


def _worker_code(worker: Worker) -> int:
    number = int(worker.worker_id.rsplit("-", 1)[1])
    return _ROLE_CODES[worker.role] << 32 | number
