"""Throughput and memory of the benchmarking service; definitions in docs/benchmarks.md.

Nothing here asserts on time. It prints seconds, CPU-seconds of the service with its workers,
and the most memory that all of them held together (RSS, pages that they share counted twice).

``BENCH_SERVICE_RUNS`` sets how many runs are handed in.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.bench
ROOT = Path(__file__).parents[2]
RUNS = int(os.environ.get("BENCH_SERVICE_RUNS", "100"))
REQUESTS = 2000
RATE_PER_S = 20.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
LIMIT_S = 900.0


def submission(number: int, *, own_profile: bool) -> dict[str, Any]:
    """Traffic of its own in each run; with a seed of its own the profiler searches anew."""
    rate_per_s = RATE_PER_S + 0.01 * number
    scenario = {
        "version": 1,
        "name": f"bench-{number}",
        "rungs": ["sim"],
        "seeds": [number + 1 if own_profile else 1],
        "deploy": {"dgdr": "request.yaml"},
        "workload": {
            "synthetic": {
                "duration_s": REQUESTS / rate_per_s,
                "arrivals": {"kind": "constant", "rate_per_s": rate_per_s},
                "isl": {"mean": 3000, "cv": 0.3},
                "osl": {"mean": 150, "cv": 0.3},
            }
        },
        "expect": {"completed_ratio_min": 1.0},
    }
    request = (ROOT / "scenarios/dgdr/llama-8b.yaml").read_text(encoding="utf-8")
    return {"scenario": scenario, "files": {"request.yaml": request}}


class Tree:
    """The service and its workers as the kernel sees them."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.peak_rss_mb = 0.0

    def look(self) -> None:
        pids = [self._pid, *self._children()]
        self.peak_rss_mb = max(self.peak_rss_mb, sum(_rss_mb(pid) for pid in pids))

    def cpu_s(self) -> float:
        """Of the service, of its workers that are there, and of those that have ended."""
        return sum(sum(_ticks(pid)) for pid in [self._pid, *self._children()]) / TICKS_PER_S

    def _children(self) -> list[int]:
        listed = Path(f"/proc/{self._pid}/task").glob("*/children")
        return [int(pid) for path in listed for pid in path.read_text().split()]


def _rss_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def _ticks(pid: int) -> list[int]:
    """User and system time of a process and of its ended children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [int(field) for field in fields[11:15]]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[Tree, httpx.Client]]:
    words = ["-m", "harness", "serve", "--port", "0", "--workers", "2", "--data", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    url = process.stdout.readline().split()[-1]
    with httpx.Client(base_url=url, timeout=30.0, trust_env=False) as client:
        yield Tree(process.pid), client
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    process.stdout.close()


@pytest.mark.parametrize("own_profile", [False, True], ids=["one-profile", "a-profile-each"])
def test_runs_of_2000_requests_on_two_workers(
    benchmark: Any, service: tuple[Tree, httpx.Client], own_profile: bool
) -> None:
    tree, client = service

    def work() -> None:
        for number in range(RUNS):
            answer = client.post("/api/runs", json=submission(number, own_profile=own_profile))
            assert answer.status_code == 201, answer.text
        deadline = time.monotonic() + LIMIT_S
        while (runs := client.get("/api/health").json()["runs"])["queued"] + runs["running"]:
            assert time.monotonic() < deadline, runs
            tree.look()
            time.sleep(0.1)
        assert runs["done"] == RUNS, runs

    start_cpu_s = tree.cpu_s()
    benchmark.pedantic(work, rounds=1, iterations=1)
    cpu_s, wall_s = tree.cpu_s() - start_cpu_s, benchmark.stats.stats.max
    result = client.get("/api/runs/1").json()["result"]["rungs"]["sim"]
    assert REQUESTS - 1 <= result["completed"] <= REQUESTS + 1
    figures = {
        "cpu_s": round(cpu_s, 1),
        "cpu_s_per_run": round(cpu_s / RUNS, 2),
        "peak_rss_mb": round(tree.peak_rss_mb),
    }
    benchmark.extra_info.update(figures)
    sys.stderr.write(f"\n{benchmark.name}: {RUNS} runs in {wall_s:.0f} s, {figures}\n")
