"""Replay from the folder alone, bisection, random scenarios; completion of the command line."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from harness_synthetic_run import manifest

from contracts.errors import InputError
from harness.cli.explore import save
from harness.cli.options import seconds
from harness.explore import TrialResult, replay, sample, search, shrink
from harness.explore.bisect import _smaller
from harness.explore.replay import replay_scenario
from harness.run import execute
from harness.scenario import Rung, load_scenario, scenario_from
from harness.store import Bound, Check, Outcome, RunFolder, Verdict, load_run

LIBRARY = Path(__file__).parents[3] / "scenarios"


def quiet(_phase: str, _done: int, _total: int) -> None:
    """Report nothing."""


def executed(path: Path, root: Path) -> Path:
    found = load_scenario(path)
    found = replace(found, seeds=(3,))
    about = manifest(scenario=found.name, rungs=("sim",), seeds=(3,))
    with RunFolder.create(root, about) as folder:
        return execute(found, folder, rungs=(Rung.SIM,), progress=quiet).folder


@pytest.mark.slow
def test_a_folder_is_replayed_from_its_own_copies(tmp_path: Path) -> None:
    recorded = executed(LIBRARY / "trace-replay.yaml", tmp_path / "here")
    moved = tmp_path / "another-machine"
    shutil.move(recorded, moved)
    found = replay_scenario(moved)
    assert found.seeds == (3,)
    assert found.deploy.dgdr.parent == moved / "inputs"
    about = manifest(scenario=found.name, rungs=("sim",), seeds=(3,))
    with RunFolder.create(tmp_path / "again", about) as folder:
        result = replay(load_run(moved), found, folder, quiet)
    assert (result.same, result.diverged) == (("sim/3",), {})

    other = load_run(moved)
    run = other.runs[0]
    table = replace(run.record.table, osl=run.record.table.osl + 1)
    broken = replace(
        other, runs=(replace(run, record=replace(run.record, digest="x", table=table)),)
    )
    with RunFolder.create(tmp_path / "again", about) as folder:
        diverged = replay(broken, found, folder, quiet).diverged
    assert "request 0 arrives" in str(diverged["sim/3"])

    (moved / "inputs" / "dgdr.yaml").write_text("{}")
    with pytest.raises(InputError, match="was changed since the run"):
        replay_scenario(moved)


class FailsWithPartition:
    """Misses the recovery as long as there is a partition and somebody asks for it."""

    def run(self, scenario) -> TrialResult:
        kinds = {fault.kind for fault in scenario.faults}
        missed = "worker_partition" in kinds and scenario.expect.recovery_s_max is not None
        check = Check(
            name="recovery_s_max", rung="sim", seed=1, bound=Bound.AT_MOST, asked=2.0,
            measured=8.0, unit="s", outcome=Outcome.FAIL if missed else Outcome.PASS,
        )  # fmt: skip
        verdict = Verdict(outcome=check.outcome, checks=(check,))
        return TrialResult(verdict=verdict, error="", bug=False, digests={})


def test_bisection_keeps_what_fails_and_drops_the_rest(tmp_path: Path) -> None:
    path = LIBRARY / "network-partition.yaml"
    document = dict(load_scenario(path).document)
    document["seeds"] = [1, 2]
    document["expect"] = {"completed_ratio_min": 1.0, "recovery_s_max": 2.0}
    document["faults"] = [*document["faults"], {"kind": "worker_crash", "role": "agg", "at_s": 14}]
    steps: list[str] = []
    found = shrink(
        scenario_from(document, path),
        lambda step, _runs: steps.append(step),
        tries=FailsWithPartition(),
    )
    assert found.failing == {"recovery_s_max"}
    assert found.document["expect"] == {"recovery_s_max": 2.0}
    assert [fault["kind"] for fault in found.document["faults"]] == ["worker_partition"]
    assert len(found.document["seeds"]) == 1
    # The fault strikes at 12 s, so 20 s is the shortest half that still holds it.
    assert found.document["workload"]["synthetic"]["duration_s"] == 20
    assert found.steps == tuple(steps)
    assert found.runs > len(steps)
    target = tmp_path / "deep" / "small.yaml"
    save(found.document, LIBRARY, target)
    assert load_scenario(target).deploy.dgdr == LIBRARY / "dgdr" / "llama-8b.yaml"


class Passes:
    """Says that every scenario passes."""

    def run(self, _scenario) -> TrialResult:
        verdict = Verdict(outcome=Outcome.PASS, checks=())
        return TrialResult(verdict=verdict, error="", bug=False, digests={})


def test_a_scenario_that_passes_cannot_be_shrunk() -> None:
    found = load_scenario(LIBRARY / "network-partition.yaml")
    with pytest.raises(InputError, match="does not fail on rung sim"):
        shrink(found, lambda _step, _runs: None, tries=Passes())


@pytest.mark.slow
def test_a_search_finds_nothing_wrong() -> None:
    found = search(seed=11, folder=LIBRARY, more=lambda tried: tried < 2)
    assert (found.tried, found.findings) == (2, ())


class Broken:
    """Says that every scenario fails."""

    def run(self, _scenario) -> TrialResult:
        verdict = Verdict(outcome=Outcome.FAIL, checks=(), reasons=("it did not recover",))
        return TrialResult(verdict=verdict, error="", bug=False, digests={})


def test_a_search_reports_what_fails() -> None:
    found = search(seed=2, folder=LIBRARY, more=lambda tried: tried < 3, first=4, tries=Broken())
    assert [finding.number for finding in found.findings] == [4, 5, 6]
    assert found.findings[0].problem == "it did not recover"
    assert not found.findings[0].bug


def test_random_scenarios_are_valid_and_belong_to_their_seed() -> None:
    for number in range(40):
        document = sample(1, number)
        found = scenario_from(document, LIBRARY / "x.yaml")
        assert document == sample(1, number)
        assert found.rungs == (Rung.SIM,)
        ends = [fault.get("duration_s", 0.0) + fault["at_s"] for fault in document["faults"]]
        assert max(ends, default=0.0) <= 35.0
    assert sample(1, 0) != sample(1, 1)
    assert sample(1, 0) != sample(2, 0)


def test_each_smaller_candidate_takes_away_one_thing() -> None:
    document = yaml.safe_load((LIBRARY / "quickstart.yaml").read_text())
    names = [name for name, _ in _smaller(document, frozenset({"attainment_min"}))]
    assert names[:3] == ["planner off", "20 s of traffic", "fixed isl"]
    assert "without expect.completed_ratio_min" in names
    assert "without expect.attainment_min" not in names


@pytest.mark.parametrize(
    ("text", "length_s"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400)]
)
def test_durations(text: str, length_s: float) -> None:
    assert seconds(text, path="--for") == length_s


@pytest.mark.parametrize("text", ["", "ten", "-5s", "0m", "5d"])
def test_no_durations(text: str) -> None:
    with pytest.raises(InputError, match="is not a duration"):
        seconds(text, path="--for")
