"""The Kubernetes connector against a deployment in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from kubernetes_world import NAME, World, pod, roles
from planner_samples import AGG, config, model

from contracts.decision import RoleTarget
from contracts.errors import PermanentError, TransientError
from contracts.observation import ClusterSnapshot
from contracts.plan import Role
from dgdr.operator.api import ApiError
from planner.adapters.connected import Applied, ConnectedPlanner, Outcome, TickReport
from planner.adapters.kubernetes import KubernetesConnector
from planner.loop import Blind, Planner, View


def targets(prefill: int, decode: int) -> tuple[RoleTarget, ...]:
    return (
        RoleTarget(role=Role.PREFILL, replicas=prefill),
        RoleTarget(role=Role.DECODE, replicas=decode),
    )


def look(connector: KubernetesConnector) -> View:
    return asyncio.run(connector.observe())


def order(connector: KubernetesConnector, prefill: int, decode: int) -> Outcome:
    async def both() -> Outcome:
        await connector.observe()
        return await connector.order(targets(prefill, decode))

    return asyncio.run(both())


def seen(connector: KubernetesConnector) -> ClusterSnapshot:
    view = look(connector)
    assert isinstance(view, ClusterSnapshot)
    return view


def test_a_snapshot_has_workers_load_and_counters_since_the_first_look():
    world = World(started=50, completed=40)
    world.of("decode")[0].running = 3
    world.of("decode")[0].waiting = 2
    connector = world.connector(config())
    first = seen(connector)
    assert first.now_s == 1000.0
    assert first.counters.requests_started == 0
    assert roles(first.workers, Role.DECODE) == ["ready"]
    load = next(load for load in first.loads if load.role is Role.DECODE)
    assert (load.running_requests, load.waiting_requests, load.kv_usage_ratio) == (3, 2, 0.25)
    world.now_s, world.started, world.completed = 1005.0, 70, 60
    second = seen(connector).counters
    assert (second.requests_started, second.requests_completed) == (20, 20)
    assert (second.isl_tokens_started, second.isl_count) == (18_000, 20)
    assert second.ttft_ms_sum / second.ttft_count == 250.0
    assert second.itl_ms_sum / second.itl_count == 20.0


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("starting", ["starting"]),
        # It fills the place of a replica and is tried again.
        ("broken", ["starting"]),
        ("terminating", ["draining", "starting"]),
        # A pod that has failed for good is replaced by another one.
        ("failed", ["failed", "starting"]),
    ],
)
def test_states_of_pods(state, expected):
    world = World()
    world.of("decode")[0].state = state
    world.of("decode")[0].since_s = 990.0
    found = seen(world.connector(config()))
    assert roles(found.workers, Role.DECODE) == expected
    old = next(each for each in found.workers if each.worker_id == "demo-decode-0")
    assert old.since_s == 990.0


def test_what_is_ordered_and_not_there_yet_is_starting_since_it_was_ordered():
    world = World(desired={"prefill": 1, "decode": 1})
    world.desired["decode"] = 3
    connector = world.connector(config())
    assert roles(seen(connector).workers, Role.DECODE) == ["ready", "starting", "starting"]
    world.now_s = 1005.0
    world.desired["decode"] = 4
    ordered = [each for each in seen(connector).workers if "ordered" in each.worker_id]
    assert [each.since_s for each in ordered] == [1000.0, 1000.0, 1005.0]


def test_surplus_pods_are_about_to_go_those_that_are_not_ready_first():
    world = World(desired={"prefill": 1, "decode": 3})
    world.desired["decode"] = 2
    world.of("decode")[0].state = "starting"
    found = {each.worker_id: each.state.value for each in seen(world.connector(config())).workers}
    assert found["demo-decode-0"] == "draining"
    assert found["demo-decode-1"] == found["demo-decode-2"] == "ready"


def test_a_replica_over_several_pods_is_ready_when_all_of_them_are():
    world = World()
    group = "leaderworkerset.sigs.k8s.io/group-index"
    world.components = [
        {"name": "Frontend", "type": "frontend"},
        {"name": "prefill", "type": "prefill", "replicas": 1},
        {"name": "decode", "type": "decode", "replicas": 2, "multinode": {"nodeCount": 2}},
    ]
    world.desired["decode"] = 2
    world.pods = [each for each in world.pods if each.component != "decode"] + [
        pod("decode", index, 1000.0, labels={group: str(index // 2)}) for index in range(4)
    ]
    world.of("decode")[3].state = "starting"
    view = seen(world.connector(config()))
    assert sorted(roles(view.workers, Role.DECODE)) == ["ready", "starting"]


def test_targets_are_patched_into_the_adapters_and_equal_ones_are_skipped():
    world = World()
    found = order(world.connector(config()), 1, 3)
    assert found == Outcome(applied=Applied.ACCEPTED, changes=("decode 1 -> 3",))
    place = "/apis/nvidia.com/v1beta1/namespaces/ns/dynamographdeploymentscalingadapters"
    assert world.calls == [("PATCH", f"{place}/demo-decode/scale", {"spec": {"replicas": 3}})]
    assert order(world.connector(config()), 1, 3).applied is Applied.NOTHING_TO_DO


def test_without_adapters_the_deployment_itself_is_patched():
    world = World(adapters=False)
    assert order(world.connector(config()), 2, 1).applied is Applied.ACCEPTED
    (call,) = world.calls
    assert call[1].endswith(f"/dynamographdeployments/{NAME.name}")
    assert call[2] == [
        {"op": "test", "path": "/spec/components/1/name", "value": "prefill"},
        {"op": "add", "path": "/spec/components/1/replicas", "value": 2},
    ]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({}, "has not seen"),
        ({"observedGeneration": 0}, "has not seen"),
        ({"observedGeneration": 1, "rollingUpdate": {"phase": "InProgress"}}, "rolling update"),
    ],
)
def test_reductions_wait_while_the_deployment_is_in_flux_and_raises_do_not(status, words):
    world = World(desired={"prefill": 1, "decode": 3}, status=status)
    found = order(world.connector(config()), 2, 2)
    assert found.applied is Applied.DEFERRED
    assert words in (found.problem or "")
    assert found.changes == ("prefill 1 -> 2",)
    world.status = {"observedGeneration": 1, "rollingUpdate": {"phase": "Completed"}}
    world.settle()
    assert order(world.connector(config()), 2, 2).changes == ("decode 3 -> 2",)


def test_reductions_wait_while_pods_are_terminating():
    world = World(desired={"prefill": 1, "decode": 3})
    world.pods.append(pod("decode", 9, 1000.0, state="terminating"))
    found = order(world.connector(config()), 1, 2)
    assert (found.applied, world.calls) == (Applied.DEFERRED, [])
    assert "pods of decode are terminating" in (found.problem or "")


@pytest.mark.parametrize(
    ("error", "applied"),
    [
        (ApiError(409, "Conflict", "changed"), Applied.UNKNOWN),
        (ApiError(429, "TooManyRequests", "slow down"), Applied.UNKNOWN),
        (ApiError(500, "InternalError", "oops"), Applied.UNKNOWN),
        (ApiError(0, "Unreachable", "no route"), Applied.UNKNOWN),
        (ApiError(403, "Forbidden", "no right"), Applied.REJECTED),
        (ApiError(422, "Invalid", "test failed"), Applied.REJECTED),
    ],
)
def test_a_refused_write_is_reported_and_tried_again(error, applied):
    world = World(write_refusals=[error])
    connector = world.connector(config())
    found = order(connector, 2, 3)
    assert (found.applied, found.changes, world.calls) == (applied, (), [])
    assert error.message in (found.problem or "")
    assert order(connector, 2, 3).changes == ("prefill 1 -> 2", "decode 1 -> 3")


def test_an_outage_of_the_api_is_blindness_and_never_a_write():
    world = World(started=10)
    reports = play(world, [[], [ApiError(503, "Unavailable", "down")], []])
    assert [report.decision.held for report in reports] == [True, True, False]
    assert "the Kubernetes API: Unavailable: down" in (reports[1].problem or "")
    assert reports[1].applied is Applied.NOTHING_TO_DO


def test_silent_frontends_are_blindness_with_workers_in_view():
    world = World()
    connector = world.connector(config())
    look(connector)
    world.of("Frontend")[0].silent = True
    view = look(connector)
    assert isinstance(view, Blind)
    assert roles(view.workers, Role.PREFILL) == ["ready"]
    assert len(view.loads) == 2
    with pytest.raises(TransientError, match="was not seen"):
        asyncio.run(connector.order(targets(1, 2)))
    world.of("Frontend")[0].state = "starting"
    view = look(connector)
    assert isinstance(view, Blind)
    assert view.reason == "no frontend is ready"


def test_a_pool_of_which_one_worker_is_silent_has_no_known_load():
    world = World(desired={"prefill": 1, "decode": 2})
    world.of("decode")[1].silent = True
    assert [load.role for load in seen(world.connector(config())).loads] == [Role.PREFILL]


def test_a_deployment_that_is_being_deleted_is_left_alone():
    with pytest.raises(TransientError, match="being deleted"):
        look(World(deleting=True).connector(config()))


@pytest.mark.parametrize(
    ("components", "words"),
    [
        ([{"name": "a", "type": "decode"}], "type prefill, has none"),
        (
            [{"name": n, "type": "decode"} for n in "ab"] + [{"name": "p", "type": "prefill"}],
            "type decode, has a, b",
        ),
    ],
)
def test_every_role_needs_exactly_one_component(components, words):
    world = World(components=components)
    with pytest.raises(PermanentError, match=words):
        look(world.connector(config()))


def test_a_single_generic_worker_is_the_aggregated_pool():
    world = World(desired={"worker": 2})
    world.components = [
        {"name": "Frontend", "type": "frontend"},
        {"name": "Worker", "replicas": 2},
    ]
    view = seen(world.connector(config(fleet=AGG)))
    assert roles(view.workers, Role.AGG) == ["ready", "ready"]


def test_a_restarted_planner_does_not_jump():
    """A new planner finds five workers and little traffic: it waits for the whole hold."""
    world = World(desired={"prefill": 1, "decode": 5})
    sizes = []
    connector = world.connector(config())
    adapter = ConnectedPlanner(Planner(config(), model()), connector)
    for _ in range(6):
        report = asyncio.run(adapter.tick())
        assert report.decision.held == (not sizes)
        sizes.append(world.desired["decode"])
        world.advance(5.0, 1)
        world.settle()
    assert sizes[:3] == [5, 5, 5]
    assert sizes[-1] == 1


def test_a_change_by_somebody_else_is_the_new_position():
    world = World()
    connector = world.connector(config())
    adapter = ConnectedPlanner(Planner(config(), model()), connector)
    asyncio.run(adapter.tick())
    world.desired["decode"] = 4
    world.advance(5.0, 4)
    report = asyncio.run(adapter.tick())
    assert report.decision.figures["decode_position_replicas"] == 4.0
    assert world.desired["decode"] == 4


def play(world: World, refusals: list[list[Any]]) -> list[TickReport]:
    """One tick for each entry, which the API refuses as it says."""
    adapter = ConnectedPlanner(Planner(config(), model()), world.connector(config()))
    reports = []
    for each in refusals:
        world.refusals = list(each)
        reports.append(asyncio.run(adapter.tick()))
        world.advance(5.0, 10)
    return reports
