import dataclasses

import numpy as np
import pytest

from contracts.engine import EngineLimits
from contracts.errors import InputError
from contracts.faults import WorkerCrash
from contracts.plan import (
    KV_LINKS,
    AdapterSettings,
    DisaggPlan,
    HandOff,
    KvLink,
    KvSend,
    PoolPlan,
    Role,
)
from contracts.records import RequestStatus
from contracts.units import NS_PER_S
from contracts.workload import PromptText, RequestSpec
from simcore.cluster import Cluster
from simcore.engine import Engine
from simcore.kernel import Kernel
from simcore.simulation import simulate

MS = 1_000_000


def disagg(plan, **changes):
    return dataclasses.replace(plan, topology=dataclasses.replace(plan.topology, **changes))


def limited(plan, role: Role, limits: EngineLimits):
    name = role.value
    pool = getattr(plan.topology, name)
    engine = dataclasses.replace(pool.engine, limits=limits)
    return disagg(plan, **{name: dataclasses.replace(pool, engine=engine)})


def assert_nothing_is_kept(cluster: Cluster) -> None:
    for pool in cluster._pools.values():
        assert not pool.pending
        for worker in pool.ready:
            assert worker.idle
            assert worker.held_blocks == 0
            assert pool.router._router._book.load(worker) == 0


def test_tcp_collapses_the_ttft_of_a_70b_model(
    make_disagg_plan, make_engine_spec, make_workload
) -> None:
    """2 prompts a second of 4000 tokens are 2.6 GB a second, twice what TCP carries."""
    engine = make_engine_spec("meta-llama/Llama-3.1-70B", tp=8)
    pools = {
        role: PoolPlan(role=role, engine=engine, replicas=1) for role in (Role.PREFILL, Role.DECODE)
    }
    workload = make_workload(60, 500 * MS, isl=4000, osl=50)

    def ttft_ms(link: str) -> float:
        topology = DisaggPlan(
            prefill=pools[Role.PREFILL], decode=pools[Role.DECODE], link=KV_LINKS[link]
        )
        plan = dataclasses.replace(make_disagg_plan(1, 1), topology=topology)
        table = simulate(plan, workload).table
        assert table.completed.all()
        return float(np.percentile(table.ttft_ms, 90))

    nvlink, rdma, tcp = ttft_ms("nvlink"), ttft_ms("rdma"), ttft_ms("tcp")
    assert nvlink < rdma < 600
    assert tcp > 50 * rdma


@pytest.mark.parametrize("hand_off", list(HandOff))
def test_both_hand_offs_serve_everything_and_keep_nothing(
    make_disagg_plan, make_workload, hand_off
) -> None:
    plan = disagg(make_disagg_plan(2, 2), hand_off=hand_off)
    kernel = Kernel()
    cluster = Cluster(kernel, plan)
    workload = make_workload(100, 1, isl=1500, osl=60)
    for i in range(100):
        cluster.submit(workload.request(i)._replace(arrival_ns=0))
    kernel.run()
    assert cluster.record().table.completed.all()
    assert_nothing_is_kept(cluster)


def test_blocks_are_kept_at_the_source_and_reserved_at_the_target(make_disagg_plan) -> None:
    link = KvLink(gbytes_per_s=0.1, latency_us=0.0)
    kernel = Kernel()
    cluster = Cluster(kernel, disagg(make_disagg_plan(1, 1), link=link))
    cluster.submit(RequestSpec(0, 0, 1600, 10))
    source, target = (cluster._pools[role].ready[0] for role in (Role.PREFILL, Role.DECODE))
    assert (source.held_blocks, target.held_blocks) == (0, 0)
    kernel.run_until(NS_PER_S)
    assert (source.held_blocks, target.held_blocks) == (100, 100)
    kernel.run()
    assert (source.held_blocks, target.held_blocks) == (0, 0)


def test_decode_first_reserves_before_prefill(make_disagg_plan) -> None:
    cluster = Cluster(Kernel(), disagg(make_disagg_plan(1, 2), hand_off=HandOff.DECODE_FIRST))
    for i in range(2):
        cluster.submit(RequestSpec(i, 0, 1600, 10))
    assert [w.held_blocks for w in cluster._pools[Role.DECODE].ready] == [100, 100]


@pytest.mark.parametrize("hand_off", list(HandOff))
def test_hand_offs_wait_for_room_on_the_decode_worker(make_disagg_plan, hand_off) -> None:
    """The decode cache holds one request at a time, so they are decoded one after another."""
    small = EngineLimits(kv_blocks_total=100, block_size_tokens=16)
    plan = limited(make_disagg_plan(1, 1), Role.DECODE, small)
    kernel = Kernel()
    cluster = Cluster(kernel, disagg(plan, hand_off=hand_off))
    for i in range(5):
        cluster.submit(RequestSpec(i, 0, 1000, 100))
    kernel.run()
    table = cluster.record().table
    assert table.completed.all()
    assert (table.first_token_ns[1:] > table.finish_ns[:-1]).all()
    assert_nothing_is_kept(cluster)


def test_waiting_transfers_hold_prefill_back(make_disagg_plan) -> None:
    small = EngineLimits(kv_blocks_total=100, block_size_tokens=16)
    plan = limited(make_disagg_plan(1, 1), Role.DECODE, small)

    def most_held(limit: int | None) -> int:
        kernel = Kernel()
        cluster = Cluster(kernel, disagg(plan, max_waiting_transfers=limit))
        for i in range(20):
            cluster.submit(RequestSpec(i, i * 30 * MS, 1000, 100))
            kernel.run_until((i + 1) * 30 * MS)
        held = cluster._pools[Role.PREFILL].ready[0].held_blocks
        kernel.run()
        assert cluster.record().table.completed.all()
        return held

    assert most_held(None) > 10 * 63
    # Two wait, one is being sent and what prefill had begun may still join them.
    assert most_held(2) <= 4 * 63


def test_a_limit_of_no_waiting_transfers_is_refused(make_disagg_plan) -> None:
    with pytest.raises(InputError, match="max_waiting_transfers"):
        disagg(make_disagg_plan(1, 1), max_waiting_transfers=0)


class CachingEngine(Engine):
    """Claims to have 800 tokens of every text."""

    def cached_prefix_tokens(self, at_ns: int, text: PromptText) -> int:
        return 800


@pytest.mark.parametrize(
    ("send", "tokens"), [(KvSend.FULL_PROMPT, 1600), (KvSend.MISSING_ONLY, 800)]
)
def test_only_missing_tokens_are_sent_if_asked_for(
    monkeypatch, make_disagg_plan, send, tokens
) -> None:
    monkeypatch.setattr("simcore.cluster.pool.Engine", CachingEngine)
    kernel = Kernel()
    cluster = Cluster(kernel, disagg(make_disagg_plan(1, 1), kv_send=send))
    cluster.submit(RequestSpec(0, 0, 1600, 5, text=PromptText((1,), (1600,))))
    kernel.run()
    assert cluster._desk.link.bytes_delivered == tokens * 131_072


# -- time-outs ---------------------------------------------------------------------------


def test_a_request_times_out_wherever_it_is(make_disagg_plan) -> None:
    for timeout_ms in (1, 30, 70, 100, 300, 1000):
        kernel = Kernel()
        cluster = Cluster(kernel, make_disagg_plan(1, 1))
        cluster.submit(RequestSpec(0, 0, 3000, 500, timeout_ns=timeout_ms * MS))
        kernel.run()
        table = cluster.record().table
        assert list(table.status) == [RequestStatus.TIMED_OUT.value]
        assert table.finish_ns[0] == timeout_ms * MS
        assert_nothing_is_kept(cluster)


def test_only_late_requests_time_out_each_at_its_own_time(make_agg_plan) -> None:
    kernel = Kernel()
    cluster = Cluster(kernel, make_agg_plan(1))
    timeouts = [900, 5, 700, 60_000, 0, 400]
    for i, timeout_ms in enumerate(timeouts):
        cluster.submit(RequestSpec(i, 0, 200, 400, timeout_ns=timeout_ms * MS))
    kernel.run()
    table = cluster.record().table
    late = table.status == RequestStatus.TIMED_OUT.value
    assert late.tolist() == [True, True, True, False, False, True]
    assert (table.finish_ns[late] == np.array([900, 5, 700, 400]) * MS).all()
    assert table.completed[~late].all()


def test_completing_exactly_at_the_deadline_is_completing(make_agg_plan) -> None:
    def finish(timeout_ns: int):
        kernel = Kernel()
        cluster = Cluster(kernel, make_agg_plan(1))
        cluster.submit(RequestSpec(0, 0, 200, 20, timeout_ns=timeout_ns))
        kernel.run()
        table = cluster.record().table
        return int(table.finish_ns[0]), str(table.status[0])

    end_ns, _ = finish(0)
    assert finish(end_ns) == (end_ns, "completed")
    assert finish(end_ns - 1) == (end_ns - 1, "timed_out")


# -- adapters ----------------------------------------------------------------------------


def with_adapters(plan, **settings):
    return dataclasses.replace(plan, adapters=AdapterSettings(**settings))


def run_adapters(plan, requests) -> tuple[Cluster, np.ndarray]:
    kernel = Kernel()
    cluster = Cluster(kernel, plan)
    for i, (at_ms, adapter) in enumerate(requests):
        kernel.run_until(at_ms * MS)
        cluster.submit(RequestSpec(i, at_ms * MS, 100, 5, adapter=adapter))
    kernel.run()
    table = cluster.record().table
    assert table.completed.all()
    assert_nothing_is_kept(cluster)
    return cluster, table.ttft_ms


def test_the_first_use_waits_for_the_load_and_the_base_model_never(make_agg_plan) -> None:
    plan = with_adapters(make_agg_plan(1), load_s=2.0, slots=2)
    requests = [(0, "a"), (0, ""), (1000, "a"), (3000, "a")]
    _, ttft_ms = run_adapters(plan, requests)
    assert ttft_ms[0] == pytest.approx(2000, abs=100)
    assert ttft_ms[1] < 100
    assert ttft_ms[2] == pytest.approx(1000, abs=100), "joins the load under way"
    assert ttft_ms[3] < 100


def test_the_idle_adapter_used_longest_ago_makes_room(make_agg_plan) -> None:
    plan = with_adapters(make_agg_plan(1), load_s=1.0, slots=2)
    requests = [(0, "a"), (2000, "b"), (4000, "a"), (6000, "c"), (8000, "a"), (10_000, "b")]
    _, ttft_ms = run_adapters(plan, requests)
    loads = (ttft_ms > 1000).tolist()
    assert loads == [True, True, False, True, False, True], "c took the place of b"


def test_adapters_in_use_are_not_evicted(make_agg_plan) -> None:
    kernel = Kernel()
    cluster = Cluster(kernel, with_adapters(make_agg_plan(1), load_s=1.0, slots=1))
    cluster.submit(RequestSpec(0, 0, 100, 400, adapter="a"))
    cluster.submit(RequestSpec(1, 0, 100, 5, adapter="b"))
    cluster.submit(RequestSpec(2, 0, 100, 5, adapter="b"))
    kernel.run()
    table = cluster.record().table
    assert table.completed.all()
    assert (table.first_token_ns[1:] > table.finish_ns[0] + NS_PER_S).all()


def test_the_router_prefers_a_worker_that_has_the_adapter_until_it_is_crowded(
    make_agg_plan,
) -> None:
    plan = with_adapters(make_agg_plan(2), load_s=1.0, slots=4, spill_requests=3)
    kernel = Kernel()
    cluster = Cluster(kernel, plan)
    cluster.submit(RequestSpec(0, 0, 100, 5, adapter="a"))
    kernel.run()
    ready = cluster._pools[Role.AGG].ready
    for i in range(1, 6):
        cluster.submit(RequestSpec(i, kernel.now_ns, 100, 5, adapter="a"))
    assert [w.engine.requests_held for w in ready] == [4, 0]
    kernel.run()
    assert cluster.record().table.completed.all()


def test_requests_that_wait_for_an_adapter_can_be_cancelled_and_lost(make_agg_plan) -> None:
    plan = with_adapters(make_agg_plan(1, startup_s=1.0), load_s=5.0, slots=1)
    kernel = Kernel()
    cluster = Cluster(kernel, plan)
    for i, adapter in enumerate(("a", "a", "b", "b")):
        cluster.submit(RequestSpec(i, 0, 100, 5, adapter=adapter))
    kernel.run_until(NS_PER_S)
    cluster.cancel(0)
    cluster.cancel(2)
    cluster.inject(WorkerCrash(at_s=1.0, role=Role.AGG))
    kernel.run()
    record = cluster.record()
    assert record.faults[0].requests_hit == 2
    assert record.table.status.tolist() == ["cancelled", "completed", "cancelled", "completed"]
    assert_nothing_is_kept(cluster)


def test_bad_adapter_settings_are_refused() -> None:
    with pytest.raises(InputError, match="adapters"):
        AdapterSettings(load_s=1.0, slots=0)
