import collections
import dataclasses

import numpy as np
import pytest

from contracts.errors import InputError
from contracts.plan import Role, RouterPolicy, RouterSettings
from contracts.workload import PromptText, RequestSpec
from simcore.cluster import Cluster
from simcore.cluster.kv_router import KvAware, RouterView
from simcore.cluster.request import LiveRequest
from simcore.cluster.router import Draws, LoadBook
from simcore.kernel import EventOrder, Kernel
from simcore.simulation import simulate

BLOCK = 16


class FakeWorker:
    """Stands for a worker where only its place and its cache matter."""

    def __init__(self, slot: int, cached: dict[PromptText, int] | None = None) -> None:
        self.slot = slot
        self.cached = cached or {}

    def cached_prefix_tokens(self, text: PromptText | None) -> int:
        return self.cached.get(text, 0)


def live(request_id: int, isl: int = 160, text: PromptText | None = None, session: int = -1):
    spec = RequestSpec(request_id, 0, isl, 10, text=text, session=session)
    return LiveRequest(spec, request_id)


def view(make_agg_plan, policy: RouterPolicy, kernel: Kernel | None = None, **settings):
    pool = make_agg_plan(1).topology.pools[0]
    return RouterView(kernel or Kernel(), policy, RouterSettings(**settings), pool)


def kv_aware(workers, *, computes_prompts: bool = True, **settings) -> KvAware:
    generator = np.random.Generator(np.random.PCG64(5))
    router = KvAware(
        RouterSettings(**settings),
        block_size_tokens=BLOCK,
        computes_prompts=computes_prompts,
        overlap=lambda worker, request: worker.cached_prefix_tokens(request.spec.text),
        draws=Draws(generator),
    )
    for worker in workers:
        router.joined(worker)
    return router


def test_the_load_book_agrees_with_a_scan_whatever_happens() -> None:
    rng = np.random.Generator(np.random.PCG64(1))
    book, loads, next_slot = LoadBook(), {}, 0
    for _ in range(5000):
        action = rng.integers(0, 20)
        if action == 0 or not loads:
            worker = FakeWorker(next_slot)
            next_slot += 1
            book.join(worker)
            loads[worker] = 0
        elif action == 1 and len(loads) > 1:
            worker = list(loads)[rng.integers(0, len(loads))]
            book.leave(worker)
            del loads[worker]
            book.add(worker, 1)
            assert worker not in book
        else:
            worker = list(loads)[rng.integers(0, len(loads))]
            change = -1 if loads[worker] and action < 10 else 1
            book.add(worker, change)
            loads[worker] += change
        expected = min(loads, key=lambda w: (loads[w], w.slot))
        assert book.least(None) is expected
        some = list(loads)[:3]
        assert book.least(some) is min(some, key=lambda w: (loads[w], w.slot))


def test_power_of_two_takes_the_less_loaded_of_two_and_repeats_with_its_seed(
    make_agg_plan,
) -> None:
    def picks(seed: int) -> list[int]:
        router = view(make_agg_plan, RouterPolicy.POWER_OF_TWO, seed=seed)
        for slot in range(8):
            router.joined(FakeWorker(slot))
        slots = []
        for i in range(4000):
            worker = router.pick(live(i))
            router.placed(worker, live(i))
            slots.append(worker.slot)
        return slots

    first = picks(1)
    counts = collections.Counter(first)
    assert max(counts.values()) - min(counts.values()) <= 6, "two choices balance well"
    assert first == picks(1)
    assert first != picks(2)


def test_power_of_two_never_takes_the_single_most_loaded(make_agg_plan) -> None:
    router = view(make_agg_plan, RouterPolicy.POWER_OF_TWO)
    workers = [FakeWorker(slot) for slot in range(4)]
    for worker in workers:
        router.joined(worker)
    for i in range(5):
        router.placed(workers[2], live(i))
    picked = {router.pick(live(10)).slot for _ in range(200)}
    assert picked == {0, 1, 3}
    for worker in workers[:3]:
        router.left(worker)
    assert router.pick(live(11)) is workers[3]


def test_a_session_stays_with_its_worker_until_that_is_gone(make_agg_plan) -> None:
    router = view(make_agg_plan, RouterPolicy.SESSION_AFFINITY)
    workers = [FakeWorker(slot) for slot in range(3)]
    for worker in workers:
        router.joined(worker)
    home = router.pick(live(0, session=7))
    assert home is workers[0]
    for i in range(5):
        router.placed(home, live(i, session=7))
    assert router.pick(live(9, session=7)) is home, "loaded, but its home"
    assert router.pick(live(10)) is workers[1], "no session goes to the least loaded"
    router.left(home)
    moved = router.pick(live(11, session=7))
    assert moved is workers[1]
    router.placed(moved, live(11, session=7))
    assert router.pick(live(12, session=7)) is moved


def test_kv_costs_follow_the_formula() -> None:
    """Two workers: one caches 96 of 160 tokens but has work; the costs are 10 and 4 blocks."""
    text = PromptText((1, 2), (96, 160))
    idle, warm = FakeWorker(0), FakeWorker(1, {text: 96})
    router = kv_aware([idle, warm])
    assert router.pick(live(0, text=text), None) is warm
    router.placed(warm, live(0, text=text))
    # Now warm: 64 active prefill tokens, 10 blocks: (64 + 160)/16 - 6 + 10 = 18 > 10.
    assert router.pick(live(1, text=text), None) is idle
    router.prefilled(warm, live(0, text=text))
    # Still 160/16 - 6 + 10 = 14 > 10.
    assert router.pick(live(1, text=text), None) is idle
    router.ended(warm, live(0, text=text))
    assert router.pick(live(1, text=text), None) is warm


def test_active_prefill_counts_until_the_first_token() -> None:
    first, second = FakeWorker(0), FakeWorker(1)
    router = kv_aware([first, second])
    router.placed(first, live(0, isl=1600))
    router.placed(second, live(1, isl=1616))
    assert router.pick(live(2), None) is first
    router.prefilled(second, live(1))
    assert router.pick(live(2), None) is second, "100 + 100 blocks against 101"


def test_weights_switch_the_terms_of_the_cost_off() -> None:
    text = PromptText((1,), (160,))
    cold, warm = FakeWorker(0), FakeWorker(1, {text: 160})
    assert kv_aware([cold, warm]).pick(live(0, text=text), None) is warm
    assert kv_aware([cold, warm], overlap_credit=0.0).pick(live(0, text=text), None) is cold
    assert kv_aware([cold, warm], prefill_load_scale=0.0).pick(live(0, text=text), None) is cold
    decode = kv_aware([cold, warm], computes_prompts=False)
    assert decode.pick(live(0, text=text), None) is cold, "a decode pool computes no prompts"
    crowded = kv_aware([cold, warm], active_request_weight=100.0)
    crowded.placed(warm, live(1, isl=16))
    assert crowded.pick(live(0, text=text), None) is cold


def test_temperature_draws_by_the_scaled_costs() -> None:
    """Costs 0, half and full on the 0-1 scale at temperature 0.5: weights 1, 1/e, 1/e^2."""
    workers = [FakeWorker(slot) for slot in range(3)]
    router = kv_aware(workers, temperature=0.5)
    router.placed(workers[1], live(1, isl=160))
    router.prefilled(workers[1], live(1))
    router.placed(workers[2], live(2, isl=320))
    router.prefilled(workers[2], live(2))
    counts = collections.Counter(router.pick(live(3), None).slot for _ in range(20_000))
    weights = np.exp([0.0, -1.0, -2.0])
    for slot, share in enumerate(weights / weights.sum()):
        assert counts[slot] / 20_000 == pytest.approx(share, abs=0.01)


def test_a_stale_view_sends_everything_to_the_same_worker(make_agg_plan) -> None:
    kernel = Kernel()
    router = view(make_agg_plan, RouterPolicy.LEAST_LOADED, kernel, view_lag_s=1.0)
    workers = [FakeWorker(slot) for slot in range(2)]
    for worker in workers:
        router.joined(worker)
    picked = []

    def arrive(i: int) -> None:
        worker = router.pick(live(i))
        router.placed(worker, live(i))
        picked.append(worker.slot)

    for i, at_s in enumerate((0.0, 0.3, 0.6, 1.0, 1.1, 1.2)):
        kernel.call_at(round(at_s * 1e9), EventOrder.ARRIVAL, lambda i=i: arrive(i))
    kernel.run()
    assert picked == [0, 0, 0, 1, 1, 1], "news of the first placement arrives at 1 s"


def test_a_stale_view_does_not_see_fresh_cache_entries(make_agg_plan) -> None:
    kernel = Kernel()
    router = view(make_agg_plan, RouterPolicy.KV_AWARE, kernel, view_lag_s=1.0)
    text = PromptText((1, 2), (800, 1600))
    cold, warm = FakeWorker(0), FakeWorker(1, {text: 800})
    for worker in (cold, warm):
        router.joined(worker)
    request = live(0, isl=1600, text=text)
    assert router.pick(request) is warm, "what was cached before is seen"
    router.placed(warm, request)
    warm.cached[text] = 1600
    assert router._overlap(warm, live(1, isl=1600, text=text)) == 800
    router.prefilled(warm, request)
    kernel.run_until(10**9)
    router.pick(live(2, isl=1600, text=text))
    assert router._overlap(warm, live(1, isl=1600, text=text)) == 1600


@pytest.mark.parametrize("policy", list(RouterPolicy))
def test_every_router_serves_everything_and_repeats(make_agg_plan, make_workload, policy) -> None:
    plan = make_agg_plan(4, router=policy)
    plan = dataclasses.replace(plan, routing=RouterSettings(temperature=0.3, view_lag_s=0.05))
    workload = make_workload(300, 5_000_000)
    first, second = simulate(plan, workload), simulate(plan, workload)
    assert first.table.completed.all()
    assert first.digest == second.digest


@pytest.mark.parametrize(
    "policy",
    [RouterPolicy.LEAST_LOADED, RouterPolicy.KV_AWARE, RouterPolicy.SESSION_AFFINITY],
)
def test_books_are_empty_when_everything_has_ended(make_agg_plan, policy) -> None:
    kernel = Kernel()
    cluster = Cluster(kernel, make_agg_plan(3, router=policy))
    for i in range(40):
        cluster.submit(RequestSpec(i, 0, 500, 30, session=i % 5))
    cluster.cancel(3)
    kernel.run()
    router = cluster._pools[Role.AGG].router._router
    if policy is RouterPolicy.KV_AWARE:
        assert not router._shares
        left = [(b.prefill_tokens, b.blocks, b.requests) for b in router._books.values()]
        assert left == [(0, 0, 0)] * 3
    else:
        assert set(router._book._load.values()) == {0}


def test_settings_must_not_be_negative() -> None:
    with pytest.raises(InputError, match=r"routing\.temperature: must not be negative"):
        RouterSettings(temperature=-1.0)
