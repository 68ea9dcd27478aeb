"""The measured search in virtual time: outputs, failures, caps, and going on after a crash."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import TypeAdapter
from thorough_samples import REQUEST, Bench, request

from contracts.errors import InfeasibleError, InputError
from contracts.plan import Role
from harness.store.pareto import ParetoSet
from profiler.thorough.budget import Caps
from profiler.thorough.journal import JOURNAL_FILE, Journal
from profiler.thorough.options import CurveMode, DeployerKind, MeasurerKind, ThoroughOptions
from profiler.thorough.ports import CandidateError, OutputError, PointError

ONE_GPU = "{gpuSku: l40s, numGpusPerNode: 4, totalGpus: 1}"
SHORT = {"prefill_granularity": 3, "decode_granularity": 2, "context_tokens": 1300}


def status(folder: Path) -> dict[str, object]:
    found = yaml.safe_load((folder / "profiler_status.yaml").read_text())
    assert {"status", "phase", "timestamp"} <= set(found)
    return dict(found)


def rows(folder: Path) -> dict[str, list[dict[str, object]]]:
    return dict(json.loads((folder / "rows.json").read_text()))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("done")
    bench = Bench()
    dgdr = request(features="{mocker: {enabled: true}, planner: {enabled: true}}")
    return folder, bench, bench.run(folder, dgdr, plots=True, **SHORT)


def test_all_files_are_there_and_readable_by_their_users(done):
    folder, _, result = done
    for name in (
        "final_config.yaml", "picked_dgd_config.yaml", "plan.json", "pareto.json", "rows.json",
        "planner_config.json", "profile_sla.log", "prefill_raw_data.json", "decode_raw_data.json",
        "prefill_performance.png", "decode_performance.png", "profiler_status.yaml",
    ):  # fmt: skip
        assert (folder / name).is_file(), name
    found = TypeAdapter(ParetoSet).validate_python(json.loads((folder / "pareto.json").read_text()))
    assert found.picked == result.picked
    assert all(point.reason for point in found.points)
    assert sum(point.reason.startswith("picked") for point in found.points) == 1
    assert status(folder)["status"] == "success"
    assert status(folder)["phase"] == "Done"
    picked = yaml.safe_load((folder / "picked_dgd_config.yaml").read_text())
    commands = [
        c["podTemplate"]["spec"]["containers"][0]["command"] for c in picked["spec"]["components"]
    ]
    assert ["python3", "-m", "dynamo.vllm"] in commands
    assert ["python3", "-m", "dynamo.mocker"] not in commands


def test_curves_have_the_documented_keys(done):
    folder, _, result = done
    with np.load(folder / "selected_prefill_interpolation" / "raw_data.npz") as data:
        assert set(data) == {"prefill_isl", "prefill_ttft", "prefill_thpt_per_gpu"}
        assert data["prefill_isl"].tolist() == [100, 329, 558, 787]
        assert np.all(np.diff(data["prefill_ttft"]) > 0)
    with np.load(folder / "selected_decode_interpolation" / "raw_data.npz") as data:
        names = {"x_kv_usage", "y_context_length", "z_itl", "z_thpt_per_gpu", "max_kv_tokens"}
        assert set(data) == names
        assert data["max_kv_tokens"].shape == (1,)
        assert 0 < data["x_kv_usage"].min() <= data["x_kv_usage"].max() <= 1
        assert set(data["y_context_length"]) == {350, 750}
    raw = json.loads((folder / "decode_raw_data.json").read_text())
    assert raw["max_kv_tokens"] == result.decode_curves.max_kv_tokens
    assert set(json.loads((folder / "prefill_raw_data.json").read_text())) == {
        "prefill_isl", "prefill_ttft", "prefill_thpt_per_gpu",
    }  # fmt: skip


def test_phases_and_counters_are_told_and_everything_goes_down_again(done):
    folder, bench, _ = done
    assert ("prefill", 1, 3) in bench.phases
    assert ("decode", 3, 3) in bench.phases
    assert any(phase == "aggregated" for phase, _, _ in bench.phases)
    log = (folder / "profile_sla.log").read_text()
    assert "Benchmarking prefill candidate 1/3: tp1 (1 GPUs)" in log
    assert "Benchmarking decode candidate 2/3: tp2 (2 GPUs)" in log
    assert sorted(bench.deployer.up) == sorted(bench.deployer.down)


@pytest.mark.slow
def test_equal_searches_give_equal_files(tmp_path):
    first, second = Bench().run(tmp_path / "a"), Bench().run(tmp_path / "b")
    assert first.plan == second.plan
    for name in ("rows.json", "pareto.json", "plan.json", "final_config.yaml"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_missed_target_is_said_in_the_status(tmp_path):
    result = Bench().run(tmp_path, request(sla="{ttft: 400, itl: 1}", hardware=ONE_GPU))
    assert not result.sla_met
    assert "SLA not met" in str(status(tmp_path)["message"])
    assert "ITL" in str(status(tmp_path)["message"])
    assert result.plan.gpus == 1


def test_failed_candidates_are_recorded_and_the_search_goes_on(tmp_path):
    bench = Bench()
    bench.deployer.fail = lambda order: (
        CandidateError("pod x, container main: crash loop") if order.label == "tp1" else None
    )
    result = bench.run(tmp_path)
    assert "tp1" not in result.picked
    engines = {(e["role"], e["label"]): e for e in rows(tmp_path)["engines"]}
    for role in ("prefill", "decode", "agg"):
        assert engines[role, "tp1"]["outcome"] == "failed"
        assert "crash loop" in str(engines[role, "tp1"]["reason"])
    points = json.loads((tmp_path / "pareto.json").read_text())["points"]
    assert any(p["label"] == "prefill-tp1" and "crash loop" in p["reason"] for p in points)


def test_failed_loads_are_skipped_and_only_then_the_engine(tmp_path):
    bench = Bench()
    bench.measurer.fail = lambda served, burst: (
        PointError("3 of 3 requests failed: 3 x http 503")
        if burst.concurrency > 1 or served.order.role is Role.PREFILL
        else None
    )
    result = bench.run(tmp_path, request(hardware=ONE_GPU))
    assert result.picked == "agg-tp1"
    assert [row["concurrency"] for row in rows(tmp_path)["agg"]] == [1]
    engines = {e["role"]: e for e in rows(tmp_path)["engines"]}
    assert (engines["prefill"]["outcome"], engines["decode"]["outcome"]) == ("failed", "done")
    assert "http 503" in str(engines["prefill"]["reason"])


def test_when_nothing_can_be_measured_every_reason_is_given(tmp_path):
    bench = Bench()
    bench.measurer.fail = lambda served, burst: PointError("aiperf ended with 1: no route")
    with pytest.raises(InfeasibleError, match="no load could be measured: aiperf ended with 1"):
        bench.run(tmp_path)
    found = status(tmp_path)
    assert (found["status"], found["phase"]) == ("failed", "SelectingConfig")
    assert "InfeasibleError" in str(found["message"])
    assert "decode tp4" in str(found["error"])


@pytest.mark.slow
def test_a_time_cap_ends_the_sweep_and_a_higher_one_goes_on(tmp_path):
    first = Bench(startup_s=600.0)
    dgdr = request(sla="{ttft: 800, itl: 26}")
    with pytest.raises(InfeasibleError, match=r"hours used, 0\.2 allowed"):
        first.run(tmp_path, dgdr, caps=Caps(hours=0.2))
    assert first.deployer.up == ["prefill/tp1", "prefill/tp2"]
    second = Bench(startup_s=600.0)
    result = second.run(tmp_path, dgdr, caps=Caps(hours=0.7))
    assert "picked among what was measured before the cap: 0.8" in result.message
    # Time ran out while the second one came up, so it comes up again.
    assert second.deployer.up[:2] == ["prefill/tp2", "decode/tp1"]
    assert "not measured" in {e["outcome"] for e in rows(tmp_path)["engines"]}
    third = Bench(startup_s=600.0)
    assert "cap" not in third.run(tmp_path, dgdr, caps=Caps(gpu_hours=100.0)).message
    whole = Bench(startup_s=600.0)
    whole.run(tmp_path / "whole", dgdr)
    assert rows(tmp_path)["decode"] == rows(tmp_path / "whole")["decode"]
    seen = [*first.measurer.seen, *second.measurer.seen, *third.measurer.seen]
    assert sorted(seen) == sorted(whole.measurer.seen)


def test_gpu_hours_count_the_gpus_of_each_deployment(tmp_path):
    bench = Bench(startup_s=3600.0)
    with pytest.raises(InfeasibleError, match=r"3\.00 GPU-hours used, 3 allowed"):
        bench.run(tmp_path, caps=Caps(gpu_hours=3.0))
    assert bench.deployer.up == ["prefill/tp1", "prefill/tp2"]


@pytest.mark.parametrize("writes", [1, 2, 5, 9, 14])
def test_a_search_that_broke_off_anywhere_goes_on_without_measuring_twice(
    tmp_path, monkeypatch, writes
):
    class Killed(BaseException):
        """Ends the search as a signal would."""

    count = 0
    whole = Journal._write

    def dying(journal, entry):
        nonlocal count
        count += 1
        if count == writes:
            with (tmp_path / "x" / JOURNAL_FILE).open("ab") as sink:
                sink.write(b'{"point": "half')
            raise Killed
        whole(journal, entry)

    first, second, plain = Bench(), Bench(), Bench()
    dgdr = request(hardware=ONE_GPU)
    (tmp_path / "x").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "_write", dying)
        with pytest.raises(Killed):
            first.run(tmp_path / "x", dgdr)
    assert status(tmp_path / "x")["status"] == "running"
    found = second.run(tmp_path / "x", dgdr)
    assert found.plan == plain.run(tmp_path / "y", dgdr).plan
    assert rows(tmp_path / "x")["agg"] == rows(tmp_path / "y")["agg"]
    # The point whose line was lost is measured again, all others are not.
    assert len(first.measurer.seen + second.measurer.seen) <= len(plain.measurer.seen) + 1


KILLED = """
import os, signal, sys
from pathlib import Path
from dgdr import load_dgdr
from profiler.dgdr import files
from profiler.thorough import journal
from profiler.thorough.options import ThoroughOptions
from profiler.thorough.run import run_thorough
left = int(sys.argv[2])
def dying(replace):
    def call(*args):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(*args)
    return call
journal.append_line = dying(journal.append_line)
Path.replace = dying(Path.replace)
run_thorough(load_dgdr(sys.stdin.read(), source="in"), Path(sys.argv[1]), ThoroughOptions())
"""


@pytest.mark.slow
@pytest.mark.parametrize("writes", [3, 11, 20, 29])
def test_sigkill_leaves_a_readable_status_and_a_folder_to_go_on_with(tmp_path, writes):
    text = REQUEST.replace("HARDWARE", ONE_GPU).replace("BACKEND", "vllm").replace("FEATURES", "{}")
    text = text.replace("SLA", "{itl: 26}").replace("WORKLOAD", "{isl: 500, osl: 20}")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), str(writes)],
        input=text, text=True, cwd=Path(__file__).parents[3], check=False,
        env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    assert status(tmp_path)["status"] == "running"
    bench = Bench()
    assert bench.run(tmp_path, request(sla="{itl: 26}", hardware=ONE_GPU)).sla_met


def test_a_finished_search_is_not_measured_again(tmp_path):
    dgdr = request(hardware=ONE_GPU)
    first = Bench().run(tmp_path, dgdr, curves=CurveMode.ALWAYS, **SHORT)
    again = Bench()
    second = again.run(tmp_path, dgdr, curves=CurveMode.ALWAYS, **SHORT)
    assert (again.measurer.seen, again.deployer.up) == ([], [])
    assert second.plan == first.plan


def test_the_folder_of_another_search_is_refused(tmp_path):
    Bench().run(tmp_path, request(hardware=ONE_GPU))
    with pytest.raises(InputError, match="another request"):
        Bench().run(tmp_path, request(hardware=ONE_GPU), seed=1)


def test_a_full_disk_ends_the_search_and_takes_the_deployment_down(tmp_path, monkeypatch):
    bench = Bench()
    real = Journal.record_point

    def full(journal, key, found):
        if key.startswith("decode"):
            raise OutputError("journal.jsonl cannot be written: No space left on device")
        real(journal, key, found)

    monkeypatch.setattr(Journal, "record_point", full)
    with pytest.raises(OutputError, match="No space left"):
        bench.run(tmp_path)
    assert status(tmp_path)["status"] == "failed"
    assert bench.deployer.up == bench.deployer.down


def test_the_journal_says_when_it_cannot_be_written(tmp_path):
    def full(path: Path, line: bytes) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left on device"):
        Journal(tmp_path, "digest", full)


def test_options_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match=r"caps\.hours"):
        ThoroughOptions(caps=Caps(hours=0.0))
    with pytest.raises(InputError, match="speed"):
        ThoroughOptions(speed=0.0)
    with pytest.raises(InputError, match="measurer"):
        ThoroughOptions(deployer=DeployerKind.SIM, measurer=MeasurerKind.AIPERF)


def test_attention_ranks_are_measured_with_a_burst(tmp_path):
    nodes = "{gpuSku: h200_sxm, numGpusPerNode: 8, totalGpus: 2}"
    dgdr = request(model="Qwen/Qwen3-30B-A3B", hardware=nodes, sla="{ttft: 300, itl: 12}")
    bench = Bench()
    bench.run(tmp_path, dgdr)
    log = (tmp_path / "profile_sla.log").read_text()
    said = next(line for line in log.splitlines() if "prefill/tp1-dp2-moeep2/" in line)
    row = next(r for r in rows(tmp_path)["prefill"] if r["label"] == "tp1-dp2-moeep2")
    assert row["dp"] == 2
    # Eight prompts on two ranks: the last one waits for three others of its rank.
    mean_ms = float(said.partition("TTFT ")[2].split()[0])
    assert row["ttft_ms"] < mean_ms
    counts = {r["concurrency"] for r in rows(tmp_path)["decode"] if "dp2" in str(r["label"])}
    assert counts
    assert all(int(str(count)) % 2 == 0 for count in counts)
