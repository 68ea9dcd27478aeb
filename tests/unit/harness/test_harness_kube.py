"""Rung kube without a cluster: what it refuses, the request, pods, the planner's words, faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import harness_synthetic_run
import pytest

from contracts.errors import InputError, PermanentError, UnsupportedError
from contracts.faults import ImagePullFailure, LateStart, NodeLoss, WorkerCrash
from contracts.observation import WorkerState
from contracts.plan import AggPlan, PoolPlan, Role
from contracts.units import NS_PER_S
from dgdr import load_dgdr
from harness.faults import Pace
from harness.run.backends import check_capabilities
from harness.run.kube.deployment import Deployment, _addresses, _check_plan
from harness.run.kube.faults import UNSEEN, KubeFaults
from harness.run.kube.limits import check_topology
from harness.run.kube.planner_log import planner_rows
from harness.run.kube.pods import PodTracker
from harness.run.kube.request import request_of
from harness.run.kube.site import _check_faults
from harness.run.prepare import Prepared
from harness.scenario import ApiErrors, Rung, Scenario, load_scenario, scenario_from

LIBRARY = Path(__file__).parents[3] / "scenarios"
FAULTS = load_scenario(LIBRARY / "cluster-faults.yaml")
PLANNER = load_scenario(LIBRARY / "cluster-planner.yaml")


def changed(scenario: Scenario, **sections: Any) -> Scenario:
    return scenario_from({**scenario.document, **sections}, scenario.source)


# -- what is refused --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scenario", "sections", "message"),
    [
        (FAULTS, {"faults": [{"kind": "node_loss", "at_s": 1, "restart": False}]}, "without resta"),
        (
            FAULTS,
            {"faults": [{"kind": "late_start", "at_s": 1, "duration_s": 2, "factor": 2,
                         "role": "decode"}]},
            "of one pool only",
        ),
        (
            FAULTS,
            {"faults": [{"kind": "node_loss", "after": "pool.agg.waiting > 3"}]},
            "waits for the figure pool.agg.waiting",
        ),
        (FAULTS, {"faults": [{"kind": "slow_worker", "role": "agg", "at_s": 1, "duration_s": 2,
                              "factor": 2}]}, "the fault slow_worker"),
        (FAULTS, {"deploy": {**FAULTS.document["deploy"], "router": "session_affinity"}},
         "the router session_"),
        (PLANNER, {"kube": {"speed": 2}}, "kube.speed other than 1"),
    ],
)  # fmt: skip
def test_what_the_rung_cannot_do_is_refused_before_anything_starts(
    scenario: Scenario, sections: dict[str, Any], message: str
) -> None:
    check_capabilities(scenario, (Rung.KUBE,))
    with pytest.raises(UnsupportedError, match=message):
        check_capabilities(changed(scenario, **sections), (Rung.KUBE,))


def test_a_real_cluster_is_not_asked_for_faults_that_it_cannot_inject() -> None:
    _check_faults(FAULTS, embedded=True)
    with pytest.raises(UnsupportedError, match="image_pull_failure, late_start, node_loss"):
        _check_faults(FAULTS, embedded=False)


def agg_plan(plan: Any, replicas: int) -> Any:
    pool = PoolPlan(role=Role.AGG, engine=plan.topology.pools[-1].engine, replicas=replicas)
    return replace(plan, topology=AggPlan(pool=pool))


def test_the_operator_must_deploy_what_the_rungs_below_run() -> None:
    disagg = harness_synthetic_run.plan()
    wanted = SimpleNamespace(profile=SimpleNamespace(plan=disagg), plan=agg_plan(disagg, 3))
    with pytest.raises(UnsupportedError, match=r"deploy.topology agg: .* picks, which is disagg"):
        check_topology(cast("Prepared", wanted))
    check_topology(cast("Prepared", SimpleNamespace(profile=wanted.profile, plan=disagg)))
    worker = {
        "name": "worker",
        "podTemplate": {"spec": {"containers": [{
            "command": ["python3", "-m", "dynamo.vllm"],
            "args": ["--model", "Qwen/Qwen3-8B", "--tensor-parallel-size", "1"],
        }]}},
    }  # fmt: skip
    graph = {"metadata": {"name": "x"}, "spec": {"components": [worker]}}
    gpu = replace(disagg.topology.pools[0].engine.gpu, sku="h200_sxm")
    engine = replace(disagg.topology.pools[0].engine, gpu=gpu)
    known = replace(
        disagg, topology=AggPlan(pool=PoolPlan(role=Role.AGG, engine=engine, replicas=1))
    )
    with pytest.raises(PermanentError, match="the operator deployed agg workers with 1 h200_sxm"):
        _check_plan(graph, known)


# -- the request ------------------------------------------------------------------------


def prepared(scenario: Scenario) -> Prepared:
    text = scenario.deploy.dgdr.read_text()
    found = SimpleNamespace(
        scenario=scenario, dgdr=load_dgdr(text, source="x"), plan=SimpleNamespace(startup_s=3.0)
    )
    return cast("Prepared", found)


def test_the_request_tells_the_profiler_what_the_rungs_below_have_told_it() -> None:
    data = request_of(prepared(FAULTS), "ns-1")
    assert data["metadata"]["namespace"] == "ns-1"
    assert data["metadata"]["annotations"] == {
        "rehearsal.dgdr/seed": "1",
        "rehearsal.dgdr/startup-s": "3",
        "rehearsal.dgdr/router": "round_robin",
    }
    assert (data["spec"]["autoApply"], data["spec"]["searchStrategy"]) == (True, "rapid")
    components = data["spec"]["overrides"]["dgd"]["spec"]["components"]
    variables = {
        each["name"]: each["podTemplate"]["spec"]["containers"][0]["env"] for each in components
    }
    assert variables["Frontend"] == [
        {"name": "DYN_ROUTER_MODE", "value": "round-robin"},
        {"name": "DYN_MIGRATION_LIMIT", "value": "0"},
    ]
    assert variables["worker"] == [{"name": "MOCKER_SPEED", "value": "2"}]
    assert {"worker", "prefill", "decode"} < set(variables)
    load_dgdr(json.dumps(data), source="what is applied is a valid request")


def test_the_planners_pod_gets_the_settings_of_the_scenario() -> None:
    planner = request_of(prepared(PLANNER), "ns")["spec"]["features"]["planner"]
    assert planner["throughput_adjustment_interval_seconds"] == 2
    assert planner["scale_down_hold_s"] == 30
    assert "advisory" not in planner
    off = changed(PLANNER, planner={"enabled": False}, faults=[], expect={"attainment_min": 0})
    data = request_of(prepared(off), "ns")
    assert data["spec"]["features"]["planner"] == {"enabled": True, "advisory": True}
    (frontend,) = data["spec"]["overrides"]["dgd"]["spec"]["components"]
    (main,) = frontend["podTemplate"]["spec"]["containers"]
    assert main["env"][1] == {"name": "DYN_MIGRATION_LIMIT", "value": "1000"}


# -- pods -------------------------------------------------------------------------------


def pod(name: str, *, ready: bool = True, node: str = "node-0", **metadata: Any) -> dict[str, Any]:
    labels = {"nvidia.com/dynamo-component": metadata.pop("component", "worker")}
    return {
        "metadata": {"name": name, "labels": labels, **metadata},
        "spec": {"nodeName": node},
        "status": {
            "podIP": "127.9.9.9",  # nobody answers there
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def started(*pods: dict[str, Any]) -> PodTracker:
    tracker = PodTracker(components={Role.AGG: "worker"})
    tracker.see([*pods, pod("front", component="Frontend")], 0.0)
    tracker.restart()
    return tracker


def states(tracker: PodTracker) -> list[tuple[float, str, str]]:
    return [(each.since_s, each.worker_id, each.state.value) for each in tracker.events]


def test_pods_become_changes_of_workers() -> None:
    tracker = started(pod("a"), pod("b"))
    tracker.see([pod("a"), pod("b"), pod("c", ready=False)], 3.0)
    tracker.see([pod("a"), pod("b", ready=False), pod("c")], 4.0)
    tracker.see([pod("a", deletionTimestamp="2026-01-01T00:00:00Z"), pod("c")], 5.0)
    tracker.see([pod("c")], 6.0)
    assert states(tracker) == [
        (0.0, "a", "ready"),
        (0.0, "b", "ready"),
        (3.0, "c", "starting"),
        (4.0, "b", "failed"),
        (4.0, "c", "ready"),
        (5.0, "a", "draining"),
        (6.0, "a", "stopped"),
    ]
    assert tracker.ready(Role.AGG) == ["c"]
    assert tracker.ordered_within(2.0, 5.0) == ["c"]
    assert tracker.figures()["pool.agg.ready"] == 1.0


def test_what_the_api_still_shows_of_a_lost_pod_does_not_count() -> None:
    tracker = started(pod("a"), pod("b"))
    tracker.lose(["a"], 2.0)
    tracker.see([pod("a"), pod("b"), pod("c", ready=False)], 2.25)
    assert tracker.counts() == {Role.AGG: 1}
    assert [each for each in states(tracker) if each[1] == "a"][1:] == [(2.0, "a", "failed")]


# -- the planner's words ----------------------------------------------------------------


def line(now_s: float, applied: str = "accepted") -> str:
    targets = [{"role": "decode", "replicas": 2}]
    return json.dumps({
        "now_s": now_s, "targets": targets, "reason": "more", "held": False, "figures": {},
        "applied": applied, "problem": None, "changes": [],
    })  # fmt: skip


def test_decisions_are_read_from_the_log_of_a_pod() -> None:
    log = "\n".join([line(99.0), "planner for x", line(101.5, "unknown"), '{"now_s": 103.'])
    (row,) = planner_rows(log, zero_unix_s=100.0, roles=[Role.AGG])
    assert (row.now_s, row.applied) == (1.5, "unknown")
    assert row.decision.replicas(Role.AGG) == 2
    rows = planner_rows(line(101.0), zero_unix_s=100.0, roles=[Role.PREFILL, Role.DECODE])
    assert rows[0].decision.replicas(Role.DECODE) == 2


# -- faults -----------------------------------------------------------------------------


@dataclass
class Clock:
    """Stands still until somebody waits."""

    ns: int = 0

    def now_ns(self) -> int:
        return self.ns

    async def sleep_until_ns(self, at_ns: int) -> None:
        self.ns = max(self.ns, at_ns)


@dataclass
class FakeSite:
    embedded: bool = True
    rules: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    async def add_fault(self, rule: Mapping[str, Any]) -> str:
        self.log.append(str(rule["kind"]))
        name = f"f{len(self.log)}"
        self.rules[name] = rule
        return name

    async def end_fault(self, fault_id: str) -> None:
        del self.rules[fault_id]


@dataclass
class FakeDeployment:
    site: FakeSite = field(default_factory=FakeSite)
    graph: Any = field(default_factory=lambda: SimpleNamespace(namespace="ns", name="g"))
    deleted: list[str] = field(default_factory=list)

    async def delete_pod(self, name: str) -> None:
        self.deleted.append(name)


def faults_on(tracker: PodTracker, now_s: float = 0.0, speed: float = 1.0) -> KubeFaults:
    clock = Clock(ns=round(now_s / speed * NS_PER_S))
    pace = Pace(clock=clock, start_ns=0, speed=speed)
    deployment = cast("Deployment", FakeDeployment())
    return KubeFaults(deployment=deployment, tracker=tracker, pace=pace, startup_s=4.0)


def test_a_crash_deletes_a_pod_and_is_over_when_there_are_as_many_as_before() -> None:
    tracker = started(pod("a"), pod("b"))
    faults = faults_on(tracker, now_s=6.0)
    asyncio.run(faults.inject(WorkerCrash(at_s=6.0, role=Role.AGG, worker_index=1)))
    assert cast("FakeDeployment", faults.deployment).deleted == ["b"]
    tracker.see([pod("a"), pod("c", ready=False)], 7.0)
    faults.look(7.0)
    assert faults.open
    tracker.see([pod("a"), pod("c")], 9.0)
    faults.look(9.0)
    (record,) = faults.records(())
    assert (record.kind, record.target, record.at_s) == ("worker_crash", "b", 6.0)
    assert (record.requests_hit, record.recovered_at_s) == (UNSEEN, 9.0)


def test_the_loss_of_a_node_hits_every_worker_on_it() -> None:
    tracker = started(pod("a"), pod("b", node="node-1"), pod("c"))
    faults = faults_on(tracker, now_s=2.0)
    asyncio.run(faults.inject(NodeLoss(at_s=2.0)))
    site = cast("FakeDeployment", faults.deployment).site
    assert list(site.rules.values()) == [{"kind": "node-loss", "name": "node-0"}]
    assert tracker.counts() == {Role.AGG: 1}
    assert faults.records(())[0].target == "node-0"
    with pytest.raises(InputError, match="node-0, which has no ready worker"):
        asyncio.run(faults.inject(NodeLoss(at_s=3.0)))


def test_late_pods_are_late_by_what_the_fault_says_and_only_in_its_window() -> None:
    faults = faults_on(started(pod("a")), speed=2.0)
    site = cast("FakeDeployment", faults.deployment).site
    asyncio.run(faults.set_startup())
    assert [rule["ms"] for rule in site.rules.values()] == [2000.0]
    late = LateStart(at_s=1.0, duration_s=4.0, factor=2.0, extra_s=1.0)
    asyncio.run(faults.at_their_time([late]))
    assert faults.pace.now_s == 5.0
    assert [rule["ms"] for rule in site.rules.values()] == [2000.0]
    assert site.log == ["slow-start"] * 3
    with pytest.raises(InputError, match="no worker starts from 1 s to 5 s"):
        faults.records(())


def test_windows_name_the_workers_that_started_in_them() -> None:
    tracker = started(pod("a"))
    faults = faults_on(tracker)
    asyncio.run(faults.inject(ImagePullFailure(at_s=5.0, duration_s=8.0)))
    tracker.see([pod("a"), pod("b", ready=False)], 6.0)
    (record,) = faults.records(())
    assert (record.target, record.recovered_at_s) == ("b", 13.0)


def test_refused_orders_are_what_errors_of_the_api_hit() -> None:
    faults = faults_on(started(pod("a")))
    asyncio.run(faults.inject(ApiErrors(at_s=1.0, duration_s=4.0)))
    log = "\n".join([line(102.0, "unknown"), line(104.0, "unknown"), line(106.0)])
    rows = planner_rows(log, zero_unix_s=100.0, roles=[Role.AGG])
    (record,) = faults.records(rows)
    assert (record.target, record.recovered_at_s) == ("planner, 2 orders", 5.0)
    with pytest.raises(InputError, match="no order of the planner"):
        faults.records(rows[2:])


def test_a_fault_waits_for_its_condition() -> None:
    (trigger,) = FAULTS.triggers
    tracker = started(pod("a"), pod("b"))
    faults = faults_on(tracker)
    seen = iter([{"requests.started": 0.0}, {"requests.started": 2.0}])

    def figures() -> Mapping[str, float]:
        return {**tracker.figures(), **next(seen)}

    asyncio.run(faults.once(trigger, figures, 32.0))
    assert [each.state for each in tracker.events[2:]] == [WorkerState.FAILED]
    with pytest.raises(InputError, match="the condition never held"):
        asyncio.run(faults.once(trigger, lambda: tracker.figures() | {"requests.started": 0.0}, 6))


def test_the_service_is_reached_where_the_cluster_says() -> None:
    service: dict[str, Any] = {"metadata": {}, "spec": {"clusterIP": "10.0.0.7"}}
    assert _addresses(service) == ["10.0.0.7:8000"]
    notes = {"cluster.harness/endpoint": "9000=127.0.0.1:1,8000=127.0.0.1:2"}
    service["metadata"] = {"annotations": notes}
    assert _addresses(service) == ["127.0.0.1:2"]
