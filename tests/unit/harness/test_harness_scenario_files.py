"""Includes, matrices, conditions and the published schema; and that the library is documented."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from contracts.errors import InputError, UnsupportedError
from contracts.faults import WorkerDrain
from harness.run.backends import check_capabilities
from harness.run.plan import plan_lines, plan_run
from harness.run.prepare import load_request
from harness.scenario import (
    COVERAGE_FIGURES,
    ClosedLoopWorkload,
    Rung,
    SessionsWorkload,
    SyntheticWorkload,
    When,
    load_scenario,
    load_scenarios,
)
from harness.scenario.condition import parse_condition
from harness.scenario.expand import cells, overlay
from harness.scenario.published import SCHEMA_FILE, json_schema, schema_text
from simcore.workload import SteppedArrivals

LIBRARY = Path(__file__).parents[3] / "scenarios"
BASE = """
version: 1
name: base
deploy: {dgdr: dgdr.yaml}
workload:
  synthetic: {duration_s: 20, arrivals: {kind: constant, rate_per_s: 1}, isl: {mean: 100}}
expect: {completed_ratio_min: 1}
rungs: [sim]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "dgdr.yaml").write_text("{}")
    return tmp_path


def loaded(folder: Path, text: str, name: str = "s.yaml"):
    (folder / name).write_text(text)
    return load_scenario(folder / name)


def refused(folder: Path, text: str) -> InputError:
    with pytest.raises(InputError) as caught:
        loaded(folder, text)
    return caught.value


def test_an_included_file_lies_under_the_one_that_includes_it(folder: Path) -> None:
    (folder / "base.yaml").write_text(BASE)
    text = "include: [base.yaml]\nname: top\nworkload: {synthetic: {duration_s: 5}}\nseeds: [4]\n"
    scenario = loaded(folder, text)
    assert scenario.name == "top"
    assert isinstance(scenario.workload, SyntheticWorkload)
    assert scenario.workload.duration_s == 5.0
    assert scenario.workload.isl is not None
    assert scenario.workload.isl.mean == 100
    assert scenario.seeds == (4,)
    assert "include" not in scenario.document


def test_another_kind_replaces_a_section_instead_of_mixing_two() -> None:
    below = {"arrivals": {"kind": "poisson", "rate_per_s": 3}, "isl": {"mean": 1}}
    above = {"arrivals": {"kind": "burst", "peak_rate_per_s": 9}, "isl": {"cv": 2}}
    assert overlay(below, above) == {
        "arrivals": {"kind": "burst", "peak_rate_per_s": 9},
        "isl": {"mean": 1, "cv": 2},
    }


def test_files_that_include_each_other_are_refused(folder: Path) -> None:
    (folder / "a.yaml").write_text("include: [s.yaml]\n")
    error = refused(folder, "include: [a.yaml]\nname: x\n")
    assert "include each other" in error.message
    error = refused(folder, "include: [nowhere.yaml]\n")
    assert (error.path, "no such file" in error.message) == ("include[0]", True)


def test_a_matrix_gives_every_combination_its_own_name(folder: Path) -> None:
    text = BASE + "matrix: {router: [kv_aware, round_robin], sku: [h100_sxm, l4]}\n"
    (folder / "m.yaml").write_text(text)
    found = load_scenarios(folder / "m.yaml")
    assert [each.name for each in found] == [
        "base-kv-aware-h100-sxm", "base-kv-aware-l4", "base-round-robin-h100-sxm",
        "base-round-robin-l4",
    ]  # fmt: skip
    assert found[1].deploy.router.value == "kv_aware"
    assert found[1].deploy.dgdr_set == {"spec.hardware.gpuSku": "l4"}
    with pytest.raises(InputError, match="stands for several scenarios"):
        load_scenario(folder / "m.yaml")


def test_an_axis_may_be_any_path_and_may_count_in_lists() -> None:
    document = {"name": "n", "faults": [{"at_s": 1}], "matrix": {"faults[0].at_s": [2, 3]}}
    assert [cell["faults"][0]["at_s"] for cell in cells(document)] == [2, 3]
    document = {"name": "n", "faults": [{"at_s": 1}], "matrix": {"faults[4].at_s": [2]}}
    with pytest.raises(InputError, match="leads nowhere"):
        list(cells(document))
    with pytest.raises(InputError, match="too many combinations"):
        list(cells({"matrix": {"a": list(range(20)), "b": list(range(20))}}))


def test_repeats_are_neighbouring_seeds(folder: Path) -> None:
    scenario = loaded(folder, BASE + "seeds: [1, 10]\nrepeats: 3\n")
    assert scenario.seeds == (1, 2, 3, 10, 11, 12)
    assert refused(folder, BASE + "seeds: [1, 2]\nrepeats: 2\n").path == "seeds"


def test_a_fault_may_wait_for_a_condition(folder: Path) -> None:
    faults = "faults: [{kind: worker_drain, role: agg, at_s: 3, after: pool.agg.ready == 2}]\n"
    scenario = loaded(folder, BASE + faults)
    assert scenario.faults == ()
    (trigger,) = scenario.triggers
    assert isinstance(trigger.fault, WorkerDrain)
    assert trigger.after.holds({"pool.agg.ready": 2.0})
    assert not trigger.after.holds({"pool.agg.ready": 3.0})
    assert not trigger.after.holds({})


@pytest.mark.parametrize(
    ("fault", "path", "message"),
    [
        ("{kind: worker_drain, role: agg}", "faults[0]", "at_s or after"),
        ("{kind: worker_drain, role: agg, after: ready}", "faults[0].after", "not a condition"),
        (
            "{kind: worker_drain, role: agg, after: pool.agg.happy == 1}",
            "faults[0].after",
            "unknown figure",
        ),
        ("{kind: metrics_gap, at_s: 1, duration_s: 2}", "faults[0].kind", "no planner"),
        (
            "{kind: traffic_shift, duration_s: 2, at_s: 1, after: time_s > 1}",
            "faults[0].after",
            "only faults of the cluster",
        ),
    ],
)
def test_wrong_faults_are_named(folder: Path, fault: str, path: str, message: str) -> None:
    error = refused(folder, BASE + f"faults: [{fault}]\n")
    assert (error.path, message in error.message) == (path, True)


@pytest.mark.parametrize(
    ("expect", "path"),
    [
        ("{windows: [{when: after, attainment_min: 1}]}", "expect.windows[0].when"),
        ("{windows: [{from_s: 1}]}", "expect.windows[0]"),
        ("{windows: [{from_s: 5, to_s: 4, attainment_min: 1}]}", "expect.windows[0].to_s"),
        ("{windows: [{within_s: 5, attainment_min: 1}]}", "expect.windows[0].within_s"),
        ("{sometimes: [pool.agg.waiting > 1]}", "expect.sometimes[0]"),
        ("{error: {kind: input}, attainment_min: 1}", "expect.error"),
    ],
)
def test_wrong_expectations_are_named(folder: Path, expect: str, path: str) -> None:
    text = BASE.replace("expect: {completed_ratio_min: 1}", f"expect: {expect}")
    assert refused(folder, text).path == path


def test_a_rung_refuses_figures_that_it_does_not_record(folder: Path) -> None:
    wanted = "expect: {never: [requests.retried > 0]}"
    scenario = loaded(folder, BASE.replace("expect: {completed_ratio_min: 1}", wanted))
    check_capabilities(scenario, (Rung.SIM,))
    with pytest.raises(UnsupportedError, match=r"rung mock .* the figure requests\.retried"):
        check_capabilities(scenario, (Rung.MOCK,))


def test_windows_and_coverage_arrive(folder: Path) -> None:
    text = BASE.replace(
        "expect: {completed_ratio_min: 1}",
        "faults: [{kind: worker_drain, role: agg, at_s: 3}]\n"
        "expect: {windows: [{when: after, within_s: 2, ttft_ms_p99_max: 5}],"
        " sometimes: [pool.agg.ready == 1 and time_s > 2], never: [requests.failed > 0]}",
    )
    expect = loaded(folder, text).expect
    assert expect.windows[0].when is When.AFTER
    assert expect.windows[0].asked() == {"ttft_ms_p99_max": 5}
    assert [term.figure for term in expect.sometimes[0].terms] == ["pool.agg.ready", "time_s"]
    assert expect.never[0].text == "requests.failed > 0"


@pytest.mark.parametrize(
    ("workload", "kind"),
    [
        ("{closed_loop: {concurrency: 4, duration_s: 5}}", ClosedLoopWorkload),
        (
            "{sessions: {duration_s: 5, arrivals: {kind: poisson, rate_per_s: 1},"
            " turns: {mean: 3}, next_isl: {mean: 50}}}",
            SessionsWorkload,
        ),
    ],
)
def test_traffic_that_waits_for_answers(folder: Path, workload: str, kind: type) -> None:
    document = yaml.safe_load(BASE) | {"workload": yaml.safe_load(workload)}
    assert isinstance(loaded(folder, yaml.safe_dump(document)).workload, kind)


def test_a_day_is_a_sine_in_steps(folder: Path) -> None:
    arrivals = "{kind: diurnal, mean_rate_per_s: 2, peak_rate_per_s: 3, period_s: 20}"
    text = BASE.replace("{kind: constant, rate_per_s: 1}", arrivals)
    workload = loaded(folder, text).workload
    assert isinstance(workload, SyntheticWorkload)
    assert isinstance(workload.arrivals, SteppedArrivals)
    rates = np.array(workload.arrivals.rate_per_s)
    assert len(rates) == 48
    assert rates.mean() == pytest.approx(2.0)
    assert (rates.argmin() in (0, 47), int(rates.argmax()) in (23, 24)) == (True, True)
    steep = text.replace("peak_rate_per_s: 3", "peak_rate_per_s: 5")
    assert "peak_rate_per_s" in str(refused(folder, steep))


def test_conditions_over_many_instants() -> None:
    known = COVERAGE_FIGURES
    condition = parse_condition("time_s >= 2 and pool.agg.ready != 3", path="x", known=known)
    figures = {"time_s": np.array([1.0, 2.0, 3.0]), "pool.agg.ready": np.array([1.0, 3.0, 2.0])}
    assert condition.mask(figures).tolist() == [False, False, True]


def test_the_published_schema_is_the_one_of_the_code() -> None:
    assert (LIBRARY / SCHEMA_FILE).read_text() == schema_text(), "run: harness schema"
    schema = json_schema()
    assert set(schema["then"]["required"]) == {"version", "name", "deploy", "workload", "expect",
                                               "rungs"}  # fmt: skip
    assert "matrix" in schema["properties"]
    assert "required" not in schema["$defs"]["DeploySection"]
    assert schema["$defs"]["WorkerCrashSection"]["required"] == ["kind", "role"]


@pytest.mark.parametrize("path", sorted(LIBRARY.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_scenario_of_the_library_is_valid_and_documented(path: Path) -> None:
    found = load_scenarios(path)
    assert path.read_text().startswith("# yaml-language-server: $schema=./scenario.schema.json\n")
    for scenario in found:
        assert scenario.name.startswith(path.stem)
        assert len(scenario.description) > 80, "one paragraph that says what it is for"


def test_the_library_is_large_enough_and_some_of_it_runs_on_mock() -> None:
    found = [each for path in LIBRARY.glob("*.yaml") for each in load_scenarios(path)]
    assert len(list(LIBRARY.glob("*.yaml"))) >= 25
    assert sum(Rung.MOCK in each.rungs for each in found) >= 3


def test_a_plan_says_everything_and_who_refuses() -> None:
    plan = plan_run(load_scenario(LIBRARY / "network-partition.yaml"), (Rung.SIM, Rung.MOCK))
    text = "\n".join(plan_lines(plan))
    for part in ("rapid search of meta-llama/Llama-3.1-8B-Instruct on h100_sxm", "at 12 s: fault "
                 "worker_partition (role agg, duration_s 8", "sometimes pool.agg.ready == 4",
                 "attainment_min 0.95, after + 2 s", "report.html"):  # fmt: skip
        assert part in text
    assert "requests within 40 s" in plan.rungs[0].steps[0]
    sessions = plan_run(load_scenario(LIBRARY / "agentic.yaml"), (Rung.SIM,))
    assert "conversations" in sessions.rungs[0].steps[0]


def test_an_unknown_model_is_found_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "dgdr.yaml").write_text(
        (LIBRARY / "dgdr" / "qwen3-8b.yaml").read_text().replace("Qwen3-8B", "Qwen3-9B")
    )
    (tmp_path / "s.yaml").write_text(BASE)
    with pytest.raises(InputError, match=r"spec\.model: is no bundled model") as found:
        load_request(load_scenario(tmp_path / "s.yaml"))
    assert "deploy.model_config" in str(found.value)
    assert "Qwen/Qwen3-8B" in (found.value.allowed or "")
