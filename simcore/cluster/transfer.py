"""Moving the KV cache of finished prompts to the decode pool."""

from __future__ import annotations

from collections.abc import Callable

from contracts.plan import KvLink
from contracts.units import NS_PER_US, s_to_ns
from simcore.cluster.request import LiveRequest
from simcore.cluster.worker import Worker
from simcore.kernel import EventOrder, Kernel, ScheduledCall


class TransferQueue:
    """Transfers leave a prefill worker one after the other over its link.

    The time of a transfer is the latency plus the prompt's KV bytes divided by the
    bandwidth; a worker that has several prompts to send serialises them.
    """

    def __init__(
        self,
        kernel: Kernel,
        link: KvLink,
        kv_bytes_per_token: int,
        on_done: Callable[[LiveRequest], None],
    ) -> None:
        self._kernel = kernel
        self._latency_ns = round(link.latency_us * NS_PER_US)
        self._token_s = kv_bytes_per_token / (link.gbytes_per_s * 1e9)
        self._on_done = on_done
        self._flying: dict[int, tuple[ScheduledCall, LiveRequest, Worker]] = {}

    def __len__(self) -> int:
        return len(self._flying)

    def start(self, request: LiveRequest, source: Worker) -> None:
        """Send the prompt's KV cache as soon as the source's link is free."""
        tokens = request.isl + request.generated
        begin_ns = max(self._kernel.now_ns, source.link_free_ns)
        end_ns = begin_ns + self._latency_ns + s_to_ns(tokens * self._token_s)
        source.link_free_ns = end_ns
        call = self._kernel.call_at(end_ns, EventOrder.TRANSFER, lambda: self._arrive(request))
        self._flying[request.request_id] = (call, request, source)

    def drop(self, request_id: int) -> bool:
        """Abandon one transfer; False when it is not in flight."""
        entry = self._flying.pop(request_id, None)
        if entry is not None:
            entry[0].cancel()
        return entry is not None

    def lose(self, source: Worker) -> list[LiveRequest]:
        """Abandon all transfers from a worker that died; returns their requests."""
        lost = [request for _, request, worker in self._flying.values() if worker is source]
        for request in lost:
            self.drop(request.request_id)
        return lost

    def _arrive(self, request: LiveRequest) -> None:
        del self._flying[request.request_id]
        self._on_done(request)
