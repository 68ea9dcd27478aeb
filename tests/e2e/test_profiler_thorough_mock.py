"""The measured search with mockers on this machine agrees with the simulated one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest
import yaml

from contracts.plan import Role
from dgdr import load_dgdr
from profiler.thorough.candidates import engine_candidates
from profiler.thorough.mock import MockDeployer
from profiler.thorough.options import DeployerKind, ThoroughOptions
from profiler.thorough.ports import CandidateError, Order
from profiler.thorough.run import run_thorough
from profiler.thorough.wish import wish_of

ROOT = Path(__file__).parents[2]
REQUEST = """
apiVersion: nvidia.com/v1beta1
kind: DynamoGraphDeploymentRequest
metadata: {name: small}
spec:
  model: MODEL
  image: ai-dynamo/dynamo-planner:1.2.1
  backend: BACKEND
  searchStrategy: thorough
  sla: SLA
  workload: WORKLOAD
  hardware: HARDWARE
"""
# Targets close to an idle engine keep the batches, and with them the load here, small.
CASES = {
    "throughput": {
        "MODEL": "Qwen/Qwen3-8B", "BACKEND": "vllm", "SLA": "{ttft: 400, itl: 25}",
        "WORKLOAD": "{isl: 800, osl: 24}",
        "HARDWARE": "{gpuSku: l40s, numGpusPerNode: 4, totalGpus: 1}",
    },
    "load": {
        "MODEL": "meta-llama/Llama-3.1-8B-Instruct", "BACKEND": "sglang",
        "SLA": "{ttft: 400, itl: 24}", "WORKLOAD": "{isl: 600, osl: 24, requestRate: 3}",
        "HARDWARE": "{gpuSku: l40s, numGpusPerNode: 4, totalGpus: 2}",
    },
    "latency": {
        "MODEL": "Qwen/Qwen3-8B", "BACKEND": "trtllm",
        "SLA": "{ttft: 300, itl: 26, optimizationType: latency}",
        "WORKLOAD": "{isl: 700, osl: 24}",
        "HARDWARE": "{gpuSku: l40s, numGpusPerNode: 4, totalGpus: 1}",
    },
}  # fmt: skip

pytestmark = pytest.mark.slow


def text_of(case: str) -> str:
    text = REQUEST
    for key, value in CASES[case].items():
        text = text.replace(key, value)
    return text


@pytest.mark.parametrize("case", list(CASES))
def test_mockers_and_the_simulator_pick_the_same(
    tmp_path: Path, case: str, record_property
) -> None:
    dgdr = load_dgdr(text_of(case), source="test.yaml")
    mock = ThoroughOptions(deployer=DeployerKind.MOCK, plots=False, speed=2.0)
    simulated = run_thorough(dgdr, tmp_path / "sim", ThoroughOptions(plots=False))
    measured = run_thorough(dgdr, tmp_path / "mock", mock)
    assert (measured.picked, measured.sla_met) == (simulated.picked, simulated.sla_met)
    found = {(pool.role, pool.replicas, pool.engine) for pool in measured.plan.topology.pools}
    assert found == {
        (pool.role, pool.replicas, pool.engine) for pool in simulated.plan.topology.pools
    }
    rows = [json.loads((tmp_path / kind / "rows.json").read_text()) for kind in ("mock", "sim")]
    pairs = zip(rows[0]["decode"], rows[1]["decode"], strict=False)
    ratios = [ours["itl_ms"] / theirs["itl_ms"] for ours, theirs in pairs]
    record_property("measured by simulated ITL", ratios)
    assert abs(median(ratios) - 1) < 0.03, ratios


def test_a_killed_search_goes_on_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(text_of("throughput"))
    words = [
        sys.executable, "-m", "profiler", "--config", str(tmp_path / "r.yaml"),
        "--output-dir", str(tmp_path / "out"), "--deployer", "mock", "--speed", "2",
    ]  # fmt: skip
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    journal = tmp_path / "out" / "journal.jsonl"
    end_s = time.monotonic() + 60
    while time.monotonic() < end_s:
        if journal.exists() and b'"decode/tp1' in journal.read_bytes():
            break
        time.sleep(0.05)
    # SIGTERM is what a pod gets: the mocker must go with the search.
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output
    before = yaml.safe_load((tmp_path / "out" / "profiler_status.yaml").read_text())
    assert (before["status"], before["phase"]) == ("failed", "SweepingDecode")
    assert not mockers_of(tmp_path)
    points = journal.read_text().count('"figures"')
    finished = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "picked" in finished.stdout
    assert points >= 1
    log = (tmp_path / "out" / "profile_sla.log").read_text()
    assert "going on with what is in the journal" in log
    assert log.count("prefill/tp1/aiperf_isl800: TTFT") == 1


def mockers_of(folder: Path) -> list[str]:
    """Command lines of mockers that serve a plan below a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if "mocker" in words and f"{folder}/out" in words:
                found.append(words)
    return found


def test_a_mocker_that_does_not_start_is_a_failed_candidate(tmp_path: Path) -> None:
    engine = engine_candidates(wish_of(load_dgdr(text_of("throughput"), source="t")))[0][0].engine
    order = Order(label="tp1", engine=engine, role=Role.AGG, folder=tmp_path)
    words = (sys.executable, "-c", "import sys; sys.exit('no port is free')")
    with (
        pytest.raises(CandidateError, match="no port is free"),
        MockDeployer(command=words).running(order),
    ):
        raise AssertionError("it must not come up")
    slow = MockDeployer(command=(sys.executable, "-c", "import time; time.sleep(60)"),
                        start_limit_s=0.3)  # fmt: skip
    with pytest.raises(CandidateError, match="not ready after"), slow.running(order):
        raise AssertionError("it must not come up")
