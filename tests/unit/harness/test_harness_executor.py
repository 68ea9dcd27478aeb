"""Many runs at a time: the same results as one by one, lost workers, errors, Ray."""

from __future__ import annotations

import os
import pickle
import signal
import types
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import (
    CombinedInputError,
    InfeasibleError,
    InputError,
    PermanentError,
    RehearsalError,
    TransientError,
    UnsupportedError,
)
from harness.cli.cells import Cell, ExecutorKind, make_executor, run_cells
from harness.executor.local import Executor, Processes, Serial
from harness.executor.on_ray import Ray
from harness.explore import TrialResult, search
from harness.scenario import Rung, Scenario, load_scenarios
from harness.store import load_run

ROOT = Path(__file__).parents[3]
MATRIX = """
version: 1
name: cells
deploy: {dgdr: llama-8b.yaml, topology: {kind: agg, replicas: 1}}
workload:
  synthetic:
    duration_s: 5
    arrivals: {kind: poisson, rate_per_s: 4}
    isl: {mean: 500, cv: 0.4}
    osl: {mean: 20, cv: 0.4}
matrix: {router: [least_loaded, round_robin], rate_per_s: [2, 4]}
expect: {completed_ratio_min: 1.0}
rungs: [sim]
"""


def cells(folder: Path) -> list[Cell]:
    request = (ROOT / "scenarios/dgdr/llama-8b.yaml").read_text(encoding="utf-8")
    (folder / "llama-8b.yaml").write_text(request)
    path = folder / "cells.yaml"
    path.write_text(MATRIX)
    return [
        Cell(
            scenario=each,
            rungs=(Rung.SIM,),
            words=("harness", "run", str(path)),
            runs_dir=folder / "runs",
            baseline=None,
        )
        for each in load_scenarios(path)
    ]


def digests(folder: Path, executor: Executor) -> list[tuple[str, dict[str, str | None]]]:
    folder.mkdir()
    done = run_cells(cells(folder), executor, quiet=True)
    loaded = [load_run(each.folder) for each in done]
    return [
        (run.manifest.scenario, {each.key: each.record.digest for each in run.runs})
        for run in loaded
    ]


@pytest.mark.slow
def test_a_pool_gives_what_one_by_one_gives(tmp_path: Path) -> None:
    one_by_one = digests(tmp_path / "serial", Serial())
    assert len({str(digest) for _, digest in one_by_one}) == 2, "one worker: any router is the same"
    assert digests(tmp_path / "pool", Processes(2)) == one_by_one


class Pretends:
    """Fails every other scenario without running it."""

    def run(self, scenario: Scenario) -> TrialResult:
        failed = int(scenario.name.rpartition("-")[2]) % 2 == 1
        error = "InvariantError: made up" if failed else "InfeasibleError: made up"
        return TrialResult(verdict=None, error=error, bug=failed, digests={})


@pytest.mark.slow
def test_a_search_finds_the_same_on_a_pool() -> None:
    look = partial(
        search, seed=3, folder=ROOT / "scenarios", more=lambda n: n < 6, tries=Pretends()
    )
    one_by_one = look()
    assert (one_by_one.tried, one_by_one.refused) == (6, 3)
    assert [finding.number for finding in one_by_one.findings] == [1, 3, 5]
    assert look(executor=Processes(2)) == one_by_one


def square(value: int) -> int:
    if value < 0:
        raise InputError("is negative", path="value", value=str(value))
    return value * value


def dies_once(folder: Path, value: int) -> int:
    """Takes its process with it the first time that it sees the value 2."""
    mark = folder / "died"
    if value == 2 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return square(value)


def dies(_value: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


@pytest.mark.slow
def test_a_lost_worker_is_replaced_and_its_task_runs_again(tmp_path: Path) -> None:
    found = list(Processes(2).map(partial(dies_once, tmp_path), range(6)))
    assert found == [0, 1, 4, 9, 16, 25]
    with pytest.raises(PermanentError, match="gave up after 3 attempts"):
        list(Processes(1).map(dies, [1]))


@pytest.mark.slow
def test_an_error_in_a_process_arrives_as_it_was() -> None:
    with pytest.raises(InputError) as caught:
        list(Processes(2).map(square, [1, -1]))
    assert (caught.value.path, caught.value.value) == ("value", "-1")


@pytest.mark.parametrize(
    "error",
    [
        InputError("is wrong", source="a.yaml", path="b", value="1", allowed="2"),
        CombinedInputError([InputError("x", path="a"), InputError("y", path="b")]),
        TransientError("later", retry_after_s=2.5),
        InfeasibleError("none", binding_constraint="ITL", closest=["tp2"]),
        UnsupportedError("no"),
    ],
)
def test_errors_travel_between_processes(error: RehearsalError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), again.args) == (str(error), error.args)
    assert str(vars(again)) == str(vars(error))


def test_one_task_or_one_job_needs_no_pool() -> None:
    for tasks, jobs in ((1, 8), (5, 1)):
        place = make_executor(ExecutorKind.LOCAL, tasks=tasks, jobs=jobs, address=None)
        assert isinstance(place, Serial)
    place = make_executor(ExecutorKind.LOCAL, tasks=None, jobs=2, address=None)
    assert isinstance(place, Processes)


class FakeRay(types.SimpleNamespace):
    """As much of Ray as the executor uses; tasks run when their result is asked for."""

    class exceptions:  # noqa: N801  # a module of Ray
        class RayError(Exception): ...

        class RayTaskError(RayError):
            def __init__(self, cause: BaseException) -> None:
                self.cause = cause

        class WorkerCrashedError(RayError): ...

    def __init__(self) -> None:
        super().__init__(log=[], crash=False)

    def init(self, **options: Any) -> None:
        self.log.append(options)
        if options["address"] == "nowhere":
            raise ConnectionError("refused")

    def remote(self, *, max_retries: int) -> Callable[..., Any]:
        self.log.append(max_retries)

        def decorate(function: Callable[[Any], Any]) -> types.SimpleNamespace:
            if not isinstance(function, types.FunctionType):
                raise TypeError("must be applied to either a function or a class")
            return types.SimpleNamespace(remote=lambda item: (function, item))

        return decorate

    def get(self, reference: tuple[Callable[[Any], Any], Any]) -> Any:
        if self.crash:
            raise self.exceptions.WorkerCrashedError("lost")
        function, item = reference
        try:
            return function(item)
        except Exception as error:
            raise self.exceptions.RayTaskError(error) from error

    def cancel(self, reference: object) -> None:
        self.log.append(("cancel", reference))

    def shutdown(self) -> None:
        self.log.append("shutdown")


@pytest.fixture
def fake_ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setattr("harness.executor.on_ray.importlib.import_module", lambda _name: fake)
    return fake


def results(executor: Executor, items: Iterable[int]) -> list[int]:
    return list(executor.map(square, items))


def test_ray_gives_the_results_in_order(fake_ray: FakeRay) -> None:
    assert results(Ray(2), range(9)) == [n * n for n in range(9)]
    assert fake_ray.log[0]["num_cpus"] == 2
    assert fake_ray.log[1:] == [2, "shutdown"]
    with pytest.raises(InputError, match="is negative"):
        results(Ray(1), [-1, 1, 2])
    what, (_, item) = fake_ray.log[-2]
    assert (what, item, fake_ray.log[-1]) == ("cancel", 1, "shutdown")
    assert list(Ray(1).map(partial(pow, 2), [3])) == [8]
    fake_ray.crash = True
    with pytest.raises(PermanentError, match="Ray gave up on a task: lost"):
        results(Ray(1, "auto"), [1])
    with pytest.raises(PermanentError, match="no Ray at nowhere: refused"):
        Ray(1, "nowhere")


def test_ray_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("harness.executor.on_ray.importlib.import_module", missing)
    with pytest.raises(UnsupportedError, match=r"pip install -e .\.\[ray\]"):
        make_executor(ExecutorKind.RAY, tasks=3, jobs=2, address=None)
