"""LoRA adapters of one worker: loaded on first use, the idle one used longest ago leaves."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from contracts.plan import AdapterSettings
from contracts.units import s_to_ns
from simcore.cluster.request import LiveRequest
from simcore.kernel import EventOrder, Kernel, ScheduledCall


class AdapterSlots:
    """Requests wait until their adapter is loaded, or until a slot is free to load it.

    Args:
        on_load: an adapter begins to load.
        on_ready: a request that waited can go on.
    """

    def __init__(
        self,
        kernel: Kernel,
        settings: AdapterSettings,
        *,
        on_load: Callable[[str], None],
        on_ready: Callable[[LiveRequest], None],
    ) -> None:
        self._kernel = kernel
        self._load_ns = s_to_ns(settings.load_s)
        self._slots = settings.slots
        self._on_load = on_load
        self._on_ready = on_ready
        # Uses of each adapter that has a slot; the one used longest ago comes first.
        self._uses: dict[str, int] = {}
        self._loading: dict[str, tuple[ScheduledCall, list[LiveRequest]]] = {}
        self._queue: deque[LiveRequest] = deque()

    def __contains__(self, adapter: str) -> bool:
        return adapter in self._uses

    @property
    def waiting(self) -> int:
        """Requests that wait for an adapter."""
        return len(self._queue) + sum(len(waiting) for _, waiting in self._loading.values())

    def acquire(self, request: LiveRequest) -> bool:
        """Use an adapter; False when the request has to wait for it."""
        if request.adapter not in self._uses and (self._queue or not self._make_room()):
            self._queue.append(request)
            return False
        return self._use(request)

    def release(self, request: LiveRequest) -> None:
        """The request needs its adapter no more, whether it waited for it or used it."""
        if request in self._queue:
            self._queue.remove(request)
            return
        name = request.adapter
        entry = self._loading.get(name)
        if entry is not None and request in entry[1]:
            entry[1].remove(request)
        self._uses[name] = self._uses.pop(name) - 1
        self._serve_queue()

    def awaits(self, request: LiveRequest) -> bool:
        """The request waits here for its adapter."""
        loading = self._loading.get(request.adapter)
        return request in self._queue or (loading is not None and request in loading[1])

    def clear(self) -> list[LiveRequest]:
        """The worker has died; returns the requests that waited."""
        waiting = [request for _, requests in self._loading.values() for request in requests]
        waiting.extend(self._queue)
        for call, _ in self._loading.values():
            call.cancel()
        self._loading.clear()
        self._queue.clear()
        self._uses.clear()
        return waiting

    def _use(self, request: LiveRequest) -> bool:
        name = request.adapter
        known = name in self._uses
        self._uses[name] = self._uses.pop(name, 0) + 1
        if name in self._loading:
            self._loading[name][1].append(request)
            return False
        if known:
            return True
        at_ns = self._kernel.now_ns + self._load_ns
        call = self._kernel.call_at(at_ns, EventOrder.CONTROL, lambda: self._loaded(name))
        self._loading[name] = (call, [request])
        self._on_load(name)
        return False

    def _loaded(self, name: str) -> None:
        _, waiting = self._loading.pop(name)
        for request in waiting:
            self._on_ready(request)
        self._serve_queue()

    def _serve_queue(self) -> None:
        queue = self._queue
        while queue and (queue[0].adapter in self._uses or self._make_room()):
            request = queue.popleft()
            if self._use(request):
                self._on_ready(request)

    def _make_room(self) -> bool:
        if len(self._uses) < self._slots:
            return True
        for name, uses in self._uses.items():
            if uses == 0 and name not in self._loading:
                del self._uses[name]
                return True
        return False
