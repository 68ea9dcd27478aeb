"""The command as a user runs it: verdicts, exit codes, interruption, determinism."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from harness.store import RunStatus, load_run

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "scenarios" / "quickstart.yaml"
PARTITION = QUICKSTART.with_name("network-partition.yaml")
COMMAND = [sys.executable, "-m", "harness"]


def harness(*arguments: object, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def scenario(folder: Path, source: Path = QUICKSTART, **changes: object) -> Path:
    """A copy of a scenario with some top-level keys replaced."""
    content = yaml.safe_load(source.read_text())
    content["deploy"]["dgdr"] = str(source.parent / content["deploy"]["dgdr"])
    for key, value in changes.items():
        if value is None:
            content.pop(key)
        else:
            content[key] = value
    path = folder / f"{source.stem}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def mockers() -> set[str]:
    """Process ids of all running mockers."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"mocker" in words and b"serve" in words:
            found.add(path.parent.name)
    return found


def test_plan_shows_everything_and_runs_nothing(tmp_path: Path) -> None:
    done = harness("run", QUICKSTART, "--plan", "--on", "sim,mock", "--runs-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    for text in ("quickstart", "requests within 40 s", "at speed 2", "attainment_min"):
        assert text in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_quickstart_on_sim_writes_a_whole_run_folder(tmp_path: Path) -> None:
    done = harness("run", QUICKSTART, "--on", "sim", "--json", "--runs-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["verdict"] == "pass"
    folder = Path(answer["folder"])
    for name in (
        "manifest.json", "requests.parquet", "ticks.parquet", "digests.json", "verdict.json",
        "report.html", "profile/final_config.yaml", "profile/pareto.json", "inputs/dgdr.yaml",
    ):  # fmt: skip
        assert (folder / name).stat().st_size > 0, name
    loaded = load_run(folder)
    assert loaded.manifest.status is RunStatus.COMPLETE
    run = loaded.runs[0]
    assert len(run.record.table) > 80
    changes = [d for d in run.decisions if d.targets]
    assert len({d.replicas(d.targets[0].role) for d in changes}) > 1, "the planner must scale"
    html = (folder / "report.html").read_text()
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert "https://" not in html
    assert harness("report", folder).returncode == 0
    listed = harness("ls", "--runs-dir", tmp_path)
    assert "complete" in listed.stdout
    assert "pass" in listed.stdout


def test_equal_seeds_give_equal_digests_under_any_hash_seed(tmp_path: Path) -> None:
    digests = []
    for hash_seed in ("1", "4242"):
        done = harness(
            "run", QUICKSTART, "--on", "sim", "--json", "--runs-dir", tmp_path, hash_seed=hash_seed
        )
        folder = Path(json.loads(done.stdout)["folder"])
        digests.append((folder / "digests.json").read_text())
    assert len(json.loads(digests[0])["sim/1"]) == 32
    assert digests[0] == digests[1]
    other = harness(
        "run", QUICKSTART, "--on", "sim", "--json", "--seed", "2", "--runs-dir", tmp_path
    )
    folder = Path(json.loads(other.stdout)["folder"])
    assert json.loads((folder / "digests.json").read_text())["sim/2"] not in digests[0]


@pytest.mark.slow
def test_sim_and_mock_agree_on_the_quickstart_at_speed_1(tmp_path: Path) -> None:
    """Medians of TTFT and ITL within 5 % at the real clock, at most 10 requests a second."""
    done = harness(
        "run", QUICKSTART, "--on", "sim,mock", "--speed", "1", "--json", "--runs-dir", tmp_path
    )
    assert done.stdout, done.stderr
    answer = json.loads(done.stdout)
    checks = {(c["name"], c["rung"]): c for c in answer["checks"]}
    for metric in ("ttft_ms", "itl_ms"):
        check = checks[f"{metric}_p50_difference", "sim -> mock"]
        assert check["outcome"] == "pass", check
        assert check["measured"] <= 0.05
    loaded = load_run(Path(answer["folder"]))
    sim, mock = (loaded.of_rung(rung)[0].record.table for rung in ("sim", "mock"))
    assert len(sim) == len(mock) > 80
    assert mock.completed.all()
    assert loaded.of_rung("mock")[0].decisions, "the planner ticks over HTTP"
    assert mockers() == set()


@pytest.mark.slow
def test_worker_crash_accounts_for_every_request_on_both_rungs(tmp_path: Path) -> None:
    path = ROOT / "scenarios" / "worker-crash.yaml"
    done = harness("run", path, "--json", "--runs-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    folder = Path(json.loads(done.stdout)["folder"])
    loaded = load_run(folder)
    assert loaded.rungs() == ("sim", "vmock", "mock")
    for run in loaded.runs:
        (fault,) = run.record.faults
        assert fault.requests_hit == fault.requests_retried > 0, run.rung
        assert fault.recovered_at_s is not None
        assert fault.recovered_at_s - fault.at_s == pytest.approx(5.0, abs=0.2)
        statuses, counts = np.unique(run.record.table.status, return_counts=True)
        assert dict(zip(statuses, counts, strict=True)) == {"completed": len(run.record.table)}
    retries = loaded.of_rung("sim")[0].record.table.retries
    assert retries.sum() == loaded.of_rung("sim")[0].record.faults[0].requests_retried
    html = (folder / "report.html").read_text()
    assert "over after 5.0 s" in html


def test_lost_requests_fail_when_asked_to(tmp_path: Path) -> None:
    path = scenario(
        tmp_path, ROOT / "scenarios" / "worker-crash.yaml", on_worker_lost="fail", rungs=["sim"]
    )
    done = harness("run", path, "--json", "--runs-dir", tmp_path / "runs")
    assert done.returncode == 1, "completed_ratio_min 1.0 is missed"
    loaded = load_run(Path(json.loads(done.stdout)["folder"]))
    (fault,) = loaded.runs[0].record.faults
    failed = int((loaded.runs[0].record.table.status == "failed").sum())
    assert failed == fault.requests_failed == fault.requests_hit > 0


def test_traces_run_from_the_repository(tmp_path: Path) -> None:
    done = harness(
        "run", ROOT / "scenarios" / "trace-replay.yaml", "--json", "--runs-dir", tmp_path
    )
    assert done.returncode == 0, done.stderr
    loaded = load_run(Path(json.loads(done.stdout)["folder"]))
    lines = (ROOT / "scenarios/traces/small-mooncake.jsonl").read_text().splitlines()
    assert len(loaded.runs[0].record.table) == len(lines) > 100
    assert (loaded.path / "inputs" / "small-mooncake.jsonl").exists()


TRACES = ROOT.parent / "shared" / "data" / "traces"


@pytest.mark.slow
@pytest.mark.skipif(not TRACES.is_dir(), reason=f"no real traces at {TRACES}")
@pytest.mark.parametrize(
    ("name", "form", "requests"),
    [
        ("azure_llm_2023_conv.csv.gz", "azure", 19_366),
        ("mooncake_fast25_conversation.jsonl.gz", "mooncake", 12_031),
    ],
)
def test_real_traces_run_on_rung_sim(tmp_path: Path, name: str, form: str, requests: int) -> None:
    path = scenario(
        tmp_path,
        workload={"trace": {"path": str(TRACES / name), "format": form}},
        planner={"enabled": True, "interval_s": 30},
        expect={"completed_ratio_min": 0.95},
    )
    done = harness("run", path, "--on", "sim", "--json", "--runs-dir", tmp_path / "runs")
    assert done.stdout, done.stderr
    table = load_run(Path(json.loads(done.stdout)["folder"])).runs[0].record.table
    assert len(table) == requests
    assert np.isin(table.status, ["completed", "rejected"]).all()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_leaves_no_process_and_an_incomplete_folder(
    tmp_path: Path, number: signal.Signals
) -> None:
    before = mockers()
    process = subprocess.Popen(
        [*COMMAND, "run", str(QUICKSTART), "--on", "mock", "--runs-dir", str(tmp_path)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not mockers() - before and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    time.sleep(1.0)  # let requests fly
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert mockers() == before
    (folder,) = tmp_path.iterdir()
    loaded = load_run(folder)
    assert loaded.manifest.status is RunStatus.INCOMPLETE
    assert json.loads((folder / "manifest.json").read_text())["status"] == "incomplete"


BAD_DGDR = {
    "ttft: 500": ("ttft: fast", "spec.sla.ttft", "fast"),
    "backend: vllm": ("backend: vlm", "spec.backend", "auto, vllm, sglang, trtllm"),
    "isl: 4000": ("islands: 4000", "spec.workload.islands", "isl, osl, requestRate, concurrency"),
    "itl: 50": ("itl: 50\n    e2eLatency: 9000", "spec.sla", "e2eLatency"),
}


@pytest.mark.parametrize("old", BAD_DGDR)
def test_a_wrong_dgdr_is_answered_with_file_path_value_and_allowed(
    tmp_path: Path, old: str
) -> None:
    new, path, allowed = BAD_DGDR[old]
    text = (ROOT / "scenarios/dgdr/llama-70b.yaml").read_text()
    assert old in text
    (tmp_path / "wrong.yaml").write_text(text.replace(old, new, 1))
    deploy = {"dgdr": "wrong.yaml", "startup_s": 4}
    done = harness("run", scenario(tmp_path, deploy=deploy), "--runs-dir", tmp_path / "runs")
    assert done.returncode == 2, done.stderr
    for part in ("wrong.yaml", path, allowed):
        assert part in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists(), "a wrong input leaves nothing behind"


def test_thorough_with_backend_auto_is_bad_input(tmp_path: Path) -> None:
    text = (ROOT / "scenarios/dgdr/llama-70b.yaml").read_text()
    text = text.replace("backend: vllm", "backend: auto")
    text = text.replace("searchStrategy: rapid", "searchStrategy: thorough")
    assert "thorough" in text
    (tmp_path / "wrong.yaml").write_text(text)
    deploy = {"dgdr": "wrong.yaml", "startup_s": 4}
    done = harness("validate", scenario(tmp_path, deploy=deploy))
    assert done.returncode == 2
    for part in ("wrong.yaml", "spec.searchStrategy", "vllm", "sglang", "trtllm"):
        assert part in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("run", "missing.yaml"), 2, "no such scenario file"),
        (("run", QUICKSTART, "--on", "moon"), 2, "allowed: sim, vmock, mock, kube"),
        (("run", PARTITION, "--on", "kube"), 3, "does not support the fault worker_partition"),
        (("run", QUICKSTART, "--speed", "0"), 2, "--speed"),
        (("run", QUICKSTART, "--seed", "1", "--seed", "1"), 2, "--seed"),
        (("run",), 2, "Missing argument"),
        (("report", "nowhere"), 2, "not a run folder"),
        (("dance",), 2, "No such command"),
    ],
)
def test_wrong_commands_have_their_exit_code(
    arguments: tuple[object, ...], code: int, message: str
) -> None:
    done = harness(*arguments)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def tight(folder: Path, policy: str) -> Path:
    """A scenario whose DGDR asks for an ITL that nothing reaches."""
    text = (ROOT / "scenarios/dgdr/llama-70b.yaml").read_text()
    notes = f"name: llama-70b\n  annotations: {{rehearsal.dgdr/when-infeasible: {policy}}}"
    text = text.replace("itl: 50", "itl: 2").replace("name: llama-70b", notes)
    (folder / "tight.yaml").write_text(text)
    return scenario(folder, deploy={"dgdr": "tight.yaml", "startup_s": 4})


def test_an_infeasible_sla_exits_with_1_and_names_the_constraint(tmp_path: Path) -> None:
    path = tight(tmp_path, "fail")
    done = harness("run", path, "--on", "sim", "--runs-dir", tmp_path / "runs")
    assert done.returncode == 1
    assert "binding constraint: ITL" in done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    assert load_run(folder).manifest.status is RunStatus.FAILED


def test_the_closest_deployment_is_run_and_said_to_miss_its_sla(tmp_path: Path) -> None:
    path = tight(tmp_path, "closest")
    done = harness("run", path, "--on", "sim", "--runs-dir", tmp_path / "runs")
    assert done.returncode == 1, "its users miss their targets"
    assert "fail          attainment_min" in done.stdout
    (folder,) = (tmp_path / "runs").iterdir()
    assert "SLA not met (ITL: " in (folder / "report.html").read_text()


def test_a_missed_expectation_fails_and_none_is_inconclusive(tmp_path: Path) -> None:
    strict = scenario(tmp_path, expect={"ttft_ms_p95_max": 1.0}, rungs=["sim"])
    done = harness("run", strict, "--runs-dir", tmp_path / "runs")
    assert done.returncode == 1
    assert "fail          ttft_ms_p95_max" in done.stdout
