"""CPU-seconds of whole searches, plots and files included; see docs/profiler.md.

Nothing here asserts on time. ``make bench`` prints CPU-seconds (process time), imports left
out; ``-m tests.bench`` needs no GPU and no network.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from dgdr import Dgdr, load_dgdr
from profiler import RapidOptions, run_rapid

pytestmark = [pytest.mark.bench, pytest.mark.benchmark(timer=time.process_time)]

QWEN, DEEPSEEK = "Qwen/Qwen3-32B", "deepseek-ai/DeepSeek-R1"


def request(model: str, gpus: int, sla: dict[str, float], load: dict[str, float]) -> Dgdr:
    content = {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeploymentRequest",
        "metadata": {"name": "bench"},
        "spec": {
            "model": model,
            "image": "ai-dynamo/dynamo-planner:1.2.1",
            "backend": "auto",
            "sla": sla,
            "workload": {"isl": 4000, "osl": 1000, **load},
            "hardware": {"gpuSku": "h200_sxm", "numGpusPerNode": 8, "totalGpus": gpus},
        },
    }
    return load_dgdr(json.dumps(content), source="bench.yaml")


CASES = {
    "qwen-throughput": (QWEN, 8, {"ttft": 1000, "itl": 30}, {}),
    "qwen-rate": (QWEN, 8, {"ttft": 1000, "itl": 30}, {"requestRate": 3}),
    "qwen-concurrency": (QWEN, 8, {"ttft": 1000, "itl": 30}, {"concurrency": 96}),
    "deepseek-throughput": (DEEPSEEK, 32, {"ttft": 2000, "itl": 50}, {}),
    "deepseek-rate": (DEEPSEEK, 32, {"ttft": 2000, "itl": 50}, {"requestRate": 4}),
}


@pytest.mark.parametrize("name", CASES)
def test_rapid_search_of_three_backends(benchmark, tmp_path: Path, name: str) -> None:
    model, gpus, sla, load = CASES[name]
    dgdr = request(model, gpus, sla, load)
    args = (dgdr, tmp_path, RapidOptions(seed=1))
    result = benchmark.pedantic(run_rapid, args=args, rounds=2, iterations=1, warmup_rounds=1)
    cpu_s = benchmark.stats.stats.min
    rows = json.loads((tmp_path / "candidates.json").read_text())["candidates"]
    simulated = sum(row["stage"] == "simulated" for row in rows)
    assert 0 < result.plan.gpus <= gpus
    assert not result.sla_note
    sys.stderr.write(
        f"\n{name}: {cpu_s:.2f} CPU-s, {len(rows)} candidates, {simulated} simulated, "
        f"picked {result.picked} on {result.plan.gpus} GPUs\n"
    )
