"""A scenario with measured steps: the same table times the search and every rung."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from contracts.ports import PrefillChunk
from harness.store import load_run
from simcore.perf import roofline

ROOT = Path(__file__).parents[2]
FACTOR = 0.8


def write_table(path: Path, engines) -> None:
    """Steps that take less time than the roofline says."""
    lines = ["kind,tp,tokens,batch,context,ms"]
    for engine in engines:
        timer = roofline(engine)
        for tokens in (64, 512, 1024, 2048, 4096, 8192):
            ms = timer.mixed_step_fs(0, 0, [PrefillChunk(tokens, 0)]) / 1e12 * FACTOR
            lines.append(f"prefill,{engine.tp},{tokens},,0,{ms}")
        for requests in (1, 16, 64, 256):
            for context in (200, 4000):
                ms = timer.mixed_step_fs(requests, requests * context, []) / 1e12 * FACTOR
                lines.append(f"decode,{engine.tp},,{requests},{context},{ms}")
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.slow
def test_both_rungs_take_the_table(tmp_path: Path, make_engine_spec) -> None:
    engine = make_engine_spec("Qwen/Qwen3-8B", "l40s", tp=1)
    write_table(tmp_path / "steps.csv", [engine])
    content = yaml.safe_load((ROOT / "scenarios/quickstart.yaml").read_text())
    content["deploy"]["dgdr"] = str(ROOT / "scenarios/dgdr/qwen3-8b.yaml")
    content["workload"] = {
        "synthetic": {
            "duration_s": 6,
            "arrivals": {"kind": "constant", "rate_per_s": 2},
            "isl": {"mean": 500},
            "osl": {"mean": 20},
        }
    }
    content["planner"] = {"enabled": False}
    content["expect"] = {"completed_ratio_min": 1.0}
    content["tolerance"] = {"ttft_ratio": 1.0, "itl_ratio": 0.2}
    content["mock"] = {"speed": 2.0}
    content["deploy"]["step_table"] = "steps.csv"
    (tmp_path / "scenario.yaml").write_text(yaml.safe_dump(content))
    done = subprocess.run(
        [sys.executable, "-m", "harness", "run", str(tmp_path / "scenario.yaml"),
         "--runs-dir", str(tmp_path / "runs"), "--on", "sim,mock"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    run = load_run(next((tmp_path / "runs").glob("*/manifest.json")).parent)
    assert run.setup.facts["Step times"] == "table, measured, expected error of a step 15%"
    assert (run.path / "inputs" / "steps.csv").exists()
    assert {pool.engine.tp for pool in run.setup.plan.topology.pools} == {1}
    step_ms = FACTOR * roofline(engine).mixed_step_fs(1, 510, []) / 1e12
    for entry in run.runs:
        assert np.median(entry.record.table.itl_ms) == pytest.approx(step_ms, rel=0.1)
