"""The service as a process: runs survive its death, a running one can be cancelled."""

from __future__ import annotations

import json
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

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
REQUEST = (ROOT / "scenarios/dgdr/qwen3-8b.yaml").read_text(encoding="utf-8")
LIMIT_S = 120.0


def scenario(name: str, duration_s: float = 20.0) -> dict[str, Any]:
    text = {
        "version": 1,
        "name": name,
        "rungs": ["sim"],
        "deploy": {"dgdr": "request.yaml"},
        "workload": {
            "synthetic": {
                "duration_s": duration_s,
                "arrivals": {"kind": "poisson", "rate_per_s": 2},
                "isl": {"mean": 500},
                "osl": {"mean": 50},
            }
        },
        "expect": {"completed_ratio_min": 1.0},
    }
    return {"scenario": text, "files": {"request.yaml": REQUEST}}


class Service:
    """The process and a client of it."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self.start()

    def start(self) -> None:
        words = ["-m", "harness", "serve", "--port", "0", "--workers", "1"]
        self.process = subprocess.Popen(
            [sys.executable, *words, "--data", str(self._data)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("service ready "), line
        self.client = httpx.Client(base_url=line.split()[-1], timeout=30.0, trust_env=False)

    def end(self, number: signal.Signals) -> int:
        self.client.close()
        self.process.send_signal(number)
        code = self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def submit(self, body: dict[str, Any], key: str) -> int:
        answer = self.client.post("/api/runs", json=body, headers={"idempotency-key": key})
        assert answer.is_success, answer.text
        return int(answer.json()["id"])

    def run(self, run_id: int) -> dict[str, Any]:
        return dict(self.client.get(f"/api/runs/{run_id}").json())

    def wait(self, run_id: int, *states: str) -> dict[str, Any]:
        deadline = time.monotonic() + LIMIT_S
        while (run := self.run(run_id))["state"] not in states:
            assert time.monotonic() < deadline, run
            time.sleep(0.05)
        return run


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path)
    yield service
    if service.process.poll() is None:
        service.end(signal.SIGTERM)


def test_nothing_is_lost_over_three_kills(service: Service) -> None:
    runs = [service.submit(scenario(f"run-{number}"), f"key-{number}") for number in range(4)]
    for _ in range(3):
        service.wait(next(r for r in runs if service.run(r)["state"] != "done"), "running")
        service.end(signal.SIGKILL)
        service.start()
    again = [service.submit(scenario(f"run-{number}"), f"key-{number}") for number in range(4)]
    assert again == runs
    results = [service.wait(run, "done", "failed", "refused") for run in runs]
    assert [run["verdict"] for run in results] == ["pass"] * 4
    digests = {json.dumps(run["result"]["rungs"]["sim"]["digests"]) for run in results}
    assert len(digests) == 1
    assert all(run["result"]["rungs"]["sim"]["offered"] > 20 for run in results)
    choice = service.client.get(f"/runs/{runs[0]}/pareto").text
    assert "Picked: " in choice
    report = service.client.get(f"/runs/{runs[0]}/report")
    assert report.text.startswith("<!DOCTYPE html>")


def test_a_running_job_is_cancelled_and_the_next_one_runs(service: Service) -> None:
    long, short = scenario("long", 200_000.0), scenario("short")
    first, second = service.submit(long, "a"), service.submit(short, "b")
    service.wait(first, "running")
    service.client.post(f"/api/runs/{first}/cancel")
    assert service.wait(first, "cancelled", "done", "failed")["state"] == "cancelled"
    assert service.wait(second, "done", "failed")["verdict"] == "pass"


def test_a_bad_scenario_is_refused_with_its_reason(service: Service) -> None:
    body = scenario("bad")
    body["scenario"]["expect"] = {"attainment": 1}
    run = service.wait(service.submit(body, "a"), "refused", "done", "failed")
    assert run["state"] == "refused"
    assert run["error"].startswith("scenario.yaml: ")
    assert "attainment" in run["error"]


def test_it_ends_with_its_workers(service: Service) -> None:
    run = service.submit(scenario("long", 200_000.0), "a")
    service.wait(run, "running")
    children = _children(service.process.pid)
    assert children
    assert service.end(signal.SIGTERM) == 0
    deadline = time.monotonic() + 20.0
    while any(Path(f"/proc/{pid}").exists() for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(path.parent.name))
    return [child for child in found if child != os.getpid()]
