"""Speed and punctuality of the mocker over loopback, in CPU-seconds and wall time.

``make bench`` runs it. Server and load client are processes of their own. Targets on two
idle cores: 120,000 streamed tokens a second at 64 and 256 connections, 10,000 whole answers a
second, 500 streams at 10 ms with a median lateness of 0.6 ms and 3 ms at the 99th percentile,
1,000 streams with 30 ms, and 150 MB. Nothing here asserts on wall time, because the machine
may be shared; lost tokens, failures, stalls and memory are asserted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from contracts.engine import EngineLimits
from contracts.plan import DeploymentPlan

pytestmark = pytest.mark.bench
ROOT = Path(__file__).parents[2]
MODEL = "meta-llama/Llama-3.1-8B"
ITL_MS = 10
# Every step takes as long, whatever it does, so that the schedule is known.
STEPS = "kind,tokens,batch,context,ms\n" + "\n".join(
    [f"prefill,{tokens},,0,{ITL_MS}" for tokens in (1, 100_000)]
    + [f"decode,,{batch},{context},{ITL_MS}" for batch in (1, 4096) for context in (10, 100_000)]
)


class Served:
    """A server process and what it has used."""

    def __init__(self, folder: Path, plan: DeploymentPlan, speed: float) -> None:
        (folder / "plan.json").write_bytes(TypeAdapter(DeploymentPlan).dump_json(plan))
        (folder / "steps.csv").write_text(STEPS + "\n", encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mocker", "serve", "--plan", str(folder / "plan.json"),
             "--port", "0", "--speed", str(speed), "--step-times", f"table:{folder}/steps.csv"],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.port = self.process.stdout.readline().rpartition(":")[2].strip()

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def load(self, *options: str) -> dict[str, float]:
        """Run the client; adds the server's CPU time and memory."""
        before = self.cpu_s()
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.mocker_load.client", "--port", self.port,
             "--model", MODEL, *options],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        found = json.loads(done.stdout)
        return {**found, "server_cpu_s": self.cpu_s() - before, "rss_mb": self.rss_mb()}


@pytest.fixture
def serve(tmp_path: Path, make_agg_plan, make_engine_spec) -> Iterator[Callable[..., Served]]:
    started: list[Served] = []

    def start(speed: float, replicas: int = 1) -> Served:
        limits = EngineLimits(max_num_seqs=4096, kv_blocks_total=200_000)
        plan = make_agg_plan(replicas, engine=make_engine_spec(limits=limits))
        started.append(Served(tmp_path, plan, speed))
        return started[-1]

    yield start
    for served in started:
        served.process.terminate()
        served.process.communicate(timeout=10)


def show(title: str, found: dict[str, float]) -> None:
    words = ", ".join(f"{key} {value:.4g}" for key, value in found.items())
    sys.stdout.write(f"\n{title}: {words}\n")


@pytest.mark.parametrize(("connections", "speed"), [(64, 50.0), (256, 12.5)])
def test_saturated_streams(benchmark, serve, connections: int, speed: float) -> None:
    served = serve(speed)
    options = ("--connections", str(connections), "--seconds", "3")
    found = benchmark.pedantic(served.load, args=options, rounds=1)
    found["server_us_per_token"] = found["server_cpu_s"] / found["tokens"] * 1e6
    show(f"{connections} connections, 100-token streams", found)
    assert found["failures"] == 0
    assert found["tokens"] > 0


def test_whole_answers(benchmark, serve) -> None:
    served = serve(10_000.0)
    options = ("--connections", "64", "--seconds", "3", "--whole", "--tokens", "1")
    found = benchmark.pedantic(served.load, args=options, rounds=1)
    found["server_us_per_request"] = found["server_cpu_s"] / found["requests"] * 1e6
    show("whole answers of one token", found)
    assert found["failures"] == 0


@pytest.mark.parametrize("streams", [500, 1000])
def test_punctuality(benchmark, serve, streams: int) -> None:
    """Eight engines, as their phases differ; each stream has 500 tokens."""
    served = serve(1.0, replicas=8)
    options = ("--connections", str(streams), "--pace-ms", str(ITL_MS), "--tokens", "500")
    found = benchmark.pedantic(served.load, args=options, rounds=1)
    found["server_us_per_token"] = found["server_cpu_s"] / found["tokens"] * 1e6
    show(f"{streams} streams every {ITL_MS} ms", found)
    assert (found["failures"], found["unfinished"]) == (0, 0)
    assert found["tokens"] == streams * 500
    assert found["rss_mb"] < 150


def test_memory_does_not_grow_with_the_requests_served(benchmark, serve) -> None:
    """Rows of requests are bounded; ``BENCH_MOCKER_S`` makes it longer, 600 is ten minutes."""
    served = serve(10_000.0)
    seconds = os.environ.get("BENCH_MOCKER_S", "8")
    options = ("--connections", "64", "--whole", "--tokens", "1", "--seconds")
    warm = served.load(*options, seconds)
    found = benchmark.pedantic(served.load, args=(*options, seconds), rounds=1)
    show("memory after more requests", {"before_mb": warm["rss_mb"], **found})
    assert found["rss_mb"] < warm["rss_mb"] + 10
