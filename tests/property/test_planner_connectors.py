"""What must hold for a planner on Kubernetes, whatever the cluster and its metrics do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgdr.operator.api import ApiError
from planner.adapters.connected import ConnectedPlanner, TickReport
from planner.adapters.kubernetes import KubernetesConnector
from planner.core import PlannerConfig
from planner.loop import Planner
from tests.unit.planner.kubernetes_world import World, pod
from tests.unit.planner.planner_samples import DISAGG, config, model

BUDGET = 9
REFUSALS = (
    ApiError(409, "Conflict", "changed"),
    ApiError(429, "TooManyRequests", "slow down"),
    ApiError(500, "InternalError", "oops"),
    ApiError(0, "Unreachable", "no route"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One interval and the tick at its end.

    Attributes:
        arrivals: requests of the interval.
        waiting: requests in the queue of each worker.
        lag: pods do not follow the orders in this interval.
        away: pods that are asked to go are gone at the end of the interval.
        silent: the frontend's metrics cannot be read.
        quiet: the metrics of one worker cannot be read.
        refused: the API refuses this call of the tick, None for none.
        unwritten: the API refuses the first write.
        restart: the planner starts anew before the tick.
        updating: the deployment is in a rolling update.
    """

    arrivals: int
    waiting: int
    lag: bool
    away: bool
    silent: bool
    quiet: bool
    refused: ApiError | None
    unwritten: ApiError | None
    restart: bool
    updating: bool


steps = st.builds(
    Step,
    arrivals=st.sampled_from([0, 0, 5, 40, 120, 400]),
    waiting=st.sampled_from([0, 0, 20]),
    lag=st.booleans(),
    away=st.booleans(),
    silent=st.integers(0, 5).map(lambda n: n == 0),
    quiet=st.integers(0, 5).map(lambda n: n == 0),
    refused=st.none() | st.none() | st.sampled_from(REFUSALS),
    unwritten=st.none() | st.none() | st.sampled_from(REFUSALS),
    restart=st.integers(0, 7).map(lambda n: n == 0),
    updating=st.integers(0, 5).map(lambda n: n == 0),
)


def taken(world: World) -> int:
    """GPUs that are in use or promised."""
    total = 0
    for name, wanted in world.desired.items():
        own = world.of(name)
        leaving = sum(each.state == "terminating" for each in own)
        total += max(wanted, len(own) - leaving) + leaving
    return total


class Rig:
    """A world whose pods may lag behind orders and take long to go."""

    def __init__(self, limits: PlannerConfig) -> None:
        self.world = World()
        self.limits = limits
        self._connector: KubernetesConnector
        self._adapter: ConnectedPlanner
        self._start()

    def _start(self) -> None:
        self._connector = self.world.connector(self.limits)
        self._adapter = ConnectedPlanner(Planner(self.limits, model()), self._connector)
        self.fresh = True

    async def tick(self, step: Step) -> TickReport:
        world = self.world
        if step.restart:
            self._start()
        world.of("Frontend")[0].silent = step.silent
        for each in world.pods:
            each.waiting = step.waiting
        world.of("decode")[-1].silent = step.quiet
        world.refusals = [] if step.refused is None else [step.refused]
        world.write_refusals = [step.unwritten]
        phase = "InProgress" if step.updating else "Completed"
        world.status = {"observedGeneration": 1, "rollingUpdate": {"phase": phase}}
        report = await self._adapter.tick()
        world.refusals.clear()
        return report

    def follow(self, step: Step) -> None:
        """What the cluster does until the next tick."""
        world = self.world
        world.advance(5.0, step.arrivals)
        if step.away:
            world.pods = [each for each in world.pods if each.state != "terminating"]
        if step.lag:
            return
        for name, wanted in world.desired.items():
            live = [each for each in world.of(name) if each.state != "terminating"]
            for each in live[wanted:]:
                each.state, each.since_s = "terminating", world.now_s
            taken_names = {each.name for each in world.of(name)}
            free = (n for n in range(100) if f"demo-{name}-{n}" not in taken_names)
            for _ in range(wanted - len(live)):
                world.pods.append(pod(name, next(free), world.now_s))


def limits(hold_s: float) -> PlannerConfig:
    return config(fleet=DISAGG, gpu_budget=BUDGET, scale_down_hold_s=hold_s)


@given(st.lists(steps, min_size=1, max_size=14), st.sampled_from([0.0, 10.0]))
@settings(max_examples=60, deadline=None)
def test_the_budget_holds_at_every_instant_and_nothing_is_done_blindly(story, hold_s):
    rig = Rig(limits(hold_s))

    async def play() -> None:
        for step in story:
            before, calls = dict(rig.world.desired), len(rig.world.calls)
            going = any(each.state == "terminating" for each in rig.world.pods)
            report = await rig.tick(step)
            after = rig.world.desired
            writes = rig.world.calls[calls:]
            assert taken(rig.world) <= BUDGET
            assert min(after.values()) >= 1
            if step.silent or step.refused is not None or rig.fresh:
                assert report.decision.held
                assert writes == []
            if step.updating or going:
                assert all(after[name] >= count for name, count in before.items())
            if step.quiet:
                assert after["decode"] >= before["decode"]
            if report.decision.held:
                assert after == before
            rig.fresh = rig.fresh and (step.silent or step.refused is not None)
            rig.follow(step)
            assert taken(rig.world) <= BUDGET

    asyncio.run(play())


@given(st.lists(steps, min_size=3, max_size=8))
@settings(max_examples=25, deadline=None)
def test_a_restart_never_reduces_before_the_hold(story):
    rig = Rig(limits(hold_s=10.0))

    async def play() -> None:
        sighted_s: float | None = None
        for step in story:
            if step.restart:
                sighted_s = None
            before = sum(rig.world.desired.values())
            now_s = rig.world.now_s
            report = await rig.tick(step)
            if report.decision.held:
                sighted_s = None
            elif sighted_s is None:
                sighted_s = now_s
            if sighted_s is None or now_s - sighted_s < 10.0:
                # One pool may give to the other where the budget is used up.
                wanted = [target.replicas for target in report.decision.targets]
                assert not wanted or sum(wanted) >= before
            rig.follow(step)

    asyncio.run(play())


def test_the_stories_do_scale_up_and_down():
    """Without it the properties above could hold for a planner that does nothing."""
    rig = Rig(limits(hold_s=0.0))
    calm = Step(
        arrivals=0, waiting=0, lag=False, away=True, silent=False, quiet=False,
        refused=None, unwritten=None, restart=False, updating=False,
    )  # fmt: skip
    busy = Step(**{**{name: getattr(calm, name) for name in calm.__slots__}, "arrivals": 120})
    sizes = []

    async def play() -> None:
        for step in [busy] * 5 + [calm] * 9:
            await rig.tick(step)
            rig.follow(step)
            sizes.append(sum(rig.world.desired.values()))

    asyncio.run(play())
    assert max(sizes) == pytest.approx(BUDGET, abs=2)
    assert sizes[-1] == 2
