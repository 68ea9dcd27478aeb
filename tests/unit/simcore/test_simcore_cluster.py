import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from contracts.decision import RoleTarget
from contracts.engine import EngineLimits
from contracts.errors import InputError
from contracts.faults import LostRequestPolicy, WorkerCrash
from contracts.observation import WorkerState
from contracts.plan import KvLink, Role, RouterPolicy
from contracts.ports import PrefillChunk
from contracts.records import RequestStatus
from contracts.units import NS_PER_S, fs_to_ns_ceil
from contracts.workload import RequestSpec
from simcore.cluster import Cluster
from simcore.kernel import Kernel
from simcore.perf import roofline
from simcore.simulation import PeriodicControl, simulate

MS = 1_000_000


def request(request_id: int, at_ns: int = 0, isl: int = 1000, osl: int = 50) -> RequestSpec:
    return RequestSpec(request_id=request_id, arrival_ns=at_ns, isl=isl, osl=osl)


def running_by_worker(cluster: Cluster, role: Role) -> list[int]:
    return [worker.engine.requests_held for worker in cluster._pools[role].ready]


def test_round_robin_takes_turns_and_least_loaded_fills_the_emptiest(make_agg_plan) -> None:
    for policy in (
        RouterPolicy.ROUND_ROBIN,
        RouterPolicy.LEAST_LOADED,
    ):
        kernel = Kernel()
        cluster = Cluster(kernel, make_agg_plan(2, router=policy))
        cluster.submit(request(1, osl=2))
        cluster.submit(request(2, osl=2000))
        kernel.run_until(NS_PER_S)
        assert running_by_worker(cluster, Role.AGG) == [0, 1]
        cluster.submit(request(3, NS_PER_S, osl=500))
        if policy is RouterPolicy.LEAST_LOADED:
            assert running_by_worker(cluster, Role.AGG) == [1, 1]
            cluster.submit(request(4, NS_PER_S))
            cluster.submit(request(5, NS_PER_S))
            assert sorted(running_by_worker(cluster, Role.AGG)) == [2, 2]
        else:
            cluster.submit(request(4, NS_PER_S))
            assert running_by_worker(cluster, Role.AGG) == [1, 2]


def test_disaggregated_ttft_is_prefill_plus_transfer_plus_one_decode_step(make_disagg_plan) -> None:
    plan = make_disagg_plan(1, 1)
    kernel = Kernel()
    cluster = Cluster(kernel, plan)
    cluster.submit(request(0, isl=2000, osl=3))
    kernel.run()
    table = cluster.record().table
    timer = roofline(plan.topology.prefill.engine)
    prefill_ns = fs_to_ns_ceil(timer.mixed_step_fs(0, 0, [PrefillChunk(2000, 0)]))
    transfer_ns = 50_000 + round(2000 * 131_072 / 50e9 * 1e9)
    decode_ns = fs_to_ns_ceil(timer.mixed_step_fs(1, 2000, []))
    assert table.first_token_ns[0] == pytest.approx(prefill_ns + transfer_ns + decode_ns, abs=2)
    assert table.completed.all()


def test_transfers_of_one_worker_queue_on_its_link(make_disagg_plan, make_workload) -> None:
    def ttft(gbytes_per_s: float) -> float:
        plan = make_disagg_plan(1, 2)
        link = KvLink(gbytes_per_s=gbytes_per_s, latency_us=50.0)
        plan = dataclasses.replace(plan, topology=dataclasses.replace(plan.topology, link=link))
        return float(simulate(plan, make_workload(40, 60 * MS, isl=2000)).table.ttft_ms[-1])

    assert ttft(1.0) > 10 * ttft(50.0), "a slow link must collapse the TTFT"


def test_scaling_up_takes_the_start_up_time_and_down_drains(make_agg_plan) -> None:
    kernel = Kernel()
    cluster = Cluster(kernel, make_agg_plan(1, startup_s=5.0))
    cluster.scale([RoleTarget(role=Role.AGG, replicas=3)])
    states = [w.state for w in cluster.snapshot().workers]
    assert states == [WorkerState.READY, WorkerState.STARTING, WorkerState.STARTING]
    kernel.run_until(5 * NS_PER_S - 1)
    assert sum(w.state is WorkerState.READY for w in cluster.snapshot().workers) == 1
    kernel.run_until(5 * NS_PER_S)
    assert sum(w.state is WorkerState.READY for w in cluster.snapshot().workers) == 3
    for i in range(3):
        cluster.submit(request(i, kernel.now_ns, osl=500))
    cluster.scale([RoleTarget(role=Role.AGG, replicas=1)])
    states = [w.state for w in cluster.snapshot().workers]
    assert sorted(states) == [WorkerState.DRAINING, WorkerState.DRAINING, WorkerState.READY]
    kernel.run()
    record = cluster.record()
    assert record.table.completed.all(), "draining workers finish their work"
    assert [w.state for w in cluster.snapshot().workers] == [WorkerState.READY]


def test_scaling_down_cancels_starting_workers_first(make_agg_plan) -> None:
    kernel = Kernel()
    cluster = Cluster(kernel, make_agg_plan(1))
    cluster.scale([RoleTarget(role=Role.AGG, replicas=3)])
    cluster.scale([RoleTarget(role=Role.AGG, replicas=2)])
    kernel.run()
    assert len(cluster.snapshot().workers) == 2


def test_scaling_beyond_the_budget_or_for_an_unknown_role_is_refused(make_agg_plan) -> None:
    cluster = Cluster(Kernel(), make_agg_plan(1, gpu_budget=4))
    with pytest.raises(InputError, match=r"targets exceed the GPU budget \(got 5 GPUs\)"):
        cluster.scale([RoleTarget(role=Role.AGG, replicas=5)])
    with pytest.raises(InputError, match="decode"):
        cluster.scale([RoleTarget(role=Role.DECODE, replicas=1)])


@pytest.mark.parametrize("role", [Role.PREFILL, Role.DECODE])
def test_crash_retries_every_request_and_recovers(make_disagg_plan, make_workload, role) -> None:
    plan = make_disagg_plan(2, 2, startup_s=2.0)
    workload = make_workload(400, 10 * MS, isl=1500, osl=80)
    record = simulate(plan, workload, faults=[WorkerCrash(at_s=1.0, role=role)])
    (fault,) = record.faults
    assert record.table.completed.all()
    assert fault.requests_hit == fault.requests_retried == record.table.retries.sum() > 0
    assert fault.recovered_at_s == pytest.approx(3.0)


def test_crash_without_retry_fails_what_it_held(make_agg_plan, make_workload) -> None:
    record = simulate(
        make_agg_plan(2),
        make_workload(200, 10 * MS),
        faults=[WorkerCrash(at_s=1.0, role=Role.AGG, restart=False)],
        lost_policy=LostRequestPolicy.FAIL,
    )
    failed = int((record.table.status == RequestStatus.FAILED.value).sum())
    assert failed == record.faults[0].requests_failed > 0
    assert failed + int(record.table.completed.sum()) == 200
    assert record.faults[0].recovered_at_s is None


def test_requests_wait_when_no_worker_is_ready(make_agg_plan, make_workload) -> None:
    record = simulate(
        make_agg_plan(1, startup_s=3.0),
        make_workload(50, 20 * MS),
        faults=[WorkerCrash(at_s=0.5, role=Role.AGG)],
    )
    assert record.table.completed.all()
    assert np.nanmax(record.table.ttft_ms) > 2500


def test_a_fault_without_target_is_an_error(make_agg_plan, make_workload) -> None:
    with pytest.raises(InputError, match="the fault hits no worker"):
        simulate(
            make_agg_plan(1),
            make_workload(10, 100 * MS),
            faults=[WorkerCrash(at_s=0.1, role=Role.AGG, worker_index=4)],
        )


def test_too_long_requests_are_rejected_and_accounted_for(make_agg_plan, make_engine_spec) -> None:
    kernel = Kernel()
    engine = make_engine_spec(limits=EngineLimits(max_model_len=1000))
    cluster = Cluster(kernel, make_agg_plan(1, engine=engine))
    cluster.submit(request(0, isl=999, osl=2))
    cluster.submit(request(1, isl=900, osl=2))
    kernel.run()
    assert list(cluster.record().table.status) == ["rejected", "completed"]


def test_cancel_ends_a_request_wherever_it_is(make_disagg_plan) -> None:
    for at_ns in (0, 30 * MS, 70 * MS, 300 * MS):
        kernel = Kernel()
        cluster = Cluster(kernel, make_disagg_plan(1, 1))
        cluster.submit(request(0, isl=3000, osl=500))
        kernel.run_until(at_ns)
        cluster.cancel(0)
        kernel.run()
        assert list(cluster.record().table.status) == ["cancelled"], at_ns
        assert all(load.kv_usage_ratio == 0 for load in cluster.snapshot().loads), at_ns


def test_listener_hears_every_step(make_agg_plan) -> None:
    heard: list[tuple[int, int]] = []

    class Listener:
        def on_tokens(self, request_id, generated, at_ns):
            heard.append((generated, at_ns))

        def on_step(self, worker, at_ns):
            heard.extend((generated, at_ns) for _, generated in worker.engine.progress())

        def on_end(self, request_id, status, reason, at_ns):
            heard.append((-1, at_ns))

    kernel = Kernel()
    cluster = Cluster(kernel, make_agg_plan(1), listener=Listener(), step_events=True)
    cluster.submit(request(0, osl=20))
    kernel.run()
    counts = [generated for generated, _ in heard]
    assert sorted(set(counts[:-1])) == list(range(1, 21))
    assert counts[-1] == -1
    at = [at_ns for _, at_ns in heard]
    assert at == sorted(at)
    silent = Kernel()
    twin = Cluster(silent, make_agg_plan(1))
    twin.submit(request(0, osl=20))
    silent.run()
    assert twin.record().table.finish_ns[0] == at[-1], "reporting steps must not change times"


def test_controller_scales_in_virtual_time(make_agg_plan, make_workload) -> None:
    seen = []

    def act(snapshot):
        seen.append(snapshot.now_s)
        return [RoleTarget(role=Role.AGG, replicas=3)]

    record = simulate(
        make_agg_plan(1, startup_s=0.5),
        make_workload(300, 10 * MS),
        control=PeriodicControl(interval_s=0.25, act=act),
    )
    assert seen[:4] == [0.25, 0.5, 0.75, 1.0]
    ready = [e for e in record.worker_events if e.state is WorkerState.READY]
    assert sorted(e.since_s for e in ready) == [0.0, 0.75, 0.75]


PROGRAM = """
import sys
sys.path.insert(0, "tests")
from conftest import disagg_plan
from contracts.faults import WorkerCrash
from contracts.plan import Role
from contracts.streams import RandomStreams
from simcore.perf import roofline
from simcore.simulation import simulate
from simcore.workload import Lengths, PoissonArrivals, synthesize
for seed in (1, 2):
    workload = synthesize(
        PoissonArrivals(rate_per_s=20), duration_s=20, isl=Lengths(mean=900, cv=0.6),
        osl=Lengths(mean=80, cv=0.6), streams=RandomStreams(seed),
    )
    faults = [WorkerCrash(at_s=7, role=Role.DECODE)]
    record = simulate(disagg_plan(2, 2), workload, faults=faults)
    print(record.digest, len(record.table))
"""


def digests(hash_seed: str) -> list[str]:
    """Digest and length of a run, for two seeds."""
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": "."}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


@pytest.mark.slow
def test_equal_seeds_give_equal_digests_under_any_hash_seed() -> None:
    first, second = digests("0")
    assert int(first.split()[1]) > 300
    assert [first, second] == digests("12345")
    assert first.split()[0] != second.split()[0]
