"""Disaggregation: from a finished prompt to its decode worker.

The prefill worker keeps the prompt's KV blocks until they have been sent, and the
decode worker reserves blocks before anything is sent. Requests for which no decode
worker has room wait in the decode pool's queue, first come, first served.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from contracts.errors import InvariantError
from contracts.plan import DisaggPlan, HandOff, KvSend, Role
from simcore.cluster.link import SharedLink
from simcore.cluster.pool import Pool
from simcore.cluster.request import LiveRequest
from simcore.cluster.worker import Worker
from simcore.kernel import Kernel


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOffHooks:
    """What the desk reports to its cluster.

    Attributes:
        on_reserved: a decode worker has reserved blocks for a request.
        to_prefill: a request that was waiting for its reservation can enter prefill.
        to_decode: the KV cache has arrived (or is lost) and the request enters decode.
        refuse: no decode worker could ever take a request, since they have lost memory.
        on_moved: requests that wait for the prefill pool may move.
    """

    on_reserved: Callable[[LiveRequest, Worker], None]
    to_prefill: Callable[[LiveRequest], None]
    to_decode: Callable[[LiveRequest, Worker], None]
    refuse: Callable[[LiveRequest], None]
    on_moved: Callable[[], None]


class HandOffDesk:
    """Reserves, sends and delivers; knows every request with blocks kept for a transfer.

    Attributes:
        link: the network.
        recompute: how many link losses with that policy last; meanwhile nothing is sent.
    """

    def __init__(
        self,
        kernel: Kernel,
        plan: DisaggPlan,
        pools: Mapping[Role, Pool],
        hooks: HandOffHooks,
    ) -> None:
        engine = plan.prefill.engine
        self._token_bytes = engine.model.kv_bytes_per_token(engine.kv_dtype)
        self._limit = plan.max_waiting_transfers
        self._missing_only = plan.kv_send is KvSend.MISSING_ONLY
        self._prefill = pools[Role.PREFILL]
        self._decode = pools[Role.DECODE]
        self._hooks = hooks
        self._active: dict[int, LiveRequest] = {}
        self._decode_first = plan.hand_off is HandOff.DECODE_FIRST
        self.link = SharedLink(kernel, plan.link, self._arrived)
        self.recompute = 0

    @property
    def full(self) -> bool:
        """So many finished prompts wait for room that no request may enter prefill."""
        waits = self._limit is not None and len(self._decode.pending) >= self._limit
        return waits and not self._decode_first

    def reserve(self, request: LiveRequest) -> bool:
        """Find a decode worker with room, or queue the request until there is one."""
        if not self._decode.pending and self._choose(request):
            return True
        if self._hopeless(request):
            self._hooks.refuse(request)
        else:
            self._decode.pending.append(request)
        return False

    def admits(self, request: LiveRequest) -> bool:
        """The request may enter prefill; else it waits for its decode worker."""
        return not self._decode_first or request.target is not None or self.reserve(request)

    def prefilled(self, request: LiveRequest, source: Worker) -> None:
        """The prompt is computed; its blocks stay at the source until they are sent."""
        source.hold(request.request_id, request.prompt_tokens)
        request.source = source
        self._active[request.request_id] = request
        if request.target is not None or self.reserve(request):
            self._send(request)

    def resume(self, request: LiveRequest) -> None:
        """Send again from a source that still has the blocks."""
        if self.reserve(request):
            self._send(request)

    def retry_waiting(self) -> None:
        """Room may have become free: move the queue as far as it goes."""
        pending = self._decode.pending
        moved = False
        while pending:
            request = pending[0]
            if not self._choose(request):
                if not self._hopeless(request):
                    break
                # Ending it takes it out of the queue and moves the rest.
                self._hooks.refuse(request)
                continue
            pending.popleft()
            moved = True
            if request.source is None:
                self._hooks.to_prefill(request)
            else:
                self._send(request)
        if moved:
            self._hooks.on_moved()

    def forget(self, request: LiveRequest) -> None:
        """The request is gone: stop its transfer and free what is kept for it."""
        if request in self._decode.pending:
            self._decode.pending.remove(request)
        self._active.pop(request.request_id, None)
        self.link.drop(request.request_id)
        self._give_back_source(request)
        target, request.target = request.target, None
        if target is not None:
            target.release(request.request_id)
            self._decode.router.ended(target, request)
            self._decode.stop_if_drained(target)

    def lose_worker(self, worker: Worker) -> list[LiveRequest]:
        """A worker has died; returns the requests whose hand-off it broke.

        Those whose blocks are still at a living source keep them.
        """
        broken = []
        for request in list(self._active.values()):
            if request.source is worker:
                self.forget(request)
                broken.append(request)
            elif request.target is worker:
                request.target = None
                self._decode.router.ended(worker, request)
                if request.source is None:
                    del self._active[request.request_id]
                elif self.link.drop(request.request_id):
                    broken.append(request)
        return broken

    def give_up_transfer(self, request_id: int) -> None:
        """The cache of a transfer is lost; the decode worker computes the prompt itself."""
        self.link.drop(request_id)
        self._deliver(self._active[request_id], recompute=True)

    def assert_conserved(self, live: int) -> None:
        """Check the bytes of the link and, when nothing lives, that nothing is kept.

        Raises:
            InvariantError: something does not add up.
        """
        self.link.assert_conserved()
        if live == 0 and (self._active or len(self.link)):
            raise InvariantError(f"{len(self._active)} hand-offs of requests that have ended")

    def _hopeless(self, request: LiveRequest) -> bool:
        ready, tokens = self._decode.ready, request.prompt_tokens
        return bool(ready) and not any(worker.could_hold(tokens) for worker in ready)

    def _choose(self, request: LiveRequest) -> bool:
        worker = self._decode.pick_with_room(request)
        if worker is None:
            return False
        worker.hold(request.request_id, request.prompt_tokens)
        request.target = worker
        self._active[request.request_id] = request
        self._decode.router.placed(worker, request)
        self._hooks.on_reserved(request, worker)
        return True

    def _send(self, request: LiveRequest) -> None:
        source, target = request.source, request.target
        if source is None or target is None:
            raise InvariantError(f"request {request.request_id} lacks an end of its transfer")
        if self.recompute:
            self._deliver(request, recompute=True)
            return
        tokens = request.prompt_tokens
        if self._missing_only:
            tokens = max(0, tokens - target.cached_prefix_tokens(request.spec.text))
        self.link.start(
            request.request_id, source.worker_id, target.worker_id, tokens * self._token_bytes
        )

    def _arrived(self, request_id: int) -> None:
        self._deliver(self._active[request_id], recompute=False)

    def _deliver(self, request: LiveRequest, *, recompute: bool) -> None:
        del self._active[request.request_id]
        request.recompute = recompute
        target, request.target = request.target, None
        if target is None:
            raise InvariantError(f"request {request.request_id} arrives nowhere")
        target.release(request.request_id)
        self._give_back_source(request)
        self._hooks.to_decode(request, target)

    def _give_back_source(self, request: LiveRequest) -> None:
        source, request.source = request.source, None
        if source is not None:
            source.release(request.request_id)
            self._prefill.stop_if_drained(source)
