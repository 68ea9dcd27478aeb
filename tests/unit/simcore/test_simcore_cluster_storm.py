"""Requests, faults, time-outs and cancellations at random instants."""

import dataclasses

import numpy as np
import pytest

from contracts.faults import (
    LateStart,
    LinkDegraded,
    LinkLost,
    LostRequestPolicy,
    LostTransferPolicy,
    NodeLoss,
    SlowWorker,
    StaleRouterView,
    WorkerCrash,
)
from contracts.plan import AdapterSettings, HandOff, KvLink, Role, RouterPolicy, RouterSettings
from contracts.records import RequestStatus
from contracts.units import NS_PER_S
from contracts.workload import RequestSpec
from simcore.cluster import Cluster
from simcore.kernel import EventOrder, Kernel


def slow_link(plan, gbytes_per_s: float, **changes):
    link = KvLink(gbytes_per_s=gbytes_per_s, latency_us=20.0)
    return dataclasses.replace(
        plan, topology=dataclasses.replace(plan.topology, link=link, **changes)
    )


def at(kernel: Kernel, cluster: Cluster, *faults) -> None:
    for fault in faults:
        kernel.call_at(
            round(fault.at_s * NS_PER_S), EventOrder.CONTROL, lambda f=fault: cluster.inject(f)
        )


def storm(rng: np.random.Generator, *, disagg: bool) -> list:
    """Faults at random instants, some of which overlap."""
    times = np.sort(rng.uniform(0.2, 5.0, 8)).tolist()
    roles = (Role.PREFILL, Role.DECODE) if disagg else (Role.AGG, Role.AGG)
    faults = [
        WorkerCrash(at_s=times[0], role=roles[0]),
        SlowWorker(at_s=times[1], role=roles[1], duration_s=1.0, factor=3.0),
        StaleRouterView(at_s=times[2], duration_s=1.5, lag_s=0.3),
        LateStart(at_s=0.1, duration_s=6.0, factor=1.5),
        WorkerCrash(at_s=times[4], role=roles[1]),
        WorkerCrash(at_s=times[3], role=roles[0], restart=False),
        NodeLoss(at_s=times[5]),
    ]
    if disagg:
        policy = list(LostTransferPolicy)[int(rng.integers(0, 2))]
        faults += [
            LinkLost(at_s=times[6], duration_s=0.7, transfers=policy),
            LinkDegraded(at_s=times[7], duration_s=1.0, factor=0.1),
        ]
    return faults


def stormy_run(plan, seed: int, lost: LostRequestPolicy, disagg: bool):
    rng = np.random.Generator(np.random.PCG64(seed))
    kernel = Kernel()
    cluster = Cluster(kernel, plan, lost_policy=lost)
    at(kernel, cluster, *storm(rng, disagg=disagg))
    instants = np.sort(rng.integers(0, 6 * NS_PER_S, 300)).tolist()
    for i, at_ns in enumerate(instants):
        spec = RequestSpec(
            i, at_ns, int(rng.integers(1, 3000)), int(rng.integers(1, 200)),
            adapter=["", "a", "b", "c"][rng.integers(0, 4)], session=int(rng.integers(-1, 20)),
            timeout_ns=[0, 2 * NS_PER_S][rng.integers(0, 2)],
        )  # fmt: skip
        kernel.call_at(at_ns, EventOrder.ARRIVAL, lambda s=spec: cluster.submit(s))
        if rng.integers(0, 10) == 0:
            later = at_ns + int(rng.integers(0, NS_PER_S))
            kernel.call_at(later, EventOrder.CONTROL, lambda i=i: cluster.cancel(i))
    kernel.run()
    return cluster


@pytest.mark.parametrize("lost", list(LostRequestPolicy))
@pytest.mark.parametrize("seed", range(16))
def test_every_request_ends_exactly_once_in_any_storm(
    make_agg_plan, make_disagg_plan, seed, lost
) -> None:
    """The recorder refuses a second end; here every request must have had its first."""
    disagg = seed % 3 > 0
    if disagg:
        plan = slow_link(
            make_disagg_plan(4, 4, startup_s=0.5),
            gbytes_per_s=2.0,
            hand_off=list(HandOff)[seed % 2],
            max_waiting_transfers=(None, 2)[seed % 2],
        )
    else:
        plan = make_agg_plan(5, startup_s=0.5)
    plan = dataclasses.replace(
        plan,
        router=list(RouterPolicy)[seed % 5],
        routing=RouterSettings(temperature=0.2, seed=seed),
        adapters=AdapterSettings(load_s=0.3, slots=2),
    )
    cluster = stormy_run(plan, seed, lost, disagg)
    record = cluster.record()
    assert len(record.table) == 300
    assert cluster.open_requests == 0
    assert RequestStatus.UNFINISHED.value not in set(record.table.status)
    assert (record.table.finish_ns >= record.table.arrival_ns).all()
    assert len(record.faults) == (9 if disagg else 7)
    for pool in cluster._pools.values():
        assert not pool.pending
        assert all(worker.idle and worker.held_blocks == 0 for worker in pool.ready)
        assert not pool.router._hidden_by
    assert stormy_run(plan, seed, lost, disagg).record().digest == record.digest
