"""Bisection by time and by commit, and what every command offers."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from typer.testing import CliRunner

from contracts.errors import InputError
from harness.cli.app import app
from harness.explore import TrialResult
from harness.explore.commits import commits_between, first_failing, judge_in_worktree
from harness.explore.moment import find_moment
from harness.scenario import (
    Scenario,
    SyntheticWorkload,
    TraceWorkload,
    load_scenario,
    scenario_from,
)
from harness.store import Bound, Check, Outcome, Verdict

LIBRARY = Path(__file__).parents[3] / "scenarios"


class FailsFrom:
    """Misses the recovery with so much traffic or more."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self.tried: list[Scenario] = []

    def run(self, scenario: Scenario) -> TrialResult:
        self.tried.append(scenario)
        workload = scenario.workload
        if isinstance(workload, TraceWorkload):
            much = workload.limit is None or workload.limit >= self._limit
        else:
            assert isinstance(workload, SyntheticWorkload)
            much = workload.duration_s >= self._limit
        check = Check(
            name="recovery_s_max", rung="sim", seed=1, bound=Bound.AT_MOST, asked=2.0,
            measured=8.0, unit="s", outcome=Outcome.FAIL if much else Outcome.PASS,
        )  # fmt: skip
        verdict = Verdict(outcome=check.outcome, checks=(check,))
        return TrialResult(verdict=verdict, error="", bug=False, digests={})


def quiet(_step: str, _runs: int) -> None:
    """Report nothing."""


def test_the_moment_is_found_to_a_hundredth_of_the_traffic() -> None:
    scenario = load_scenario(LIBRARY / "worker-crash.yaml")  # 30 s, the fault at 12 s
    tries = FailsFrom(17.3)
    found = find_moment(scenario, quiet, tries=tries)
    assert found.unit == "s"
    assert found.holds < 17.3 <= found.fails <= found.holds + 0.3
    assert found.failing == {"recovery_s_max"}
    assert found.document["workload"]["synthetic"]["duration_s"] == found.fails
    assert [fault["kind"] for fault in found.document["faults"]] == ["worker_crash"]
    assert found.runs == len(tries.tried) < 12


def test_faults_after_the_end_of_shorter_traffic_are_left_out() -> None:
    path = LIBRARY / "worker-crash.yaml"
    document = dict(load_scenario(path).document) | {"expect": {"completed_ratio_min": 1.0}}
    found = find_moment(scenario_from(document, path), quiet, tries=FailsFrom(5.0))
    assert found.document["faults"] == []


def test_of_a_trace_the_requests_count() -> None:
    path = LIBRARY / "trace-replay.yaml"
    document = dict(load_scenario(path).document)
    document["workload"] = {"trace": {**document["workload"]["trace"], "limit": 40}}
    found = find_moment(scenario_from(document, path), quiet, tries=FailsFrom(7))
    assert (found.fails, found.holds, found.unit) == (7.0, 6.0, "requests")


def test_what_holds_has_no_moment() -> None:
    with pytest.raises(InputError, match="does not fail on rung sim"):
        find_moment(load_scenario(LIBRARY / "smoke.yaml"), quiet, tries=FailsFrom(1e9))


# -- commits ----------------------------------------------------------------------------


@pytest.mark.parametrize("bad", range(1, 12))
def test_the_first_commit_that_fails_is_found(bad: int) -> None:
    commits = [f"c{index}" for index in range(12)]
    asked: list[str] = []

    def judge(commit: str) -> bool:
        asked.append(commit)
        return int(commit[1:]) < bad

    found = first_failing(commits, judge, quiet)
    assert (found.commit, found.good) == (f"c{bad}", f"c{bad - 1}")
    assert found.suspects == ()
    assert found.runs == len(asked) <= 6


def test_commits_that_cannot_be_judged_stay_suspects() -> None:
    def judge(commit: str) -> bool | None:
        number = int(commit[1:])
        return None if 3 <= number <= 5 else number < 4

    found = first_failing([f"c{index}" for index in range(8)], judge, quiet)
    assert (found.commit, found.good) == ("c6", "c2")
    assert found.suspects == ("c3", "c4", "c5")


def test_the_ends_must_differ() -> None:
    with pytest.raises(InputError, match="does not fail"):
        first_failing(["a", "b"], lambda _: True, quiet)
    with pytest.raises(InputError, match="does not pass"):
        first_failing(["a", "b"], lambda _: False, quiet)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Four commits of a program called harness, which exits with 0, 70, 1 and 1."""
    place = tmp_path / "repo"
    package = place / "harness"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    git(place, "init", "--quiet", "--initial-branch", "main")
    for code in (0, 70, 1, 1):
        text = f"import sys\nassert sys.argv[1:2] == ['run']\nsys.exit({code})\n"
        (package / "__main__.py").write_text(text)
        git(place, "add", "--all")
        git(place, "commit", "--quiet", "--allow-empty", "--message", f"code {code}")
    return place


def git(place: Path, *words: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    done = subprocess.run(
        ["git", "-C", str(place), *identity, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.slow
def test_commits_are_judged_in_a_worktree_that_goes_away(repository: Path, tmp_path: Path) -> None:
    commits = commits_between(repository, "main~3..main")
    assert len(commits) == 4
    scenario = LIBRARY / "smoke.yaml"
    with judge_in_worktree(repository, scenario, tmp_path / "runs") as judge:
        assert [judge(commit) for commit in commits] == [True, None, False, False]
        found = first_failing(commits, judge, quiet)
    assert (found.commit, found.suspects) == (commits[2], (commits[1],))
    assert len(git(repository, "worktree", "list").splitlines()) == 1


@pytest.mark.parametrize(
    ("span", "message"),
    [("main", "is no pair"), ("nowhere..main", "rev-parse"), ("main..main", "no commit lies")],
)
def test_what_is_no_pair_of_commits_is_refused(repository: Path, span: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        commits_between(repository, span)


# -- every command ----------------------------------------------------------------------


def commands(group: Any, *path: str) -> list[tuple[str, ...]]:
    found = []
    for name, command in group.commands.items():
        inner = commands(command, *path, name) if hasattr(command, "commands") else [(*path, name)]
        found += inner
    return found


EVERY = commands(typer.main.get_command(app))


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_command_has_an_example_and_json(words: tuple[str, ...]) -> None:
    said = CliRunner().invoke(app, [*words, "--help"])
    assert said.exit_code == 0
    text = click.unstyle(said.output)
    assert f"Example: harness {' '.join(words)}" in text
    assert "--json" in text or words == ("serve",)  # which runs until it is ended
