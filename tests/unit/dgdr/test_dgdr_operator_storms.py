"""Crashes, conflicts, duplicates and gaps at any point: nothing twice, nothing lost."""

from __future__ import annotations

import numpy as np
import pytest
from dgdr_fake_api import Crash
from dgdr_operator_world import NAMESPACE, World
from hypothesis import given, settings
from hypothesis import strategies as st

from dgdr.operator.api import ApiError
from dgdr.operator.requests import REQUEST_SOURCES
from dgdr.operator.resources import GRAPHS, JOBS, REQUESTS
from dgdr.reconcile.actions import Ref

TERMINAL = {"Ready", "Deployed", "Failed"}
_ORDER = ["", "Pending", "Profiling", "Ready", "Deploying", "Deployed"]


class Weather:
    """Faults of the API: conflicts by another client, errors, crashes around a write."""

    def __init__(self, world: World, seed: int, *, fault_ratio: float, crashes: int) -> None:
        self.world = world
        self.rng = np.random.Generator(np.random.PCG64(seed))
        self.fault_ratio = fault_ratio
        self.crashes_left = crashes
        self.crash_ratio = 0.0
        world.api.before_write = self.before
        world.api.after_write = self.after
        self.quiet = False

    def before(self, verb, ref) -> None:
        if self.quiet:
            return
        self.maybe_crash()
        if self.rng.random() < self.fault_ratio:
            codes = [(409, "Conflict"), (429, "TooManyRequests"), (500, "InternalError"), (0, "")]
            raise ApiError(*codes[self.rng.integers(len(codes))], "injected")
        if verb == "patch" and self.rng.random() < self.fault_ratio:
            self.touch(ref)

    def after(self, verb, ref) -> None:
        if not self.quiet:
            self.maybe_crash()
            if self.rng.random() < self.fault_ratio:
                raise ApiError(0, "Disconnected", "done, but the answer was lost")

    def maybe_crash(self) -> None:
        if self.crashes_left and self.rng.random() < self.crash_ratio:
            self.crashes_left -= 1
            raise Crash

    def touch(self, ref: Ref) -> None:
        """Somebody else changes the object right before."""
        found = self.world.api.get(ref)
        if found is not None:
            self.quiet = True
            stamp = {"metadata": {"labels": {"touched": str(self.rng.integers(1 << 30))}}}
            self.world.api.patch(ref, stamp)
            self.quiet = False

    def calm(self, action):
        """The rest of the cluster acts without faults of its own."""
        self.quiet = True
        try:
            return action()
        finally:
            self.quiet = False


def _check_history(world: World) -> None:
    """No phase runs backwards except where the state machine says so."""
    last: dict[str, str] = {}
    for _, kind, data in world.api.history:
        if data["kind"] != "DynamoGraphDeploymentRequest" or kind == "DELETED":
            continue
        name, phase = data["metadata"]["name"], (data.get("status") or {}).get("phase", "")
        before = last.get(name, "")
        if before != phase and phase != "Failed":
            assert _ORDER.index(phase) > _ORDER.index(before), f"{name}: {before} to {phase}"
        assert not (before == "Failed" and phase != "Failed"), f"{name} left Failed"
        last[name] = phase


def _check_end(world: World, names: list[str]) -> None:
    for name in names:
        wanted = "Failed" if name.endswith("-bad") else "Deployed"
        wanted = "Ready" if name.endswith("-hold") else wanted
        assert world.phase(name) == wanted, (name, world.status(name))
        assert world.api.created[f"Job/{NAMESPACE}/profile-{name}"] == 1
        graphs = world.api.created[f"DynamoGraphDeployment/{NAMESPACE}/{name}-dgd"]
        assert graphs == (wanted == "Deployed")
    assert len(world.api.list(JOBS).items) == len(names)
    assert len(world.api.list(REQUESTS).items) == len(names)
    assert all(n == 1 for key, n in world.api.created.items() if key.startswith("Job/"))


def _names(count: int) -> list[str]:
    kinds = ["", "", "-bad", "-hold"]
    return [f"r{number}{kinds[number % 4]}" for number in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))]
)
def test_two_hundred_requests_and_twenty_crashes(seed):
    world = World()
    weather = Weather(world, seed, fault_ratio=0.02, crashes=20)
    weather.crash_ratio = 0.012
    names = _names(200)
    for name in names:
        weather.calm(lambda name=name: world.submit(name, {"autoApply": "-hold" not in name}))
    for _ in range(200):
        _settle(world)
        moved = weather.calm(lambda: world.run_jobs() | world.run_deployments())
        if not moved and all(world.phase(name) in TERMINAL for name in names):
            break
        world.clock.now_s += 70.0
    assert world.restarts == 20
    _settle(world)
    _check_end(world, names)
    _check_history(world)


def _settle(world: World) -> None:
    for step in range(5000):
        if step % 20 == 0:
            world.pump()
        if world.work():
            continue
        world.pump()
        due_s = world.operator.queue.next_due_s()
        if due_s is None or due_s - world.clock.now_s > 5.0:
            return
        world.clock.now_s = max(world.clock.now_s, due_s)
    raise AssertionError("the operator does not come to rest")


STEPS = st.lists(
    st.sampled_from(
        ["pump", "work", "work", "work", "jobs", "graphs", "time", "crash", "gap", "twice", "touch"]
        + [f"see {number}" for number in range(len(REQUEST_SOURCES))]
    ),
    min_size=10,
    max_size=120,
)


@pytest.mark.slow
@settings(max_examples=80, deadline=None, derandomize=True)
@given(steps=STEPS, seed=st.integers(0, 1 << 16), faults=st.sampled_from([0.0, 0.1, 0.3]))
def test_any_interleaving_ends_well(steps, seed, faults):
    world = World()
    weather = Weather(world, seed, fault_ratio=faults, crashes=5)
    weather.crash_ratio = 0.03
    names = ["a", "b-bad", "c-hold"]
    for name in names:
        weather.calm(lambda name=name: world.submit(name, {"autoApply": "-hold" not in name}))
    for step in steps:
        _step(world, weather, step)
    weather.fault_ratio, weather.crashes_left = 0.0, 0
    world.restart()
    world.play()
    _check_end(world, names)
    _check_history(world)


def _step(world: World, weather: Weather, step: str) -> None:
    if step == "pump":
        world.pump()
    elif step.startswith("see "):  # one kind at a time, the others stay behind
        world.operator.informers[int(step[-1])].run_once()
    elif step in ("work", "crash"):
        world.work() if step == "work" else world.restart()
    elif step in ("jobs", "graphs"):
        weather.calm(world.run_jobs if step == "jobs" else world.run_deployments)
    elif step == "time":
        world.clock.now_s += 40.0
    elif step == "gap":
        world.pump()
        history = list(world.api.history)
        world.api.compact()
        world.api.history = history[-3:]
    elif step == "twice":
        for name in ("a", "b-bad", "c-hold", "nobody"):
            world.operator.queue.add(f"{NAMESPACE}/{name}")
    else:
        found = world.find(REQUESTS, "a")
        weather.touch(Ref.of(found))


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True)
@given(crash_at=st.integers(0, 40), after=st.booleans())
def test_a_crash_at_any_write(crash_at, after):
    world = World()
    world.submit("demo")
    writes = [0]

    def count(verb, ref) -> None:
        writes[0] += 1
        if writes[0] == crash_at:
            raise Crash

    setattr(world.api, "after_write" if after else "before_write", count)
    for _ in range(20):
        world.settle()
        guard = world.api.before_write, world.api.after_write
        world.api.before_write = world.api.after_write = lambda verb, ref: None
        moved = world.run_jobs() | world.run_deployments()
        world.api.before_write, world.api.after_write = guard
        if not moved:
            break
    world.settle()
    _check_end(world, ["demo"])
    assert len(world.api.list(GRAPHS).items) == 1


def test_a_watch_that_fell_behind_lists_again():
    world = World()
    world.pump()
    world.submit("demo")
    world.api.compact()
    world.submit("late")
    world.pump()
    world.play()
    assert {world.phase("demo"), world.phase("late")} == {"Deployed"}


def test_deletions_in_a_gap_are_noticed():
    world = World()
    world.submit("demo")
    world.play()
    graph = world.find(GRAPHS, "demo-dgd")
    world.api.delete(Ref.of(graph), graph["metadata"]["uid"])
    world.api.compact()
    world.pump()
    world.settle()
    assert world.phase("demo") == "Failed"
