import copy
from pathlib import Path

import pytest
import yaml

from contracts.errors import CombinedInputError, InputError, UnsupportedError
from contracts.faults import LostRequestPolicy, WorkerCrash
from contracts.plan import Role, RouterPolicy
from harness.run.backends import check_capabilities
from harness.scenario import Rung, SyntheticWorkload, TraceFormat, TraceWorkload, load_scenario
from simcore.workload import (
    BurstArrivals,
    ConstantArrivals,
    GammaArrivals,
    Lengths,
    PoissonArrivals,
)

FULL = """
version: 1
name: quickstart
description: A crash in the middle.
deploy:
  dgdr: dgdr/llama.yaml
  model_config: config.json
  startup_s: 12
  router: round_robin
workload:
  synthetic:
    duration_s: 60
    arrivals: {kind: poisson, rate_per_s: 3}
    isl: {mean: 4000, cv: 0.3, min: 10, max: 8000}
    osl: {mean: 200}
planner: {enabled: true, interval_s: 5, scale_down_hold_s: 20, initial_replicas: {decode: 2}}
faults: [{kind: worker_crash, at_s: 20, role: decode, worker_index: 1, restart: false}]
on_worker_lost: fail
expect: {attainment_min: 0.95, ttft_ms_p95_max: 900, completed_ratio_min: 1, recovery_s_max: 30}
rungs: [sim, mock]
mock: {speed: 4}
tolerance: {ttft_ratio: 0.05, itl_ratio: 0.1}
seeds: [1, 7]
"""


@pytest.fixture
def folder(tmp_path):
    for name in ("dgdr/llama.yaml", "config.json", "traces/small.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    return tmp_path


def write(folder, text):
    path = folder / "scenario.yaml"
    path.write_text(text)
    return path


def changed(path, value):
    """The full scenario with one dotted path set, or removed when the value is None."""
    data = copy.deepcopy(yaml.safe_load(FULL))
    *parents, last = path.split(".")
    here = data
    for part in parents:
        here = here[int(part)] if part.isdigit() else here[part]
    if value is None:
        del here[last]
    else:
        here[last] = value
    return yaml.safe_dump(data)


def refused(folder, text):
    with pytest.raises(InputError) as caught:
        load_scenario(write(folder, text))
    error = caught.value
    assert error.exit_code == 2
    assert str(folder / "scenario.yaml") in str(error)
    return error


def test_every_key_arrives(folder):
    scenario = load_scenario(write(folder, FULL))
    assert scenario.name == "quickstart"
    assert scenario.description == "A crash in the middle."
    assert scenario.text == FULL
    assert scenario.source == (folder / "scenario.yaml").resolve()
    assert scenario.deploy.dgdr == (folder / "dgdr/llama.yaml").resolve()
    assert scenario.deploy.model_config == (folder / "config.json").resolve()
    assert scenario.deploy.startup_s == 12.0
    assert scenario.deploy.router is RouterPolicy.ROUND_ROBIN
    assert scenario.workload == SyntheticWorkload(
        duration_s=60.0,
        arrivals=PoissonArrivals(rate_per_s=3.0),
        isl=Lengths(mean=4000.0, cv=0.3, min_tokens=10, max_tokens=8000),
        osl=Lengths(mean=200.0, cv=0.0, min_tokens=1, max_tokens=None),
    )
    planner = scenario.planner
    assert (planner.enabled, planner.interval_s, planner.scale_down_hold_s) == (True, 5.0, 20.0)
    assert planner.initial_replicas == {Role.DECODE: 2}
    assert scenario.faults == (
        WorkerCrash(at_s=20.0, role=Role.DECODE, worker_index=1, restart=False),
    )
    assert scenario.on_worker_lost is LostRequestPolicy.FAIL
    assert scenario.expect.attainment_min == 0.95
    assert scenario.expect.ttft_ms_p95_max == 900.0
    assert scenario.expect.itl_ms_p95_max is None
    assert scenario.expect.completed_ratio_min == 1.0
    assert scenario.expect.recovery_s_max == 30.0
    assert scenario.rungs == (Rung.SIM, Rung.MOCK)
    assert scenario.mock.speed == 4.0
    assert (scenario.tolerance.ttft_ratio, scenario.tolerance.itl_ratio) == (0.05, 0.1)
    assert scenario.seeds == (1, 7)


MINIMAL = """
version: 1
name: m
deploy: {dgdr: dgdr/llama.yaml}
workload: {synthetic: {duration_s: 10, arrivals: {kind: constant, rate_per_s: 1}}}
expect: {attainment_min: 1}
rungs: [sim]
"""


def test_defaults(folder):
    scenario = load_scenario(write(folder, MINIMAL))
    assert scenario.description == ""
    assert scenario.deploy.model_config is None
    assert scenario.deploy.startup_s == 10.0
    assert scenario.deploy.router is RouterPolicy.LEAST_LOADED
    assert isinstance(scenario.workload, SyntheticWorkload)
    assert scenario.workload.isl is None
    assert scenario.workload.osl is None
    assert not scenario.planner.enabled
    assert scenario.planner.initial_replicas == {}
    assert scenario.faults == ()
    assert scenario.on_worker_lost is LostRequestPolicy.RETRY
    assert scenario.mock.speed == 1.0
    assert scenario.tolerance.ttft_ratio is None
    assert scenario.seeds == (1,)


def test_a_planner_section_switches_the_planner_on(folder):
    assert load_scenario(write(folder, MINIMAL + "planner: {interval_s: 2}\n")).planner.enabled


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("{kind: gamma, rate_per_s: 2, cv: 3}", GammaArrivals(rate_per_s=2.0, gap_cv=3.0)),
        ("{kind: constant, rate_per_s: 2}", ConstantArrivals(rate_per_s=2.0)),
        (
            "{kind: burst, base_rate_per_s: 1, peak_rate_per_s: 8, start_s: 20, length_s: 40}",
            BurstArrivals(base_rate_per_s=1.0, peak_rate_per_s=8.0, start_s=20.0, length_s=40.0),
        ),
    ],
)
def test_kinds_of_arrivals(folder, section, expected):
    text = changed("workload.synthetic.arrivals", yaml.safe_load(section))
    scenario = load_scenario(write(folder, text))
    assert isinstance(scenario.workload, SyntheticWorkload)
    assert scenario.workload.arrivals == expected


def test_a_trace(folder):
    trace = {"trace": {"path": "traces/small.jsonl", "format": "mooncake", "limit": 10, "speed": 2}}
    scenario = load_scenario(write(folder, changed("workload", trace)))
    assert scenario.workload == TraceWorkload(
        path=(folder / "traces/small.jsonl").resolve(),
        format=TraceFormat.MOONCAKE,
        limit=10,
        speed=2.0,
    )


ARRIVALS = "workload.synthetic.arrivals"


@pytest.mark.parametrize(
    ("path", "value", "where", "message", "got", "allowed"),
    [
        ("version", 2, "version", "unknown value", "2", "1"),
        ("version", None, "version", "is required", None, None),
        ("name", "Not a name", "name", "out of range", "'Not a name'", "text that matches"),
        ("deploy.startup_s", -1, "deploy.startup_s", "out of range", "-1", "at least 0"),
        ("deploy.startup_s", "10", "deploy.startup_s", "wrong type", "'10'", "a number"),
        ("deploy.startup_s", float("inf"), "deploy.startup_s", "wrong type", "inf", "finite"),
        (
            "deploy.router",
            "least_load",
            "deploy.router",
            "did you mean 'least_loaded'",
            "'least_load'",
            "least_loaded, round_robin",
        ),
        (
            "deploy.dgrd",
            "x",
            "deploy.dgrd",
            "did you mean 'dgdr'?",
            None,
            "dgdr, set",
        ),
        ("deploy.dgdr", "no.yaml", "deploy.dgdr", "no such file: /", "'no.yaml'", None),
        ("deploy.gpu_file", "no.yaml", "deploy.gpu_file", "no.yaml", "'no.yaml'", None),
        ("deploy.step_table", "no.csv", "deploy.step_table", "no.csv", "'no.csv'", None),
        ("deploy.model_config", "no.json", "deploy.model_config", "no.json", "'no.json'", None),
        ("rungs", ["sim", "moc"], "rungs[1]", "did you mean 'mock'?", "'moc'", "sim, vmock, mock"),
        ("rungs", ["sim", "sim"], "rungs", "given twice", "['sim', 'sim']", None),
        ("rungs", [], "rungs", "out of range", "[]", "number of entries at least 1"),
        ("seeds", [1, 1], "seeds", "given twice", "[1, 1]", None),
        ("seeds", [1.5], "seeds[0]", "wrong type", "1.5", "a whole number"),
        ("faults.0.at_s", 60, "faults[0].at_s", "after the end", "60", "below 60"),
        ("faults.0.role", "router", "faults[0].role", "unknown value", "'router'", "agg, prefill"),
        (
            "faults.0.kind",
            "worker_crush",
            "faults[0].kind",
            "did you mean",
            "worker_crush",
            "node_",
        ),
        ("faults.0.indx", 1, "faults[0].indx", "unknown key 'indx'", None, "worker_index"),
        ("expect", {}, "expect", "at least one expectation", None, "attainment_min, completed"),
        ("expect.attainment_min", 95, "expect.attainment_min", "out of range", "95", "at most 1"),
        ("planner.enabled", "yes", "planner.enabled", "wrong type", "'yes'", "true or false"),
        (
            "planner.initial_replicas.decode",
            0,
            "planner.initial_replicas.decode",
            "out of range",
            "0",
            "at least 1",
        ),
        (f"{ARRIVALS}.kind", "poison", f"{ARRIVALS}.kind", "did you mean 'poisson'", "poison", "g"),
        (f"{ARRIVALS}.kind", None, f"{ARRIVALS}.kind", "is required", None, None),
        (f"{ARRIVALS}.rate_per_s", 0, f"{ARRIVALS}.rate_per_s", "out of range", "0", "above 0"),
        (f"{ARRIVALS}.rate", 1, f"{ARRIVALS}.rate", "did you mean 'rate_per_s'", None, "kind, rat"),
        ("workload.synthetic.isl.mean", 9, "workload.synthetic.isl.mean", "outside", "9", "10 to"),
        ("workload.synthetic", "x", "workload.synthetic", "wrong type", "'x'", "a section"),
        ("workload", {}, "workload", "exactly one kind", "neither", "closed_loop or trace"),
    ],
)
def test_what_is_wrong_is_named(folder, path, value, where, message, got, allowed):
    error = refused(folder, changed(path, value))
    assert isinstance(error, CombinedInputError)
    assert len(error.errors) == 1
    first = error.errors[0]
    assert first.path == where
    assert message in first.message
    assert got is None or first.value == got
    assert (allowed is None) == (first.allowed is None)
    assert allowed is None or allowed in first.allowed


def test_both_kinds_of_traffic_are_refused(folder):
    trace = {"path": "traces/small.jsonl", "format": "azure"}
    error = refused(folder, changed("workload.trace", trace))
    assert error.value == "both"


def test_a_burst_longer_than_the_workload_is_refused(folder):
    section = {"kind": "burst", "base_rate_per_s": 1, "peak_rate_per_s": 2}
    text = changed(ARRIVALS, {**section, "start_s": 50, "length_s": 11})
    error = refused(folder, text)
    assert (error.path, error.value) == (ARRIVALS, "61 s")


def test_recovery_without_a_fault_is_refused(folder):
    error = refused(folder, changed("faults", []))
    assert error.path == "expect.recovery_s_max"


def test_all_findings_come_at_once(folder):
    data = yaml.safe_load(FULL)
    data["deploy"]["startup_s"] = -1
    data["seeds"] = [-1]
    data["extra"] = 1
    error = refused(folder, yaml.safe_dump(data))
    assert [e.path for e in error.errors] == ["deploy.startup_s", "seeds[0]", "extra"]
    assert len(str(error).splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "message", "where"),
    [
        ("a: [1", "is not YAML", "line"),
        ("- 1", "is not a scenario", None),
        ("", "is not a scenario", None),
        ("1: 2", "keys must be text", None),
        ("name: a\nname: b", "key 'name' is given twice", "line 2, column 1"),
    ],
)
def test_not_a_scenario_file(folder, text, message, where):
    error = refused(folder, text)
    assert message in str(error)
    assert where is None or where in (error.path or "")


def test_a_missing_scenario_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.yaml: no such scenario file"):
        load_scenario(Path(tmp_path / "nowhere.yaml"))


def test_a_folder_is_not_a_scenario_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_scenario(tmp_path)


def test_every_kind_of_fault_can_be_written(folder):
    faults = [
        {"kind": "node_loss", "at_s": 1, "node_index": 1},
        {"kind": "slow_worker", "at_s": 1, "role": "prefill", "duration_s": 5, "factor": 2},
        {"kind": "late_start", "at_s": 1, "duration_s": 5, "extra_s": 3},
        {"kind": "link_degraded", "at_s": 1, "duration_s": 5, "factor": 0.5},
        {"kind": "link_lost", "at_s": 1, "duration_s": 5, "transfers": "recompute"},
        {"kind": "stale_router_view", "at_s": 1, "duration_s": 5, "lag_s": 2},
        {"kind": "memory_shrink", "at_s": 1, "role": "decode", "lost_ratio": 0.5},
    ]
    scenario = load_scenario(write(folder, changed("faults", faults)))
    assert [fault.kind for fault in scenario.faults] == [fault["kind"] for fault in faults]
    with pytest.raises(UnsupportedError, match="rung mock does not support the fault late_start"):
        check_capabilities(scenario, (Rung.SIM, Rung.MOCK))
    check_capabilities(scenario, (Rung.SIM,))


def test_routers_that_a_rung_does_not_have_are_refused(folder):
    scenario = load_scenario(write(folder, changed("deploy.router", "kv_aware")))
    with pytest.raises(UnsupportedError, match="the router kv_aware"):
        check_capabilities(scenario, (Rung.MOCK,))
    check_capabilities(scenario, (Rung.SIM,))
