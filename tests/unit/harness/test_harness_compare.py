"""Divergence, causes, baselines."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from harness_synthetic_run import manifest, setup
from test_harness_judge import run

from contracts.decision import Decision, RoleTarget
from contracts.errors import InputError
from contracts.observation import WorkerState, WorkerView
from contracts.plan import Role
from harness.compare import (
    attribute,
    baseline_of,
    diff_lines,
    diff_runs,
    first_divergence,
    judge_baseline,
    read_baseline,
    write_baseline,
)
from harness.compare.baseline import paired
from harness.store import LoadedRun, Outcome, RungRun


def folder(tmp_path, *runs: RungRun) -> LoadedRun:
    return LoadedRun(
        path=tmp_path, manifest=manifest(), setup=setup(), runs=runs, verdict=None, pareto=None
    )


def changed(one: RungRun, **columns) -> RungRun:
    return replace(one, record=replace(one.record, table=replace(one.record.table, **columns)))


def test_equal_runs_do_not_diverge() -> None:
    assert first_divergence(run([50.0, 60.0]), run([50.0, 60.0])) is None


def test_the_first_event_that_differs_is_named() -> None:
    found = first_divergence(run([50.0, 60.0, 70.0]), run([50.0, 61.0, 99.0]))
    assert found is not None
    assert found.at_s == pytest.approx(1.06)
    assert found.left == "request 1 has its first token"
    assert "event 5 at 1.060000 s: request 1 has its first token" in str(found)


def test_a_run_that_ends_early_diverges_where_it_ends() -> None:
    found = first_divergence(run([50.0]), run([50.0, 60.0]))
    assert found is not None
    assert (found.left, found.right) == (None, "request 1 arrives (10 prompt, 11 output tokens)")


def test_decisions_are_events_too() -> None:
    def decided(replicas: int) -> RungRun:
        targets = (RoleTarget(role=Role.AGG, replicas=replicas),)
        return replace(run([50.0]), decisions=(Decision(now_s=9.0, targets=targets, reason="r"),))

    found = first_divergence(decided(2), decided(3))
    assert found is not None
    assert (found.left, found.right) == ("planner: agg 2 (r)", "planner: agg 3 (r)")


def test_causes_add_up_to_the_difference_of_the_means() -> None:
    left, right = run([50.0, 50.0, 50.0, 50.0]), run([50.0, 90.0, 150.0, 50.0])
    right = changed(right, retries=np.array([0, 1, 0, 0]), preemptions=np.array([0, 0, 2, 0]))
    causes = [cause for cause in attribute(left, right) if cause.metric == "ttft_ms"]
    assert {cause.name: cause.mean_ms for cause in causes} == {
        "hit by a fault": 10.0,
        "preempted a different number of times": 25.0,
        "the same circumstances": 0.0,
    }


def test_requests_in_flight_while_the_fleets_differ_are_the_planners() -> None:
    def fleet(second_ready_s: float) -> RungRun:
        events = tuple(
            WorkerView(worker_id=name, role=Role.AGG, state=WorkerState.READY, since_s=at_s)
            for name, at_s in (("agg-0", 0.0), ("agg-1", second_ready_s))
        )
        one = run([50.0, 50.0, 50.0, 50.0])
        return replace(one, record=replace(one.record, worker_events=events))

    causes = {c.name: c.requests for c in attribute(fleet(1.5), fleet(2.9)) if c.metric == "e2e_ms"}
    assert causes == {"another number of workers": 1, "the same circumstances": 3}


def test_other_requests_have_no_causes() -> None:
    assert attribute(run([50.0]), run([50.0, 60.0])) == ()


def test_a_baseline_comes_back_from_its_file(tmp_path) -> None:
    written = baseline_of(folder(tmp_path, run([50.0, 60.0])), tolerance_ratio=0.1)
    write_baseline(tmp_path / "b.json", written)
    assert read_baseline(tmp_path / "b.json") == written
    assert (tmp_path / "b.json").stat().st_size < 2000
    with pytest.raises(InputError, match="no such baseline"):
        read_baseline(tmp_path / "c.json")


def outcomes(tmp_path, old: list[RungRun], new: list[RungRun]) -> dict[str, Outcome]:
    baseline = baseline_of(folder(tmp_path, *old))
    checks = judge_baseline(folder(tmp_path, *new), baseline)
    return {check.name: check.outcome for check in checks}


def seeds(*medians: float) -> list[RungRun]:
    return [replace(run([ms] * 4), seed=seed) for seed, ms in enumerate(medians)]


def test_equal_figures_pass_and_better_ones_too(tmp_path) -> None:
    assert set(outcomes(tmp_path, seeds(50, 60), seeds(50, 60)).values()) == {Outcome.PASS}
    better = outcomes(tmp_path, seeds(50, 60, 55), seeds(40, 48, 44))
    assert better["baseline ttft_ms_p50"] is Outcome.PASS


def test_a_regression_of_all_pairs_fails(tmp_path) -> None:
    found = outcomes(tmp_path, seeds(50, 60, 55), seeds(60, 72, 66.5))
    assert found["baseline ttft_ms_p50"] is Outcome.FAIL


def test_pairs_that_disagree_are_inconclusive(tmp_path) -> None:
    found = outcomes(tmp_path, seeds(50, 60, 55), seeds(75, 60, 50))
    assert found["baseline ttft_ms_p50"] is Outcome.INCONCLUSIVE


def test_other_seeds_and_other_scenarios_cannot_be_judged(tmp_path) -> None:
    found = outcomes(tmp_path, [replace(run([50.0]), seed=7)], seeds(50))
    assert set(found.values()) == {Outcome.INCONCLUSIVE}
    other = replace(baseline_of(folder(tmp_path, run([50.0]))), scenario="else")
    with pytest.raises(InputError, match="another scenario"):
        judge_baseline(folder(tmp_path, run([50.0])), other)


def test_the_interval_is_students() -> None:
    # 0.1, 0.2, 0.3: s = 0.1, t(0.975, 2) = 4.302653.
    mean, half = paired([0.1, 0.2, 0.3])
    assert mean == pytest.approx(0.2)
    assert half == pytest.approx(4.302653 * 0.1 / math.sqrt(3), rel=1e-6)
    assert paired([0.5]) == (0.5, 0.0)


def test_a_diff_names_inputs_figures_and_the_first_event(tmp_path) -> None:
    sides = []
    for name, sku in (("a", "h100_sxm"), ("b", "l4")):
        (tmp_path / name / "inputs").mkdir(parents=True)
        (tmp_path / name / "inputs" / "dgdr.yaml").write_text(f"spec: {{sku: {sku}}}\n")
        sides.append(folder(tmp_path / name, run([50.0 if name == "a" else 60.0] * 3)))
    found = diff_runs(*sides)
    text = "\n".join(diff_lines(found))
    assert not found.same
    assert found.inputs == {"dgdr.spec.sku": ("h100_sxm", "l4")}
    assert "ttft_ms_p50        50 | 60 (+20.0%)" in text
    assert "first difference: event 2 at 0.050000 s" in text
    same = diff_runs(sides[0], sides[0])
    assert same.same
    assert "every recorded event is the same" in "\n".join(diff_lines(same))
