import numpy as np
import pytest

from contracts.errors import InputError, InvariantError
from contracts.plan import KvLink
from simcore.cluster.link import SharedLink
from simcore.kernel import EventOrder, Kernel

GB = 10**9
US = 1000


class Ends:
    """Runs transfers ``(at_ns, sender, receiver, bytes)`` and notes when they end."""

    def __init__(self, link: KvLink) -> None:
        self.kernel = Kernel()
        self.at_ns: dict[int, int] = {}
        self.link = SharedLink(self.kernel, link, self.note)

    def note(self, key: int) -> None:
        self.at_ns[key] = self.kernel.now_ns

    def run(self, transfers) -> dict[int, int]:
        for key, (at_ns, sender, receiver, size) in enumerate(transfers):
            self.kernel.call_at(
                at_ns, EventOrder.ARRIVAL,
                lambda k=key, s=sender, r=receiver, b=size: self.link.start(k, s, r, b),
            )  # fmt: skip
        self.kernel.run()
        return self.at_ns


def fluid_ends(transfers, link: KvLink) -> dict[int, float]:
    """Brute force: rates of single transfers by water filling in tiny equal raises."""
    left = {k: float(t[3]) for k, t in enumerate(transfers)}
    begin = {k: t[0] + link.latency_us * US for k, t in enumerate(transfers)}
    now, ends = 0.0, {}
    while left:
        active = [k for k in left if begin[k] <= now]
        rates = water_fill([transfers[k][1:3] for k in active], link)
        rate = dict(zip(active, rates, strict=True))
        horizon = [begin[k] - now for k in left if begin[k] > now]
        horizon += [left[k] / rate[k] for k in active]
        step = min(horizon)
        now += step
        for k in active:
            left[k] -= rate[k] * step
            if left[k] <= 1e-6 * rate[k]:
                ends[k] = now
                del left[k]
    return ends


def water_fill(flows, link: KvLink) -> list[float]:
    capacity = {}
    for sender, receiver in flows:
        capacity["s" + sender] = capacity["r" + receiver] = link.gbytes_per_s
    if link.fabric_gbytes_per_s is not None:
        capacity["fabric"] = link.fabric_gbytes_per_s
    through = [{"s" + s, "r" + r, "fabric"} & capacity.keys() for s, r in flows]
    rates, frozen = [0.0] * len(flows), set()
    while len(frozen) < len(flows):
        room = {
            name: (total - sum(rates[i] for i, names in enumerate(through) if name in names))
            / max(1, sum(name in names for i, names in enumerate(through) if i not in frozen))
            for name, total in capacity.items()
            if any(name in names for i, names in enumerate(through) if i not in frozen)
        }
        raise_by = min(room.values())
        for i in range(len(flows)):
            if i not in frozen:
                rates[i] += raise_by
        full = {name for name, value in room.items() if value <= raise_by * (1 + 1e-12)}
        frozen |= {i for i, names in enumerate(through) if names & full}
    return rates


def test_a_lone_transfer_takes_latency_plus_bytes_over_bandwidth() -> None:
    ends = Ends(KvLink(gbytes_per_s=50.0, latency_us=20.0)).run([(7, "p", "d", 262_144_000)])
    assert ends == {0: 7 + 20 * US + 5_242_880}


def test_nothing_to_send_takes_the_latency() -> None:
    assert Ends(KvLink(gbytes_per_s=1.0, latency_us=3.0)).run([(0, "p", "d", 0)]) == {0: 3 * US}


@pytest.mark.parametrize(
    ("second", "fabric", "first_ns"),
    [
        (("p", "e"), None, 2 * GB // 10),
        (("q", "d"), None, 2 * GB // 10),
        (("q", "e"), None, GB // 10),
        (("q", "e"), 10.0, 2 * GB // 10),
    ],
)
def test_two_transfers_share_what_they_have_in_common(second, fabric, first_ns) -> None:
    link = KvLink(gbytes_per_s=10.0, latency_us=0.0, fabric_gbytes_per_s=fabric)
    ends = Ends(link).run([(0, "p", "d", GB), (0, *second, GB)])
    assert ends == {0: first_ns, 1: first_ns}


def test_bandwidth_left_over_by_a_bottleneck_goes_to_others() -> None:
    """Three transfers share sender p; the receiver of one is crowded, so the others speed up."""
    link = KvLink(gbytes_per_s=12.0, latency_us=0.0)
    big = 10**13
    crowd = [(0, name, "d", big) for name in "qrst"]
    run = Ends(link).run([(0, "p", "d", big), (0, "p", "e", 96 * GB), *crowd])
    # Receiver d gives 12/5 = 2.4 to each of five; sender p has 9.6 left for the other one.
    assert run[1] == 10 * GB


@pytest.mark.parametrize("fabric", [None, 35.0])
@pytest.mark.parametrize("seed", range(8))
def test_max_min_rates_agree_with_a_brute_force_fluid_model(seed, fabric) -> None:
    rng = np.random.Generator(np.random.PCG64(seed))
    transfers = [
        (
            int(rng.integers(0, 60_000_000)),
            f"p{rng.integers(0, 4)}",
            f"d{rng.integers(0, 5)}",
            int(rng.integers(1, 300_000_000)),
        )
        for _ in range(40)
    ]
    link = KvLink(gbytes_per_s=20.0, latency_us=15.0, fabric_gbytes_per_s=fabric)
    runner = Ends(link)
    exact, brute = runner.run(transfers), fluid_ends(transfers, link)
    assert exact.keys() == brute.keys()
    assert max(abs(exact[k] - brute[k]) for k in exact) < 100, "nanoseconds"
    assert runner.link.bytes_delivered == sum(t[3] for t in transfers)
    runner.link.assert_conserved()
    assert not runner.link._by_sender, "no pair is left"


def test_a_dropped_transfer_gives_its_share_back() -> None:
    ends = Ends(KvLink(gbytes_per_s=10.0, latency_us=0.0))
    ends.kernel.call_at(GB // 10, EventOrder.CONTROL, lambda: ends.link.drop(1))
    # Half speed for 0.1 s moves 0.5 GB, the other 0.5 GB goes at full speed.
    assert ends.run([(0, "p", "d", GB), (0, "p", "e", GB)]) == {0: 15 * GB // 100}
    assert ends.link.bytes_dropped == GB
    ends.link.assert_conserved()
    assert not ends.link.drop(1)


def test_a_degraded_link_is_slower_only_while_it_lasts() -> None:
    ends = Ends(KvLink(gbytes_per_s=10.0, latency_us=0.0))
    ends.kernel.call_at(GB // 20, EventOrder.CONTROL, lambda: ends.link.scale(0.5))
    ends.kernel.call_at(GB // 10, EventOrder.CONTROL, lambda: ends.link.scale(1.0))
    assert ends.run([(0, "p", "d", GB)]) == {0: 125 * GB // 1000}


def test_a_lost_link_begins_every_transfer_again() -> None:
    ends = Ends(KvLink(gbytes_per_s=10.0, latency_us=1000.0))
    hit = []
    ends.kernel.call_at(GB // 20, EventOrder.CONTROL, lambda: hit.extend(ends.link.lose()))
    ends.kernel.call_at(GB, EventOrder.CONTROL, ends.link.restore)
    transfers = [(0, "p", "d", GB), (GB // 2, "q", "e", 0)]
    assert ends.run(transfers) == {0: GB + 1_000_000 + GB // 10, 1: GB + 1_000_000}
    assert hit == [0], "the second one started while the link was lost"


def test_a_key_cannot_be_used_twice_and_a_link_needs_bandwidth() -> None:
    link = Ends(KvLink(gbytes_per_s=1.0, latency_us=0.0)).link
    link.start(1, "p", "d", 5)
    with pytest.raises(InvariantError, match="already on the link"):
        link.start(1, "p", "d", 5)
    with pytest.raises(InputError, match="bandwidths must be positive"):
        KvLink(gbytes_per_s=0.0, latency_us=0.0)
