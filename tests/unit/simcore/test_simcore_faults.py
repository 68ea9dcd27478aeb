import dataclasses

import numpy as np
import pytest
from pydantic import TypeAdapter

from contracts.decision import RoleTarget
from contracts.errors import InputError
from contracts.faults import (
    Fault,
    LateStart,
    LinkDegraded,
    LinkLost,
    LostTransferPolicy,
    MemoryShrink,
    NodeLoss,
    SlowWorker,
    StaleRouterView,
    WorkerCrash,
)
from contracts.observation import WorkerState
from contracts.plan import (
    AdapterSettings,
    DeploymentPlan,
    HandOff,
    KvLink,
    Role,
    RouterSettings,
)
from contracts.units import NS_PER_S
from contracts.workload import RequestSpec
from simcore.cluster import Cluster
from simcore.cluster.placement import Placement
from simcore.engine import Engine
from simcore.kernel import EventOrder, Kernel
from simcore.perf import gpu_spec
from simcore.simulation import simulate

MS = 1_000_000


class ObedientEngine(Engine):
    """Notes what a fault asks of it."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.speeds: list[tuple[int, float]] = []
        self.lost_blocks: list[tuple[int, int]] = []

    def set_speed(self, at_ns: int, factor: float) -> None:
        self.speeds.append((at_ns, factor))
        super().set_speed(at_ns, factor)

    def shrink(self, at_ns: int, blocks: int) -> list:
        self.lost_blocks.append((at_ns, blocks))
        return super().shrink(at_ns, blocks)


@pytest.fixture
def obedient(monkeypatch) -> None:
    monkeypatch.setattr("simcore.cluster.pool.Engine", ObedientEngine)


def at(kernel: Kernel, cluster: Cluster, *faults) -> None:
    for fault in faults:
        kernel.call_at(
            round(fault.at_s * NS_PER_S), EventOrder.CONTROL, lambda f=fault: cluster.inject(f)
        )


# -- workers -----------------------------------------------------------------------------


def test_slow_spells_of_one_worker_multiply_and_end(obedient, make_agg_plan) -> None:
    kernel = Kernel()
    cluster = Cluster(kernel, make_agg_plan(2))
    cluster.submit(RequestSpec(0, 0, 100, 4000))
    at(
        kernel,
        cluster,
        SlowWorker(at_s=1.0, role=Role.AGG, duration_s=4.0, factor=2.0),
        SlowWorker(at_s=2.0, role=Role.AGG, duration_s=1.0, factor=5.0),
    )
    slow, other = (worker.engine for worker in cluster._pools[Role.AGG].ready)
    kernel.run()
    assert slow.speeds == [
        (1 * NS_PER_S, 2.0), (2 * NS_PER_S, 10.0), (3 * NS_PER_S, 2.0), (5 * NS_PER_S, 1.0)
    ]  # fmt: skip
    assert not other.speeds
    first, second = cluster.record().faults
    assert (first.kind, first.target, first.requests_hit) == ("slow_worker", "agg-0", 1)
    assert (first.recovered_at_s, second.recovered_at_s) == (5.0, 3.0)


def test_a_slow_worker_that_dies_is_left_alone(obedient, make_agg_plan) -> None:
    kernel = Kernel()
    cluster = Cluster(kernel, make_agg_plan(1))
    engine = cluster._pools[Role.AGG].ready[0].engine
    at(
        kernel,
        cluster,
        SlowWorker(at_s=1.0, role=Role.AGG, duration_s=4.0, factor=2.0),
        WorkerCrash(at_s=2.0, role=Role.AGG),
    )
    kernel.run()
    assert engine.speeds == [(1 * NS_PER_S, 2.0)]


def test_shrunk_memory_is_taken_from_the_engine_and_from_reservations(
    obedient, make_disagg_plan
) -> None:
    kernel = Kernel()
    cluster = Cluster(kernel, make_disagg_plan(1, 1))
    worker = cluster._pools[Role.DECODE].ready[0]
    assert worker.has_room(16_384 * 16)
    cluster.inject(MemoryShrink(at_s=0.0, role=Role.DECODE, lost_ratio=0.25))
    assert worker.engine.lost_blocks == [(0, 4096)]
    assert worker.has_room(12_288 * 16)
    assert not worker.has_room(12_288 * 16 + 1)
    (fault,) = cluster.record().faults
    assert (fault.kind, fault.target, fault.recovered_at_s) == ("memory_shrink", "decode-0", None)


def test_a_decode_worker_has_the_room_of_all_its_ranks(make_disagg_plan, make_engine_spec) -> None:
    engine = dataclasses.replace(make_engine_spec("Qwen/Qwen3-30B-A3B"), dp=4, ep=4)
    plan = make_disagg_plan(1, 1, engine=engine)
    worker = Cluster(Kernel(), plan)._pools[Role.DECODE].ready[0]
    tokens = engine.limits.kv_blocks_total * engine.limits.block_size_tokens
    assert worker.has_room(4 * tokens)
    assert not worker.has_room(4 * tokens + 1)
    assert worker.could_hold(tokens)
    assert not worker.could_hold(tokens + 1), "one request lies on one rank"


@pytest.mark.parametrize("hand_off", list(HandOff))
def test_prompts_that_no_longer_fit_are_rejected_and_block_nobody(
    obedient, make_disagg_plan, hand_off
) -> None:
    kernel = Kernel()
    cluster = Cluster(kernel, slow_link(make_disagg_plan(1, 1), 50.0, hand_off=hand_off))
    cluster.inject(MemoryShrink(at_s=0.0, role=Role.DECODE, lost_ratio=0.99))
    for i, isl in enumerate((2000, 3000, 1000, 4000, 500)):
        cluster.submit(RequestSpec(i, 0, isl, 10))
    kernel.run()
    statuses = cluster.record().table.status.tolist()
    assert statuses == ["completed", "rejected", "completed", "rejected", "completed"]
    assert all(w.idle for pool in cluster._pools.values() for w in pool.ready)


def test_workers_ordered_in_the_window_start_late(make_agg_plan) -> None:
    kernel = Kernel()
    cluster = Cluster(kernel, make_agg_plan(1, startup_s=5.0))
    at(kernel, cluster, LateStart(at_s=1.0, duration_s=2.0, factor=2.0, extra_s=3.0))
    kernel.run_until(2 * NS_PER_S)
    cluster.scale([RoleTarget(role=Role.AGG, replicas=3)])
    kernel.run_until(4 * NS_PER_S)
    cluster.scale([RoleTarget(role=Role.AGG, replicas=4)])
    kernel.run()
    record = cluster.record()
    ready = [e.since_s for e in record.worker_events if e.state is WorkerState.READY]
    assert ready == [0.0, 9.0, 15.0, 15.0]
    assert record.faults[0].target == "agg-1,agg-2"


def test_a_window_in_which_nothing_is_ordered_is_an_error(make_agg_plan, make_workload) -> None:
    fault = LateStart(at_s=0.1, duration_s=50.0, extra_s=1.0)
    with pytest.raises(InputError, match="late_start: the fault hits no worker"):
        simulate(make_agg_plan(1), make_workload(10, MS), faults=[fault])


def test_a_lost_node_takes_its_workers_of_all_pools(
    make_disagg_plan, make_engine_spec, make_workload
) -> None:
    """Workers of 2 GPUs on nodes of 8: three prefill and one decode on the first."""
    plan = make_disagg_plan(3, 3, engine=make_engine_spec(tp=2), startup_s=2.0)
    record = simulate(plan, make_workload(300, 10 * MS), faults=[NodeLoss(at_s=1.0)])
    (fault,) = record.faults
    assert fault.target == "prefill-0,prefill-1,prefill-2,decode-0"
    assert record.table.completed.all()
    assert fault.requests_hit == fault.requests_retried == record.table.retries.sum() > 0
    assert fault.recovered_at_s == pytest.approx(3.0)


def test_a_second_node_without_workers_cannot_be_lost(make_agg_plan, make_workload) -> None:
    with pytest.raises(InputError, match=r"node_loss: the fault hits no worker .*of 1 nodes"):
        simulate(make_agg_plan(2), make_workload(5, MS), faults=[NodeLoss(at_s=0.0, node_index=1)])


def test_workers_that_start_on_a_lost_node_are_ordered_again(make_agg_plan) -> None:
    kernel = Kernel()
    cluster = Cluster(kernel, make_agg_plan(1, startup_s=5.0))
    cluster.scale([RoleTarget(role=Role.AGG, replicas=2)])
    at(kernel, cluster, NodeLoss(at_s=1.0))
    kernel.run()
    states = [(w.worker_id, w.state, w.since_s) for w in cluster.snapshot().workers]
    assert states == [
        ("agg-0", WorkerState.FAILED, 1.0),
        ("agg-1", WorkerState.FAILED, 1.0),
        ("agg-2", WorkerState.READY, 6.0),
        ("agg-3", WorkerState.READY, 6.0),
    ]
    assert [w.nodes for w in cluster._pools[Role.AGG].ready] == [(1,), (1,)]


def test_placement_fills_nodes_in_order_and_reuses_what_is_given_back() -> None:
    gpu = gpu_spec("h200_sxm")
    other = dataclasses.replace(gpu, sku="other")
    placement = Placement()
    assert [placement.place(gpu, n) for n in (4, 2, 4, 2, 16)] == [(0,), (0,), (1,), (0,), (2, 3)]
    assert placement.place(other, 1) == (4,)
    placement.leave(gpu, 4, (0,))
    assert placement.place(gpu, 3) == (0,)
    placement.lose(1)
    assert placement.place(gpu, 4) == (5,)


# -- link and router ---------------------------------------------------------------------


def slow_link(plan, gbytes_per_s: float = 1.0, **changes):
    link = KvLink(gbytes_per_s=gbytes_per_s, latency_us=0.0)
    return dataclasses.replace(
        plan, topology=dataclasses.replace(plan.topology, link=link, **changes)
    )


def first_token_s(plan, *faults) -> tuple[float, Cluster]:
    """One prompt of 4000 tokens: 0.52 s on a link of 1 GB a second."""
    kernel = Kernel()
    cluster = Cluster(kernel, plan)
    cluster.submit(RequestSpec(0, 0, 4000, 5))
    at(kernel, cluster, *faults)
    kernel.run()
    table = cluster.record().table
    assert table.completed.all()
    return float(table.ttft_ms[0]) / 1000, cluster


def test_a_degraded_link_delays_transfers_while_it_lasts(make_disagg_plan) -> None:
    plan = slow_link(make_disagg_plan(1, 1))
    usual, _ = first_token_s(plan)
    faults = [
        LinkDegraded(at_s=0.3, duration_s=0.2, factor=0.5),
        LinkDegraded(at_s=0.4, duration_s=0.1, factor=0.4),
    ]
    slower, cluster = first_token_s(plan, *faults)
    # 0.1 s at 0.5 and 0.1 s at 0.2 lose 0.05 s and 0.08 s of sending.
    assert slower - usual == pytest.approx(0.13, abs=1e-6)
    assert [f.requests_hit for f in cluster.record().faults] == [1, 1]
    assert [f.recovered_at_s for f in cluster.record().faults] == [0.5, 0.5]


def test_a_lost_link_sends_again_when_it_is_back(make_disagg_plan) -> None:
    plan = slow_link(make_disagg_plan(1, 1))
    again, cluster = first_token_s(plan, LinkLost(at_s=0.5, duration_s=2.0))
    assert again == pytest.approx(2.5 + 4000 * 131_072 / 1e9, abs=0.02)
    (fault,) = cluster.record().faults
    assert (fault.requests_hit, fault.requests_retried, fault.recovered_at_s) == (1, 1, 2.5)
    assert cluster.record().table.retries[0] == 1


def test_a_lost_link_can_make_the_decode_worker_compute_the_prompt(make_disagg_plan) -> None:
    plan = slow_link(make_disagg_plan(1, 1))
    recompute = LostTransferPolicy.RECOMPUTE
    in_flight, cluster = first_token_s(
        plan, LinkLost(at_s=0.5, duration_s=9.0, transfers=recompute)
    )
    assert 0.5 < in_flight < 0.7
    assert cluster._desk.link.bytes_delivered == 0
    during, _ = first_token_s(plan, LinkLost(at_s=0.0, duration_s=9.0, transfers=recompute))
    assert during < 0.4, "a prompt that is ready while the link is lost does not wait"


@pytest.mark.parametrize(
    "fault", [LinkLost(at_s=0.1, duration_s=1.0), LinkDegraded(at_s=0.1, duration_s=1, factor=0.5)]
)
def test_an_aggregated_deployment_has_no_link(make_agg_plan, make_workload, fault) -> None:
    with pytest.raises(InputError, match="the fault hits no link"):
        simulate(make_agg_plan(1), make_workload(5, MS), faults=[fault])


def test_a_stale_router_view_unbalances_the_pool_while_it_lasts(
    make_agg_plan, make_workload
) -> None:
    workload = make_workload(400, 5 * MS, isl=800)
    plan = make_agg_plan(4)
    fresh = simulate(plan, workload)
    fault = StaleRouterView(at_s=0.5, duration_s=1.0, lag_s=0.5)
    stale = simulate(plan, workload, faults=[fault])
    assert np.nanpercentile(stale.table.ttft_ms, 90) > 2 * np.nanpercentile(fresh.table.ttft_ms, 90)
    before = stale.table.arrival_ns < 0.4 * NS_PER_S
    assert (stale.table.ttft_ms[before] == fresh.table.ttft_ms[before]).all()
    assert stale.faults[0].target == "router"
    assert stale.faults[0].recovered_at_s == 1.5


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (SlowWorker, {"role": Role.AGG, "duration_s": 1.0, "factor": 0.5}),
        (LateStart, {"duration_s": 1.0}),
        (LateStart, {"duration_s": 0.0, "extra_s": 1.0}),
        (LinkDegraded, {"duration_s": 1.0, "factor": 0.0}),
        (LinkLost, {"duration_s": 0.0}),
        (StaleRouterView, {"duration_s": 1.0, "lag_s": 0.0}),
        (MemoryShrink, {"role": Role.AGG, "lost_ratio": 1.0}),
    ],
)
def test_senseless_faults_are_refused(kind, values) -> None:
    with pytest.raises(InputError):
        kind(at_s=0.0, **values)


def test_faults_and_plans_survive_json(make_disagg_plan) -> None:
    faults = [
        WorkerCrash(at_s=1.0, role=Role.DECODE),
        NodeLoss(at_s=2.0, node_index=3),
        SlowWorker(at_s=1.0, role=Role.AGG, duration_s=1.0, factor=2.0),
        LateStart(at_s=1.0, duration_s=1.0, extra_s=2.0),
        LinkDegraded(at_s=1.0, duration_s=1.0, factor=0.5),
        LinkLost(at_s=1.0, duration_s=1.0, transfers=LostTransferPolicy.RECOMPUTE),
        StaleRouterView(at_s=1.0, duration_s=1.0, lag_s=0.5),
        MemoryShrink(at_s=1.0, role=Role.AGG, lost_ratio=0.5),
    ]
    shape = TypeAdapter(list[Fault])
    assert shape.validate_json(shape.dump_json(faults)) == faults
    plan = dataclasses.replace(
        slow_link(make_disagg_plan(1, 1), hand_off=HandOff.DECODE_FIRST),
        routing=RouterSettings(temperature=0.5),
        adapters=AdapterSettings(load_s=1.0, slots=2),
    )
    plans = TypeAdapter(DeploymentPlan)
    assert plans.validate_json(plans.dump_json(plan)) == plan
