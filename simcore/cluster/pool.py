"""The workers of one role: order, start, drain, lose; and the queue in front of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from contracts.observation import PoolLoad, WorkerState, WorkerView
from contracts.plan import AdapterSettings, DeploymentPlan, PoolPlan
from contracts.ports import StepTimer
from contracts.units import s_to_ns
from simcore.cluster.adapters import AdapterSlots
from simcore.cluster.kv_router import RouterView
from simcore.cluster.placement import Placement
from simcore.cluster.request import LiveRequest
from simcore.cluster.worker import Worker
from simcore.engine import Engine, EngineEvent, GapHistogram, StepReport
from simcore.kernel import EventOrder, Kernel

_OCCUPYING = (WorkerState.STARTING, WorkerState.READY, WorkerState.DRAINING)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolHooks:
    """What a pool reports to its cluster.

    Attributes:
        on_events: an engine has events.
        on_state: a worker has changed its state.
        on_ready: a worker is ready, so the pending queue can move.
        on_adapter_load: a worker begins to load an adapter.
        on_adapter_ready: a request on a worker has the adapter that it waited for.
        on_step: an engine has made a step; ``None`` when nobody wants to know.
    """

    on_events: Callable[[Worker, list[EngineEvent]], None]
    on_state: Callable[[Worker], None]
    on_ready: Callable[[Pool], None]
    on_adapter_load: Callable[[Worker, str], None]
    on_adapter_ready: Callable[[Worker, LiveRequest], None]
    on_step: Callable[[Worker, StepReport], None] | None = None


@contextmanager
def held_back(pools: Collection[Pool]) -> Iterator[None]:
    """Ready workers look ahead after the block, each once; it must not outlast an instant."""
    workers = [worker for pool in pools for worker in pool.ready]
    for worker in workers:
        worker.held_back = True
    try:
        yield
    finally:
        for worker in workers:
            worker.go_on()


class Pool:
    """All workers of one role, past and present.

    Attributes:
        pending: requests that wait for a ready worker (or one with room).
        ready: workers that take requests, oldest first.
        late_starts: what makes the start-up seconds of workers ordered now longer, and what
            hears of each such worker.
    """

    def __init__(  # noqa: PLR0913  # one of each thing a pool is made of
        self,
        *,
        kernel: Kernel,
        plan: PoolPlan,
        deployment: DeploymentPlan,
        hooks: PoolHooks,
        placement: Placement,
        every_step: bool,
        timer: StepTimer,
    ) -> None:
        self.role = plan.role
        self.plan = plan
        self.pending: deque[LiveRequest] = deque()
        self.ready: list[Worker] = []
        self.late_starts: list[tuple[Callable[[float], float], Callable[[Worker], None]]] = []
        self.router = RouterView(kernel, deployment.router, deployment.routing, plan)
        self._kernel = kernel
        self._timer = timer
        self._hooks = hooks
        self._startup_s = deployment.startup_s
        self._adapters: AdapterSettings | None = deployment.adapters
        self._slots: dict[str, AdapterSlots] = {}
        self._placement = placement
        self._every_step = every_step
        self._workers: dict[str, Worker] = {}
        self._ordered = 0
        self._made_ready = 0

    def report_steps(self, *, every_step: bool) -> None:
        """Let workers report every step from now on, or visible events only."""
        self._every_step = every_step
        for worker in self._workers.values():
            worker.report_steps(every_step=every_step)

    def reset_prefix_caches(self) -> None:
        """Forget cached prompts that no request holds."""
        for worker in self._workers.values():
            worker.engine.reset_prefix_cache()

    def token_gaps(self) -> GapHistogram:
        """Times between the tokens of a request, over all workers there ever were."""
        gaps = GapHistogram()
        for worker in self._workers.values():
            gaps.merge(worker.engine.token_gaps())
        return gaps

    def order(self, startup_s: float) -> Worker:
        """Order one worker that becomes ready after ``startup_s`` seconds, or later."""
        spec = self.plan.engine
        worker = Worker(
            worker_id=f"{self.role.value}-{self._ordered}",
            plan=self.plan,
            engine=Engine(spec.limits, self._timer, spec.scheduling, spec.dp),
            kernel=self._kernel,
            on_events=self._after_wake,
            every_step=self._every_step,
        )
        self._ordered += 1
        if self._hooks.on_step is not None:
            worker.engine.watch(partial(self._hooks.on_step, worker))
        worker.nodes = self._placement.place(self.plan.engine.gpu, self.plan.engine.gpus)
        if self._adapters is not None:
            self._slots[worker.worker_id] = AdapterSlots(
                self._kernel,
                self._adapters,
                on_load=lambda name: self._hooks.on_adapter_load(worker, name),
                on_ready=lambda request: self._hooks.on_adapter_ready(worker, request),
            )
        self._workers[worker.worker_id] = worker
        self._hooks.on_state(worker)
        for delayed, note in self.late_starts:
            startup_s = delayed(startup_s)
            note(worker)
        if startup_s <= 0:
            self._make_ready(worker)
        else:
            ready_ns = self._kernel.now_ns + s_to_ns(startup_s)
            worker.start_call = self._kernel.call_at(
                ready_ns, EventOrder.CONTROL, lambda: self._make_ready(worker)
            )
        return worker

    def replace_one(self) -> None:
        """Order one worker with the start-up time of the deployment."""
        self.order(self._startup_s)

    def resize(self, wanted: int, *, startup_s: float, room: int) -> None:
        """Order or remove workers so that ``wanted`` are starting or ready.

        Workers still starting are cancelled before ready ones drain; at most ``room``
        workers are ordered, because GPUs of draining workers are still taken.
        """
        starting = [w for w in self._workers.values() if w.state is WorkerState.STARTING]
        have = len(starting) + len(self.ready)
        for _ in range(min(max(0, wanted - have), room)):
            self.order(startup_s)
        surplus = max(0, have - wanted)
        for worker in reversed(starting[len(starting) - min(surplus, len(starting)) :]):
            if worker.start_call is not None:
                worker.start_call.cancel()
            self._set_state(worker, WorkerState.STOPPED)
            surplus -= 1
        for worker in self._emptiest(surplus):
            self.drain(worker)

    def drain(self, worker: Worker) -> None:
        """Let a ready worker end what it has and stop."""
        self._retire(worker)
        self._set_state(worker, WorkerState.DRAINING)
        self.stop_if_drained(worker)

    def _emptiest(self, count: int) -> list[Worker]:
        """Ready workers with the fewest requests, the newest first among equals."""
        newest_first = self.ready[::-1]
        newest_first.sort(key=lambda worker: worker.engine.requests_held)
        return newest_first[:count]

    def pick(self, request: LiveRequest) -> Worker | None:
        """The worker for the next request, ``None`` when none is ready."""
        if not self.ready:
            return None
        among = self._with_adapter(request.adapter) if request.adapter else None
        return self.router.pick(request, among)

    def pick_with_room(self, request: LiveRequest) -> Worker | None:
        """A worker with free KV blocks for the prompt, ``None`` when there is none now."""
        worker = self.pick(request)
        tokens = request.prompt_tokens
        if worker is None or worker.has_room(tokens):
            return worker
        among = [each for each in self.ready if each.has_room(tokens)]
        return self.router.pick(request, among) if among else None

    def _with_adapter(self, adapter: str) -> list[Worker] | None:
        """Workers that have the adapter, unless they are much busier than the others."""
        if self._adapters is None:
            return None
        having = [w for w in self.ready if adapter in self._slots[w.worker_id]]
        if not having:
            return None
        least = min(worker.engine.requests_held for worker in self.ready)
        best = min(worker.engine.requests_held for worker in having)
        return having if best - least <= self._adapters.spill_requests else None

    def admits(self, worker: Worker, request: LiveRequest) -> bool:
        """The worker has the adapter of a request; else the request waits there for it."""
        slots = self._slots.get(worker.worker_id)
        return slots is None or slots.acquire(request)

    def withdraw(self, worker: Worker, request: LiveRequest) -> None:
        """Take a request that has ended early from a worker of this pool."""
        slots = self._slots.get(worker.worker_id)
        if slots is None or not slots.awaits(request):
            worker.cancel(request.request_id)
        self.let_go(worker, request)
        self.stop_if_drained(worker)

    def let_go(self, worker: Worker, request: LiveRequest) -> None:
        """A request has left a worker of this pool."""
        self.router.ended(worker, request)
        slots = self._slots.get(worker.worker_id) if request.adapter else None
        if slots is not None:
            slots.release(request)

    def awaiting_adapters(self, worker: Worker) -> list[LiveRequest]:
        """Requests that waited for an adapter on a worker which has died."""
        slots = self._slots.pop(worker.worker_id, None)
        return [] if slots is None else slots.clear()

    def lose(self, worker: Worker) -> None:
        """Mark a worker as failed and take it out of service."""
        worker.disarm()
        if worker.start_call is not None:
            worker.start_call.cancel()
        if worker in self.ready:
            self._retire(worker)
        worker.release_all()
        self._set_state(worker, WorkerState.FAILED)

    def on_node(self, node: int) -> list[Worker]:
        """Workers with GPUs on a node, oldest first."""
        return [w for w in self._workers.values() if w.state in _OCCUPYING and node in w.nodes]

    def find(self, worker_id: str) -> Worker:
        """A worker by id."""
        return self._workers[worker_id]

    @property
    def workers_active(self) -> int:
        """Workers that are starting or ready."""
        active = (WorkerState.STARTING, WorkerState.READY)
        return sum(1 for w in self._workers.values() if w.state in active)

    @property
    def gpus_taken(self) -> int:
        """GPUs of workers that are starting, ready or draining."""
        taken = sum(1 for w in self._workers.values() if w.state in _OCCUPYING)
        return taken * self.plan.engine.gpus

    def views(self) -> list[WorkerView]:
        """All workers that occupy GPUs or have failed."""
        return [w.view() for w in self._workers.values() if w.state is not WorkerState.STOPPED]

    def load(self) -> PoolLoad:
        """Load of the pool, with the requests that wait for a ready worker."""
        now_ns = self._kernel.now_ns
        active = [
            *self.ready,
            *(w for w in self._workers.values() if w.state is WorkerState.DRAINING),
        ]
        loads = [worker.engine.load(now_ns) for worker in active]
        ready = loads[: len(self.ready)]
        return PoolLoad(
            role=self.role,
            running_requests=sum(load.running_requests for load in loads),
            waiting_requests=sum(load.waiting_requests for load in loads) + len(self.pending),
            waiting_prefill_tokens=sum(load.waiting_prefill_tokens for load in loads)
            + sum(r.isl + r.generated for r in self.pending),
            kv_usage_ratio=sum(load.kv_usage_ratio for load in ready) / max(1, len(ready)),
        )

    def assert_conserved(self) -> None:
        """Check blocks and tokens of every engine, dead ones included."""
        for worker in self._workers.values():
            worker.engine.assert_conserved()

    def _after_wake(self, worker: Worker, events: list[EngineEvent]) -> None:
        self._hooks.on_events(worker, events)
        self.stop_if_drained(worker)

    def stop_if_drained(self, worker: Worker) -> None:
        """Stop a draining worker that holds nothing any more."""
        if worker.state is not WorkerState.DRAINING or not worker.idle:
            return
        slots = self._slots.get(worker.worker_id)
        if slots is None or not slots.waiting:
            worker.disarm()
            self._set_state(worker, WorkerState.STOPPED)

    def _retire(self, worker: Worker) -> None:
        self.ready.remove(worker)
        self.router.left(worker)

    def _make_ready(self, worker: Worker) -> None:
        worker.slot = self._made_ready
        self._made_ready += 1
        self.ready.append(worker)
        self.router.joined(worker)
        self._set_state(worker, WorkerState.READY)
        self._hooks.on_ready(self)

    def _set_state(self, worker: Worker, state: WorkerState) -> None:
        worker.state = state
        worker.since_ns = self._kernel.now_ns
        if state not in _OCCUPYING:
            engine = self.plan.engine
            self._placement.leave(engine.gpu, engine.gpus, worker.nodes)
        self._hooks.on_state(worker)
