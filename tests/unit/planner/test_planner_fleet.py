"""Several deployments in memory under one budget."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from kubernetes_world import World
from planner_samples import config, model
from test_planner_http import JumpClock

from contracts.errors import CombinedInputError, InputError
from dgdr.operator.api import ApiError
from planner.adapters.connected import Applied, ConnectedPlanner, TickReport
from planner.adapters.fleet import FleetPlanner, Member
from planner.command.fleet import load_fleet
from planner.loop import Planner


def member(name: str, world: World, weight: float = 1.0) -> Member:
    connector = world.connector(config())
    planner = ConnectedPlanner(Planner(config(), model()), connector)
    return Member(name=name, planner=planner, connector=connector, weight=weight)


def gpus(*worlds: World) -> int:
    return sum(sum(world.desired.values()) for world in worlds)


def fleet(budget: int, *worlds: World) -> FleetPlanner:
    members = [member(str(index), world) for index, world in enumerate(worlds)]
    return FleetPlanner(members, gpu_budget=budget, interval_s=5.0, clock=JumpClock())


def step(planner: FleetPlanner, arrivals: dict[int, int], *worlds: World) -> list[TickReport]:
    reports = asyncio.run(planner.tick())
    for index, world in enumerate(worlds):
        world.settle()
        world.advance(5.0, arrivals.get(index, 0))
    return [report for _, report in reports]


def test_a_budget_for_all_is_divided_and_never_exceeded():
    a, b = World(), World()
    planner = fleet(10, a, b)
    used = []
    # First one of them is busy, then the other one.
    for arrivals in [{0: 90, 1: 10}] * 4 + [{0: 5, 1: 90}] * 9:
        step(planner, arrivals, a, b)
        used.append((a.desired["decode"], b.desired["decode"]))
        assert gpus(a, b) <= 10
    assert max(first for first, _ in used[:5]) > max(second for _, second in used[:5])
    assert used[-1][1] > used[-1][0]


def test_a_blind_member_keeps_what_it_has_and_the_others_live_with_the_rest():
    a, b = World(desired={"prefill": 1, "decode": 5}), World()
    planner = fleet(10, a, b)
    step(planner, {0: 20, 1: 20}, a, b)
    a.of("Frontend")[0].silent = True
    for _ in range(5):
        first, _ = step(planner, {0: 20, 1: 120}, a, b)
    assert first.decision.held
    assert a.desired == {"prefill": 1, "decode": 5}
    assert gpus(b) == 4


def test_nobody_gets_more_while_a_member_was_never_seen():
    a, b = World(), World()
    planner = fleet(20, a, b)
    for _ in range(3):
        a.refusals = [ApiError(0, "Unreachable", "no route")]
        reports = step(planner, {1: 90}, a, b)
    assert gpus(b) == 2
    assert reports[1].applied is Applied.DEFERRED
    assert "not free" in (reports[1].problem or "")


def test_it_ticks_on_its_own_interval():
    world = World()
    planner = fleet(4, world)
    found: list[str] = []
    asyncio.run(planner.run(lambda name, _report: found.append(name), ticks=3))
    assert found == ["0", "0", "0"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gpu_budget: 0\ndeployments: [{name: a, config: c}]", "gpu_budget"),
        ("gpu_budget: 8\ndeployments: []", "deployments"),
        ("gpu_budget: 8\ndeployments: [{name: a, config: c, colour: red}]", "0.colour"),
        ("gpu_budget: 8\ndeployments: [{name: a, config: c, weight: -1}]", "0.weight"),
        (
            "gpu_budget: 8\ndeployments: [{name: a, config: c}, {name: a, config: d}]",
            "default/a",
        ),
        ("[", "cannot be read"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, words: str):
    path = tmp_path / "fleet.yaml"
    path.write_text(text)
    with pytest.raises((InputError, CombinedInputError), match=words):
        load_fleet(path)
