"""The network between prefill and decode workers, shared fairly by KV transfers.

Each worker has one connection with equal bandwidth in both directions, and all of them
may meet in a fabric. Rates are max-min fair (progressive filling, Bertsekas and Gallager,
Data Networks, section 6.5.2). Transfers with equal ends always have equal rates, so each
pair of ends keeps one running total of bytes served to every one of its transfers and a
heap of the totals at which they end: an event costs work for each pair, not for each
transfer. Bytes count in millionths and time in nanoseconds, both whole numbers.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from contracts.errors import InvariantError
from contracts.plan import KvLink
from contracts.units import NS_PER_US
from simcore.kernel import EventOrder, Kernel, ScheduledCall

_UNITS_PER_BYTE = 1_000_000


class _Pair:
    """All transfers between one sender and one receiver.

    Attributes:
        served: units that each transfer of this pair would have got since the beginning.
        rate: units that each one gets in a nanosecond.
    """

    __slots__ = ("at_ns", "call", "count", "heap", "rate", "receiver", "sender", "served")

    def __init__(self, sender: str, receiver: str, now_ns: int) -> None:
        self.sender = sender
        self.receiver = receiver
        self.heap: list[tuple[int, int, _Flow]] = []
        self.count = 0
        self.served = 0
        self.rate = 0
        self.at_ns = now_ns
        self.call: ScheduledCall | None = None

    def settle(self, now_ns: int) -> None:
        self.served += self.rate * (now_ns - self.at_ns)
        self.at_ns = now_ns


class _Flow:
    """One transfer: waits for the link, then for its latency, then moves bytes."""

    __slots__ = ("call", "key", "pair", "receiver", "sender", "size_bytes")

    def __init__(self, key: int, sender: str, receiver: str, size_bytes: int) -> None:
        self.key = key
        self.sender = sender
        self.receiver = receiver
        self.size_bytes = size_bytes
        self.call: ScheduledCall | None = None
        self.pair: _Pair | None = None


class SharedLink:
    """Carries transfers, each known by a key, and says when one has arrived.

    A lone transfer takes the latency plus its bytes divided by the bandwidth, rounded up
    to a nanosecond.

    Args:
        on_done: receives the key of a transfer at the instant of its last byte.

    Attributes:
        bytes_asked: sizes of all transfers that were started.
        bytes_delivered: of transfers that have arrived.
        bytes_dropped: sizes of transfers that were given up.
    """

    def __init__(self, kernel: Kernel, link: KvLink, on_done: Callable[[int], None]) -> None:
        self._kernel = kernel
        self._latency_ns = round(link.latency_us * NS_PER_US)
        self._port_units = round(link.gbytes_per_s * _UNITS_PER_BYTE)
        fabric = link.fabric_gbytes_per_s
        self._fabric_units = None if fabric is None else round(fabric * _UNITS_PER_BYTE)
        self._factor = 1.0
        self._on_done = on_done
        self._flows: dict[int, _Flow] = {}
        self._by_sender: dict[str, dict[str, _Pair]] = {}
        self._by_receiver: dict[str, dict[str, _Pair]] = {}
        self._started = 0
        self._losses = 0
        self.bytes_asked = 0
        self.bytes_delivered = 0
        self.bytes_dropped = 0

    def __len__(self) -> int:
        return len(self._flows)

    @property
    def lost(self) -> bool:
        """No transfer can move now."""
        return self._losses > 0

    def start(self, key: int, sender: str, receiver: str, size_bytes: int) -> None:
        """Begin a transfer; while the link is lost it waits.

        Raises:
            InvariantError: the key is in use.
        """
        if key in self._flows:
            raise InvariantError(f"transfer {key} is already on the link")
        flow = _Flow(key, sender, receiver, size_bytes)
        self._flows[key] = flow
        self.bytes_asked += size_bytes
        if not self.lost:
            self._begin(flow)

    def drop(self, key: int) -> bool:
        """Give a transfer up; False when it is not on the link."""
        flow = self._flows.pop(key, None)
        if flow is None:
            return False
        self.bytes_dropped += flow.size_bytes
        self._stop(flow)
        return True

    def scale(self, factor: float) -> None:
        """All bandwidths become ``factor`` times the planned ones."""
        self._factor = factor
        self._refill()

    def lose(self) -> list[int]:
        """Nothing moves any more; returns the transfers that lost what they had sent.

        They stay on the link and begin again when it is restored.
        """
        self._losses += 1
        moving = [f for f in self._flows.values() if f.call is not None or f.pair is not None]
        for flow in moving:
            self._stop(flow)
        return [flow.key for flow in moving]

    def restore(self) -> None:
        """End one loss; with the last one, every transfer begins again from its start."""
        self._losses -= 1
        if not self.lost:
            for flow in list(self._flows.values()):
                self._begin(flow)

    def assert_conserved(self) -> None:
        """Check that every byte asked for has arrived, was given up or is under way.

        Raises:
            InvariantError: it is not so.
        """
        under_way = sum(flow.size_bytes for flow in self._flows.values())
        if self.bytes_asked != self.bytes_delivered + self.bytes_dropped + under_way:
            raise InvariantError(
                f"{self.bytes_asked} bytes asked, {self.bytes_delivered} delivered, "
                f"{self.bytes_dropped} dropped, {under_way} under way"
            )

    # -- one transfer ----------------------------------------------------------------

    def _begin(self, flow: _Flow) -> None:
        at_ns = self._kernel.now_ns + self._latency_ns
        flow.call = self._kernel.call_at(at_ns, EventOrder.TRANSFER, lambda: self._join(flow))

    def _join(self, flow: _Flow) -> None:
        """The first byte leaves."""
        flow.call = None
        if flow.size_bytes == 0:
            self._arrived(flow)
            return
        pair = self._pair(flow.sender, flow.receiver)
        pair.settle(self._kernel.now_ns)
        self._started += 1
        tag = pair.served + flow.size_bytes * _UNITS_PER_BYTE
        heapq.heappush(pair.heap, (tag, self._started, flow))
        pair.count += 1
        flow.pair = pair
        self._changed(pair)

    def _stop(self, flow: _Flow) -> None:
        if flow.call is not None:
            flow.call.cancel()
            flow.call = None
        pair = flow.pair
        if pair is not None:
            flow.pair = None
            pair.settle(self._kernel.now_ns)
            pair.heap = [entry for entry in pair.heap if entry[2] is not flow]
            heapq.heapify(pair.heap)
            pair.count -= 1
            self._changed(pair)

    def _fire(self, pair: _Pair) -> None:
        """The transfers with the least left have sent their last byte."""
        pair.call = None
        pair.settle(self._kernel.now_ns)
        done: list[_Flow] = []
        while pair.heap and pair.heap[0][0] <= pair.served:
            flow = heapq.heappop(pair.heap)[2]
            flow.pair = None
            pair.count -= 1
            done.append(flow)
        self._changed(pair)
        for flow in done:
            self._arrived(flow)

    def _arrived(self, flow: _Flow) -> None:
        # A listener may have dropped it while an earlier one of this instant arrived.
        if self._flows.pop(flow.key, None) is not None:
            self.bytes_delivered += flow.size_bytes
            self._on_done(flow.key)

    # -- sharing -----------------------------------------------------------------------

    def _pair(self, sender: str, receiver: str) -> _Pair:
        pair = self._by_sender.get(sender, {}).get(receiver)
        if pair is None:
            pair = _Pair(sender, receiver, self._kernel.now_ns)
            self._by_sender.setdefault(sender, {})[receiver] = pair
            self._by_receiver.setdefault(receiver, {})[sender] = pair
        return pair

    def _changed(self, pair: _Pair) -> None:
        """The number of transfers of a pair has changed; it is settled."""
        sender, receiver = self._by_sender[pair.sender], self._by_receiver[pair.receiver]
        alone = self._fabric_units is None and len(sender) == 1 and len(receiver) == 1
        if pair.count == 0:
            del sender[pair.receiver], receiver[pair.sender]
            if not sender:
                del self._by_sender[pair.sender]
            if not receiver:
                del self._by_receiver[pair.receiver]
            if pair.call is not None:
                pair.call.cancel()
                pair.call = None
        elif alone:
            pair.rate = max(1, self._scaled(self._port_units) // pair.count)
        if alone:
            self._arm(pair)
        else:
            self._refill(pair)

    def _refill(self, changed: _Pair | None = None) -> None:
        """Give every pair its max-min fair rate and move the ends that change."""
        now_ns = self._kernel.now_ns
        for pair, rate in self._fair_rates().items():
            if rate != pair.rate or pair is changed:
                pair.settle(now_ns)
                pair.rate = rate
                self._arm(pair)

    def _fair_rates(self) -> dict[_Pair, int]:
        """Progressive filling: the tightest bottleneck fixes the rates through it first."""
        port = self._scaled(self._port_units)
        ends = (*self._by_sender.values(), *self._by_receiver.values())
        bottlenecks = [_Bottleneck(port, list(pairs.values())) for pairs in ends]
        everything = [pair for pairs in self._by_sender.values() for pair in pairs.values()]
        if self._fabric_units is not None:
            bottlenecks.append(_Bottleneck(self._scaled(self._fabric_units), everything))
        return _fill(bottlenecks, len(everything))

    def _scaled(self, units: int) -> int:
        return units if self._factor == 1.0 else max(1, round(units * self._factor))

    def _arm(self, pair: _Pair) -> None:
        if pair.call is not None:
            pair.call.cancel()
            pair.call = None
        if pair.heap:
            left = pair.heap[0][0] - pair.served
            at_ns = self._kernel.now_ns + max(0, -(-left // pair.rate))
            pair.call = self._kernel.call_at(at_ns, EventOrder.TRANSFER, lambda: self._fire(pair))


class _Bottleneck:
    """A connection or the fabric, with the pairs that go through it."""

    __slots__ = ("pairs", "units")

    def __init__(self, units: int, pairs: list[_Pair]) -> None:
        self.units = units
        self.pairs = pairs

    def narrow(self, fixed: dict[_Pair, int]) -> None:
        """Take away pairs whose rates are fixed, with their bandwidth."""
        rest = []
        for pair in self.pairs:
            rate = fixed.get(pair)
            if rate is None:
                rest.append(pair)
            else:
                self.units -= rate * pair.count
        self.pairs = rest


def _fill(bottlenecks: list[_Bottleneck], pairs: int) -> dict[_Pair, int]:
    rates: dict[_Pair, int] = {}
    while len(rates) < pairs:
        bottlenecks = [each for each in bottlenecks if each.pairs]
        shares = [each.units // sum(p.count for p in each.pairs) for each in bottlenecks]
        least = min(shares)
        tightest = bottlenecks[shares.index(least)]
        fixed = dict.fromkeys(tightest.pairs, max(1, least))
        rates.update(fixed)
        for each in bottlenecks:
            each.narrow(fixed)
    return rates
