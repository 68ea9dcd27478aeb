"""The frontend's source of tokens: workers elsewhere, chosen by the simulator's routers.

In a disaggregated deployment a prefill worker computes the prompt and makes one token, and
only then a decode worker makes all of them: both times count. A request whose worker is lost
goes to another one, which computes the prompt and what was delivered again, or fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import cast

from contracts.plan import Role, RouterPolicy, RouterSettings
from contracts.records import RequestStatus
from contracts.units import NS_PER_S
from contracts.workload import RequestSpec
from mocker.clock import Clock
from mocker.engines.options import card_of
from mocker.engines.port import ModelCard, Outcome, Submitted, TokenSink
from mocker.fleet.remote import RemoteWorker
from mocker.metrics.server import Finished, ServerMetrics
from simcore.cluster.kv_router import RouterView
from simcore.cluster.request import LiveRequest
from simcore.cluster.worker import Worker
from simcore.kernel import Kernel

# A request waits so long for a worker that takes it.
PATIENCE_S = 30.0


class _Pending:
    """A request of the frontend.

    Attributes:
        offset: tokens that workers it has left have delivered.
        moves: workers that it has lost.
        stage: role that it is with, or waits for.
        patience: ends the wait for a worker.
    """

    __slots__ = (
        "arrival_ns", "cached", "first_ns", "generated", "last_ns", "live", "moves", "offset",
        "patience", "request", "sink", "stage", "worker",
    )  # fmt: skip

    def __init__(self, request: Submitted, sink: TokenSink, live: LiveRequest, at_ns: int) -> None:
        self.request = request
        self.sink = sink
        self.live = live
        self.arrival_ns = at_ns
        self.first_ns = self.last_ns = -1
        self.generated = self.offset = self.cached = self.moves = 0
        self.stage = Role.AGG
        self.worker: RemoteWorker | None = None
        self.patience: asyncio.TimerHandle | None = None

    def waits_no_more(self) -> None:
        """It has a worker, or needs none."""
        if self.patience is not None:
            self.patience.cancel()
            self.patience = None


class Fleet:
    """All workers of a frontend.

    Args:
        clock: the wall clock.
        policy: how workers are chosen.
        routing: knobs of that.
        moves_max: workers that a request may lose before it fails; ``None`` is no limit.
        patience_s: how long a request waits for a worker.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        policy: RouterPolicy = RouterPolicy.LEAST_LOADED,
        routing: RouterSettings | None = None,
        moves_max: int | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.metrics = ServerMetrics()
        self.workers: dict[str, RemoteWorker] = {}
        self.moves_max = moves_max
        self._retired: set[RemoteWorker] = set()
        self._clock = clock
        self._policy = policy
        self._routing = routing or RouterSettings()
        self._patience_s = patience_s
        self._routers: dict[Role, RouterView] = {}
        self._ready: dict[Role, list[RemoteWorker]] = {role: [] for role in Role}
        self._requests: dict[int, _Pending] = {}
        self._waiting: dict[Role, list[int]] = {role: [] for role in Role}
        self._next_id = self._next_slot = 0
        self._card: ModelCard | None = None
        self._limits: RemoteWorker | None = None
        self._speed = 1.0
        self._known = asyncio.Event()

    # -- workers -------------------------------------------------------------------------

    def set_addresses(self, addresses: Iterable[str]) -> None:
        """Connect to new workers, leave those that are gone from the list once they are idle."""
        wanted = set(addresses)
        for address in sorted(wanted - self.workers.keys()):
            worker = self.workers[address] = RemoteWorker(address, self)
            worker.open()
        for address in sorted(self.workers.keys() - wanted):
            worker = self.workers.pop(address)
            worker.retire()
            self._retired.add(worker)
            self._part_if_idle(worker)

    async def first_worker(self) -> None:
        """Until a worker has said what it serves."""
        await self._known.wait()

    def ready_workers(self) -> int:
        """Workers that take requests; 0 when a role has none."""
        generating = len(self._ready[Role.AGG]) + len(self._ready[Role.DECODE])
        if not generating or (self._disaggregated and not self._ready[Role.PREFILL]):
            return 0
        return generating + len(self._ready[Role.PREFILL])

    def close(self) -> None:
        """Leave all workers, whatever they have."""
        for worker in (*self.workers.values(), *self._retired):
            worker.close()
        self.workers.clear()
        self._retired.clear()

    def joined(self, worker: RemoteWorker) -> None:
        """A worker takes requests."""
        worker.slot = self._next_slot
        self._next_slot += 1
        self._ready[worker.role].append(worker)
        if worker.role not in self._routers:
            view = RouterView(Kernel(), self._policy, self._routing, worker.pool)
            self._routers[worker.role] = view
        self._routers[worker.role].joined(_routable(worker))
        if worker.plan is not None and (self._card is None or worker.role is not Role.PREFILL):
            self._card = card_of(worker.plan, self._clock.unix_s())
            self._limits = worker
            self._speed = worker.speed
            self._known.set()
        for role in Role:
            waiting, self._waiting[role] = self._waiting[role], []
            for request_id in waiting:
                pending = self._requests.get(request_id)
                if pending is None:
                    continue
                if role is Role.DECODE:  # its prompt is computed
                    self._send(request_id, pending, role)
                else:
                    self._dispatch(request_id)

    def left(self, worker: RemoteWorker) -> None:
        """A worker takes no more requests."""
        self._ready[worker.role].remove(worker)
        self._routers[worker.role].left(_routable(worker))

    def lost(self, worker: RemoteWorker) -> None:
        """A worker has gone with its requests."""
        for request_id, pending in list(self._requests.items()):
            if pending.worker is not worker:
                continue
            self._let_go(pending)
            pending.moves += 1
            if self.moves_max is not None and pending.moves > self.moves_max:
                reason = f"worker {worker.worker_id} was lost"
                self._end(request_id, Outcome(RequestStatus.FAILED, reason, pending.generated))
                continue
            pending.offset = pending.generated
            if pending.offset >= pending.request.osl:
                outcome = Outcome(RequestStatus.COMPLETED, "", pending.offset, pending.cached)
                self._end(request_id, outcome)
            else:
                self._dispatch(request_id)
        self._retired.discard(worker)

    # -- the source of tokens ---------------------------------------------------------------

    @property
    def card(self) -> ModelCard:
        """What the workers serve; known once the first has joined."""
        assert self._card is not None
        return self._card

    @property
    def pool_worker(self) -> RemoteWorker | None:
        """A worker whose limits stand for all."""
        return self._limits

    @property
    def in_flight(self) -> int:
        """Requests that have not ended."""
        return len(self._requests)

    @property
    def awaiting_first_token(self) -> int:
        """Requests without a token yet."""
        return sum(1 for pending in self._requests.values() if pending.first_ns < 0)

    def refusal(self, isl: int, osl: int) -> str | None:
        """The worker says it, if it is so."""
        del isl, osl
        return None

    def submit(self, request: Submitted, sink: TokenSink) -> int:
        """Take a request; returns its id."""
        request_id = self._next_id
        self._next_id += 1
        self.metrics.running += 1
        spec = RequestSpec(
            request_id, 0, request.isl, request.osl, request.text, request.priority,
            request.adapter, request.session,
        )  # fmt: skip
        self._requests[request_id] = _Pending(request, sink, LiveRequest(spec, 0), self._now_ns())
        asyncio.get_running_loop().call_soon(self._begin, request_id)
        return request_id

    def cancel(self, request_id: int) -> None:
        """The client has gone; unknown ids are ignored."""
        pending = self._requests.get(request_id)
        if pending is None:
            return
        if pending.worker is not None:
            pending.worker.cancel(request_id)
            self._let_go(pending)
        reason = "cancelled by the client"
        self._end(request_id, Outcome(RequestStatus.CANCELLED, reason, pending.generated))

    # -- what workers say ---------------------------------------------------------------------

    def tokens(self, request_id: int, generated: int) -> None:
        """Tokens of a request so far."""
        pending = self._requests.get(request_id)
        if pending is None or pending.stage is Role.PREFILL:
            return
        self._progress(pending, pending.offset + generated)
        pending.sink.on_tokens(pending.generated)

    def ended(self, request_id: int, outcome: Outcome) -> None:
        """A worker has no more to do for a request."""
        pending = self._requests.get(request_id)
        if pending is None or pending.worker is None:
            return
        self._let_go(pending)
        if outcome.status is RequestStatus.COMPLETED and pending.stage is Role.PREFILL:
            pending.cached = outcome.cached
            self._send(request_id, pending, Role.DECODE)
            return
        if outcome.status is RequestStatus.COMPLETED:
            self._progress(pending, pending.offset + outcome.generated)
        cached = max(pending.cached, outcome.cached)
        # The clocks of two workers have nothing in common.
        times = outcome.token_ns if not pending.offset else ()
        self._end(
            request_id,
            outcome._replace(generated=pending.generated, cached=cached, token_ns=times),
        )

    # -- on the way --------------------------------------------------------------------------

    @property
    def _disaggregated(self) -> bool:
        return Role.PREFILL in self._routers or Role.DECODE in self._routers

    def _begin(self, request_id: int) -> None:
        if request_id in self._requests:
            self._dispatch(request_id)

    def _dispatch(self, request_id: int) -> None:
        role = Role.PREFILL if self._disaggregated else Role.AGG
        self._send(request_id, self._requests[request_id], role)

    def _send(self, request_id: int, pending: _Pending, role: Role) -> None:
        pending.stage = role
        if not self._ready[role]:
            self._waiting[role].append(request_id)
            if pending.patience is None:
                loop = asyncio.get_running_loop()
                pending.patience = loop.call_later(self._patience_s, self._give_up, request_id)
            return
        pending.waits_no_more()
        worker = cast("RemoteWorker", self._routers[role].pick(pending.live))
        self._routers[role].placed(_routable(worker), pending.live)
        pending.worker = worker
        worker.held += 1
        request, done = pending.request, pending.offset
        osl = 1 if role is Role.PREFILL else request.osl - done
        text = None if done else request.text
        worker.submit(request_id, request._replace(isl=request.isl + done, osl=osl, text=text))

    def _give_up(self, request_id: int) -> None:
        pending = self._requests[request_id]
        self._waiting[pending.stage].remove(request_id)
        reason = f"no {pending.stage.value} worker in {self._patience_s:g} s"
        self._end(request_id, Outcome(RequestStatus.FAILED, reason, pending.generated))

    def _let_go(self, pending: _Pending) -> None:
        worker, pending.worker = pending.worker, None
        if worker is not None:
            self._routers[worker.role].ended(_routable(worker), pending.live)
            worker.held -= 1
            self._part_if_idle(worker)

    def _part_if_idle(self, worker: RemoteWorker) -> None:
        if worker in self._retired and not worker.held:
            self._retired.discard(worker)
            worker.close()

    def _progress(self, pending: _Pending, generated: int) -> None:
        new_tokens, now_ns = generated - pending.generated, self._now_ns()
        if new_tokens <= 0:
            return
        metrics = self.metrics
        metrics.generation_tokens += new_tokens
        if pending.first_ns < 0:
            pending.first_ns = now_ns
            metrics.ttft_s.observe((now_ns - pending.arrival_ns) / NS_PER_S)
            if pending.worker is not None:
                self._routers[pending.stage].prefilled(_routable(pending.worker), pending.live)
        else:
            gap_s = (now_ns - pending.last_ns) / new_tokens / NS_PER_S
            metrics.itl_s.observe(gap_s, new_tokens)
        pending.generated, pending.last_ns = generated, now_ns

    def _end(self, request_id: int, outcome: Outcome) -> None:
        pending = self._requests.pop(request_id)
        pending.waits_no_more()
        self.metrics.running -= 1
        done = outcome.status is RequestStatus.COMPLETED
        self.metrics.finish(
            Finished(
                pending.request.isl, outcome.generated, pending.arrival_ns, -1,
                pending.first_ns, self._now_ns(), pending.request.max_tokens or 0,
            ),
            pending.request.reason if done else "abort",
        )  # fmt: skip
        pending.sink.on_end(outcome)

    def _now_ns(self) -> int:
        """Wall time, stretched to simulated time."""
        return int(self._clock.now_ns() * self._speed)


def _routable(worker: RemoteWorker) -> Worker:
    """Routers look at ``slot`` and ``cached_prefix_tokens`` only, which a remote worker has."""
    return cast("Worker", worker)
