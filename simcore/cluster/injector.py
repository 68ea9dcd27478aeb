"""Makes faults happen to a cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from contracts.errors import InputError
from contracts.faults import (
    Fault,
    ImagePullFailure,
    LateStart,
    LinkDegraded,
    LinkLost,
    LostTransferPolicy,
    MemoryShrink,
    NodeLoss,
    SlowWorker,
    StaleRouterView,
    WorkerCrash,
    WorkerDrain,
    WorkerPartition,
)
from contracts.observation import WorkerState
from contracts.plan import Role
from contracts.units import ns_to_s, s_to_ns
from simcore.cluster.fault_log import FaultLog, OpenFault
from simcore.cluster.handoff import HandOffDesk
from simcore.cluster.placement import Placement
from simcore.cluster.pool import Pool
from simcore.cluster.worker import Worker
from simcore.kernel import EventOrder, Kernel

OneWorkerFault = WorkerCrash | WorkerPartition | WorkerDrain | SlowWorker | MemoryShrink


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectorHooks:
    """What the injector asks of its cluster.

    Attributes:
        lose: these workers die now; notes in the fault what they had and orders
            replacements if asked for.
        retried: a request has to send its KV cache again.
        misfit: a request no longer fits on its worker, which has dropped it.
    """

    lose: Callable[[Sequence[Worker], OpenFault, bool], None]
    retried: Callable[[int], None]
    misfit: Callable[[int], None]


class FaultInjector:
    """Strikes at the present instant; ends what has a duration by itself."""

    def __init__(
        self,
        kernel: Kernel,
        pools: Mapping[Role, Pool],
        placement: Placement,
        desk: HandOffDesk | None,
        hooks: InjectorHooks,
    ) -> None:
        self._kernel = kernel
        self._pools = pools
        self._placement = placement
        self._desk = desk
        self._hooks = hooks
        self._degraded: list[float] = []
        self._lags_ns: list[int] = []
        self._planned_lag_ns = next(iter(pools.values())).router.lag_ns
        self.log = FaultLog()

    def inject(self, fault: Fault) -> None:
        """Make a fault happen now, whatever its ``at_s``.

        Raises:
            InputError: it hits nothing.
            UnsupportedError: the engines cannot suffer it.
        """
        match fault:
            case NodeLoss():
                self._lose_node(fault)
            case LateStart():
                self._late(fault, lambda startup_s: startup_s * fault.factor + fault.extra_s)
            case ImagePullFailure():
                end_ns = self._kernel.now_ns + s_to_ns(fault.duration_s)
                self._late(fault, lambda s: s + ns_to_s(end_ns - self._kernel.now_ns))
            case LinkDegraded():
                self._degrade(fault)
            case LinkLost():
                self._lose_link(fault)
            case StaleRouterView():
                self._stale(fault)
            case _:
                self._strike(fault)

    def _strike(self, fault: OneWorkerFault) -> None:
        match fault:
            case WorkerCrash():
                self._crash(fault)
            case WorkerPartition():
                self._partition(fault)
            case WorkerDrain():
                self._drain(fault)
            case SlowWorker():
                self._slow(fault)
            case MemoryShrink():
                self._shrink(fault)

    # -- workers -----------------------------------------------------------------------

    def _crash(self, fault: WorkerCrash) -> None:
        worker = self._victim(fault)
        before = {fault.role: len(self._pools[fault.role].ready)}
        entry = self._open(fault, worker.worker_id, ready_before=before)
        self._hooks.lose([worker], entry, fault.restart)

    def _partition(self, fault: WorkerPartition) -> None:
        worker, pool = self._victim(fault), self._pools[fault.role]
        entry = self._open(fault, worker.worker_id, ready_before={fault.role: len(pool.ready)})
        self._hooks.lose([worker], entry, False)

        def end() -> None:
            pool.order(0.0)

        self._after(fault.duration_s, end)

    def _drain(self, fault: WorkerDrain) -> None:
        worker, pool = self._victim(fault), self._pools[fault.role]
        before = {fault.role: len(pool.ready)}
        self._open(fault, worker.worker_id, hit=worker.engine.requests_held, ready_before=before)
        pool.drain(worker)
        pool.replace_one()

    def _lose_node(self, fault: NodeLoss) -> None:
        on_node = {role: pool.on_node(fault.node_index) for role, pool in self._pools.items()}
        workers = [worker for found in on_node.values() for worker in found]
        if not workers:
            raise InputError(
                "the fault hits no worker",
                path=fault.kind,
                value=f"node_index {fault.node_index}",
                allowed=f"a node with workers, of {len(self._placement)} nodes",
            )
        before = {role: len(self._pools[role].ready) for role, found in on_node.items() if found}
        names = ",".join(worker.worker_id for worker in workers)
        entry = self._open(fault, names, ready_before=before)
        self._placement.lose(fault.node_index)
        self._hooks.lose(workers, entry, fault.restart)

    def _slow(self, fault: SlowWorker) -> None:
        worker = self._victim(fault)
        worker.slow_down(fault.factor)
        entry = self._open(fault, worker.worker_id, hit=worker.engine.requests_held)

        def end() -> None:
            if worker.state in (WorkerState.READY, WorkerState.DRAINING):
                worker.speed_up(fault.factor)
            entry.over(self._kernel.now_ns)

        self._after(fault.duration_s, end)

    def _shrink(self, fault: MemoryShrink) -> None:
        worker = self._victim(fault)
        held = worker.engine.requests_held
        misfits = worker.shrink(fault.lost_ratio)
        entry = self._open(fault, worker.worker_id, hit=held)
        entry.failed(len(misfits))
        for request_id in misfits:
            self._hooks.misfit(request_id)

    def _late(self, fault: LateStart | ImagePullFailure, delayed: Callable[[float], float]) -> None:
        pools = [p for role, p in self._pools.items() if fault.role in (None, role)]
        if not pools:
            raise InputError("the fault hits no worker", path=fault.kind, value=str(fault.role))
        entry = self._open(fault, "")
        delay = (delayed, lambda worker: entry.hit_worker(worker.worker_id))
        for pool in pools:
            pool.late_starts.append(delay)

        def end() -> None:
            for pool in pools:
                pool.late_starts.remove(delay)
            entry.over(self._kernel.now_ns)

        self._after(fault.duration_s, end)

    def _victim(self, fault: OneWorkerFault) -> Worker:
        pool = self._pools.get(fault.role)
        if pool is None or not 0 <= fault.worker_index < len(pool.ready):
            have = 0 if pool is None else len(pool.ready)
            raise InputError(
                "the fault hits no worker",
                path=f"{fault.kind} {fault.role.value}",
                value=f"worker_index {fault.worker_index}",
                allowed=f"{have} ready workers at {ns_to_s(self._kernel.now_ns):.3f} s",
            )
        return pool.ready[fault.worker_index]

    # -- link and router ---------------------------------------------------------------

    def _degrade(self, fault: LinkDegraded) -> None:
        desk = self._need_desk(fault)
        entry = self._open(fault, "link", hit=len(desk.link))
        self._degraded.append(fault.factor)
        desk.link.scale(_product(self._degraded))

        def end() -> None:
            self._degraded.remove(fault.factor)
            desk.link.scale(_product(self._degraded))
            entry.over(self._kernel.now_ns)

        self._after(fault.duration_s, end)

    def _lose_link(self, fault: LinkLost) -> None:
        desk = self._need_desk(fault)
        hit = desk.link.lose()
        entry = self._open(fault, "link", hit=len(hit), retried=len(hit))
        for request_id in hit:
            self._hooks.retried(request_id)
        recompute = fault.transfers is LostTransferPolicy.RECOMPUTE
        if recompute:
            desk.recompute += 1
            for request_id in hit:
                desk.give_up_transfer(request_id)

        def end() -> None:
            desk.recompute -= recompute
            desk.link.restore()
            entry.over(self._kernel.now_ns)

        self._after(fault.duration_s, end)

    def _stale(self, fault: StaleRouterView) -> None:
        entry = self._open(fault, "router")
        lag_ns = s_to_ns(fault.lag_s)
        self._lags_ns.append(lag_ns)
        self._set_lag()

        def end() -> None:
            self._lags_ns.remove(lag_ns)
            self._set_lag()
            entry.over(self._kernel.now_ns)

        self._after(fault.duration_s, end)

    def _set_lag(self) -> None:
        for pool in self._pools.values():
            pool.router.lag_ns = max(self._planned_lag_ns, *self._lags_ns, 0)

    def _need_desk(self, fault: LinkDegraded | LinkLost) -> HandOffDesk:
        if self._desk is None:
            raise InputError(
                "the fault hits no link", path=fault.kind, allowed="a disaggregated deployment"
            )
        return self._desk

    # -- bookkeeping -------------------------------------------------------------------

    def _open(
        self,
        fault: Fault,
        target: str,
        *,
        hit: int = 0,
        retried: int = 0,
        ready_before: Mapping[Role, int] | None = None,
    ) -> OpenFault:
        return self.log.add(
            fault.kind,
            target,
            now_ns=self._kernel.now_ns,
            hit=hit,
            retried=retried,
            ready_before=ready_before,
        )

    def _after(self, duration_s: float, end: Callable[[], None]) -> None:
        at_ns = self._kernel.now_ns + s_to_ns(duration_s)
        self._kernel.call_at(at_ns, EventOrder.CONTROL, end)


def _product(factors: Sequence[float]) -> float:
    total = 1.0
    for factor in sorted(factors):
        total *= factor
    return total
