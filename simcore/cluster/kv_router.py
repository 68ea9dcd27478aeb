"""The KV-aware router and the view through which routers see the pool."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Sequence

from contracts.plan import PoolPlan, Role, RouterPolicy, RouterSettings
from contracts.streams import RandomStreams
from contracts.units import s_to_ns
from simcore.cluster.request import LiveRequest
from simcore.cluster.router import (
    Draws,
    LeastLoaded,
    PowerOfTwo,
    RoundRobin,
    Router,
    SessionAffinity,
)
from simcore.cluster.worker import Worker
from simcore.kernel import Kernel

Overlap = Callable[[Worker, LiveRequest], int]
Tell = Callable[[Worker, LiveRequest], None]


class _Books:
    """What the KV-aware router believes of one worker."""

    __slots__ = ("blocks", "prefill_tokens", "requests", "worker")

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.prefill_tokens = 0
        self.blocks = 0
        self.requests = 0


class _Share:
    """What one request adds to the books of its worker."""

    __slots__ = ("blocks", "prefill_tokens", "slot")

    def __init__(self, slot: int, prefill_tokens: int, blocks: int) -> None:
        self.slot = slot
        self.prefill_tokens = prefill_tokens
        self.blocks = blocks


class KvAware:
    """Weighs cached prompt blocks against load; the formula of Dynamo's KV router.

    Cost of a worker, in KV blocks, lowest wins::

        prefill_load_scale * max(0, (active_prefill_tokens + isl) / block - credit)
            + decode_blocks + active_request_weight * active_requests

    with ``credit = overlap_credit * cached blocks``. Prompt tokens that a worker lacks
    count until the first token, prompt blocks and requests until the end. A decode pool
    computes no prompts, so only its blocks and requests count. With a temperature above
    0 the worker is drawn with weights ``exp(-cost / temperature)``, costs scaled to 0-1.

    Args:
        overlap: tokens of a request's prompt that a worker has cached, as seen from here.
        computes_prompts: false for a decode pool.
    """

    def __init__(
        self,
        settings: RouterSettings,
        *,
        block_size_tokens: int,
        computes_prompts: bool,
        overlap: Overlap,
        draws: Draws,
    ) -> None:
        self._settings = settings
        self._block = block_size_tokens
        self._computes = computes_prompts
        self._overlap = overlap
        self._draws = draws
        self._books: dict[int, _Books] = {}
        self._shares: dict[int, _Share] = {}
        self._picked: dict[int, int] = {}

    def joined(self, worker: Worker) -> None:
        """Open its books."""
        self._books[worker.slot] = _Books(worker)

    def left(self, worker: Worker) -> None:
        """Close its books."""
        del self._books[worker.slot]

    def pick(self, request: LiveRequest, among: Sequence[Worker] | None) -> Worker:
        """The cheapest worker, or one drawn by cost."""
        slots = self._books if among is None else [worker.slot for worker in among]
        books = [self._books[slot] for slot in slots]
        overlaps = [self._overlap(each.worker, request) if self._computes else 0 for each in books]
        costs = [
            self._cost(each, request, tokens) for each, tokens in zip(books, overlaps, strict=True)
        ]
        at = self._choose(costs)
        self._picked[request.request_id] = overlaps[at]
        return books[at].worker

    def placed(self, worker: Worker, request: LiveRequest) -> None:
        """Add the request to the books of its worker."""
        cached = self._picked.pop(request.request_id, 0)
        tokens = request.prompt_tokens
        missing = max(0, tokens - cached) if self._computes else 0
        share = _Share(worker.slot, missing, -(-tokens // self._block))
        self._shares[request.request_id] = share
        books = self._books.get(worker.slot)
        if books is not None:
            books.prefill_tokens += share.prefill_tokens
            books.blocks += share.blocks
            books.requests += 1

    def prefilled(self, worker: Worker, request: LiveRequest) -> None:
        """Its prompt is computed."""
        share = self._shares.get(request.request_id)
        if share is None or share.slot != worker.slot:
            return
        books = self._books.get(share.slot)
        if books is not None:
            books.prefill_tokens -= share.prefill_tokens
        share.prefill_tokens = 0

    def ended(self, worker: Worker, request: LiveRequest) -> None:
        """Take the request out of the books."""
        self.prefilled(worker, request)
        share = self._shares.get(request.request_id)
        if share is None or share.slot != worker.slot:
            return
        del self._shares[request.request_id]
        books = self._books.get(share.slot)
        if books is not None:
            books.blocks -= share.blocks
            books.requests -= 1

    def _cost(self, books: _Books, request: LiveRequest, cached_tokens: int) -> float:
        settings = self._settings
        cost = books.blocks + settings.active_request_weight * books.requests
        if self._computes:
            credit = settings.overlap_credit * (cached_tokens // self._block)
            prompt = (books.prefill_tokens + request.prompt_tokens) / self._block
            cost += settings.prefill_load_scale * max(0.0, prompt - credit)
        return cost

    def _choose(self, costs: list[float]) -> int:
        temperature = self._settings.temperature
        low, high = min(costs), max(costs)
        if temperature == 0:
            return costs.index(low)
        span = (high - low) or 1.0
        weights = [math.exp((low - cost) / span / temperature) for cost in costs]
        mark = self._draws.next() * sum(weights)
        for at, weight in enumerate(weights):
            mark -= weight
            if mark < 0:
                return at
        return costs.index(low)


class RouterView:
    """Stands before a router and delays what it hears by ``lag_ns``.

    While there is a lag, prompts that a worker did not have when they were given to it
    stay invisible until the lag after their first token. Evictions are seen at once.
    """

    def __init__(
        self, kernel: Kernel, policy: RouterPolicy, settings: RouterSettings, pool: PoolPlan
    ) -> None:
        self._lag_ns = s_to_ns(settings.view_lag_s)
        # Nothing is late and nothing hidden, so news go straight to the router.
        self._fresh = self._lag_ns == 0
        self._kernel = kernel
        self._news: deque[tuple[int, Tell, Worker, LiveRequest]] = deque()
        self._hidden: dict[int, Counter[int]] = {}
        self._hidden_by: dict[int, tuple[int, tuple[int, ...]]] = {}
        self._router = self._make(policy, settings, pool)

    def _make(self, policy: RouterPolicy, settings: RouterSettings, pool: PoolPlan) -> Router:
        stream = RandomStreams(settings.seed).stream(f"router.{pool.role.value}")
        if policy is RouterPolicy.KV_AWARE:
            return KvAware(
                settings,
                block_size_tokens=pool.engine.limits.block_size_tokens,
                computes_prompts=pool.role is not Role.DECODE,
                overlap=self._overlap,
                draws=Draws(stream),
            )
        if policy is RouterPolicy.POWER_OF_TWO:
            return PowerOfTwo(stream)
        if policy is RouterPolicy.SESSION_AFFINITY:
            return SessionAffinity()
        return RoundRobin() if policy is RouterPolicy.ROUND_ROBIN else LeastLoaded()

    @property
    def lag_ns(self) -> int:
        """Delay of news; may change at any time."""
        return self._lag_ns

    @lag_ns.setter
    def lag_ns(self, value: int) -> None:
        self._lag_ns = value
        self._fresh = not (value or self._news or self._hidden_by)

    def joined(self, worker: Worker) -> None:
        """A worker is ready."""
        self._router.joined(worker)

    def left(self, worker: Worker) -> None:
        """A worker takes no more requests; never late, connections break at once."""
        self._router.left(worker)
        self._hidden.pop(worker.slot, None)

    def pick(self, request: LiveRequest, among: Sequence[Worker] | None = None) -> Worker:
        """Choose with the news that are old enough."""
        if not self._fresh:
            self._catch_up()
        return self._router.pick(request, among)

    def placed(self, worker: Worker, request: LiveRequest) -> None:
        """A request was given to a worker."""
        if self._fresh:
            self._router.placed(worker, request)
            return
        if self._lag_ns:
            self._hide(worker, request)
        self._note(self._router.placed, worker, request)

    def prefilled(self, worker: Worker, request: LiveRequest) -> None:
        """A request has its first token."""
        if self._fresh:
            self._router.prefilled(worker, request)
        else:
            self._note(self._heard_prefilled, worker, request)

    def ended(self, worker: Worker, request: LiveRequest) -> None:
        """A request has left a worker."""
        if self._fresh:
            self._router.ended(worker, request)
        else:
            self._note(self._heard_ended, worker, request)

    def _note(self, tell: Tell, worker: Worker, request: LiveRequest) -> None:
        self._news.append((self._kernel.now_ns, tell, worker, request))

    def _catch_up(self) -> None:
        news, known_ns = self._news, self._kernel.now_ns - self._lag_ns
        while news and news[0][0] <= known_ns:
            _, tell, worker, request = news.popleft()
            tell(worker, request)
        self._fresh = not (self._lag_ns or news or self._hidden_by)

    def _heard_prefilled(self, worker: Worker, request: LiveRequest) -> None:
        self._reveal(worker, request)
        self._router.prefilled(worker, request)

    def _heard_ended(self, worker: Worker, request: LiveRequest) -> None:
        self._reveal(worker, request)
        self._router.ended(worker, request)

    # -- what caches seem to hold --------------------------------------------------------

    def _hide(self, worker: Worker, request: LiveRequest) -> None:
        text = request.spec.text
        if text is None:
            return
        cached = worker.cached_prefix_tokens(text)
        new = tuple(i for i, end in zip(text.ids, text.ends, strict=True) if end > cached)
        self._hidden_by[request.request_id] = (worker.slot, new)
        self._hidden.setdefault(worker.slot, Counter()).update(new)

    def _reveal(self, worker: Worker, request: LiveRequest) -> None:
        slot, ids = self._hidden_by.get(request.request_id, (-1, ()))
        if slot != worker.slot:
            return
        del self._hidden_by[request.request_id]
        hidden = self._hidden.get(slot)
        if hidden is not None:
            hidden.subtract(ids)
            for each in ids:
                if hidden[each] <= 0:
                    del hidden[each]

    def _overlap(self, worker: Worker, request: LiveRequest) -> int:
        text = request.spec.text
        if text is None:
            return 0
        cached = worker.cached_prefix_tokens(text)
        hidden = self._hidden.get(worker.slot)
        if hidden:
            begin = 0
            for each, end in zip(text.ids, text.ends, strict=True):
                if each in hidden:
                    return min(cached, begin)
                begin = end
        return cached
