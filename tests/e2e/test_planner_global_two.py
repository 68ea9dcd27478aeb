"""One planner for two deployments of a cluster: GPUs go where the load is, within one budget."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_kit import (
    GIVEN,
    NEEDS_KUBECTL,
    ROOT,
    Kubectl,
    eventually,
)
from planner_kit import GPUS_PER_REPLICA, burst, deployed, planned_request, planner_files, played

from simcore.workload import BurstArrivals

NAMES = ("left", "right")
# Each alone wants three replicas under load; with the other one's floor that is all there is.
BUDGET_GPUS = 4 * GPUS_PER_REPLICA
RATE, QUIET_RATE = 5.5, 0.3
BURST_S, DURATION_S = 20.0, 44.0

pytestmark = [
    pytest.mark.slow,
    NEEDS_KUBECTL,
    pytest.mark.skipif(bool(GIVEN), reason="the load client must reach the Services"),
]


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """A cluster with both deployments; their own planners only give advice."""
    requests = [
        planned_request(name, BUDGET_GPUS, advisory=True, scale_down_hold_s=4) for name in NAMES
    ]
    with deployed(tmp_path_factory.mktemp("global"), requests) as found:
        yield found


def fleet_file(kubectl: Kubectl, folder: Path) -> Path:
    """The settings of the planner of both, with the files that the profiler has made."""
    members = []
    for name in NAMES:
        (folder / name).mkdir()
        planner_files(kubectl, f"{name}-dgd", folder / name)
        path = folder / name / "planner_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "advisory": False}))
        members.append(
            {"name": f"{name}-dgd", "config": f"{name}/planner_config.json", "profile_dir": name}
        )
    found = folder / "fleet.yaml"
    fleet = {"gpu_budget": BUDGET_GPUS, "interval_s": 2.0, "deployments": members}
    found.write_text(yaml.safe_dump(fleet))
    return found


@contextlib.contextmanager
def planning(kubectl: Kubectl, fleet: Path, log: Path) -> Iterator[None]:
    words = [sys.executable, "-m", "planner", "global", "--config", str(fleet)]
    with log.open("w") as sink:
        process = subprocess.Popen(
            [*words, "--kubeconfig", kubectl.kubeconfig], cwd=ROOT, stdout=sink, stderr=sink
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(timeout=20)
    assert code == 0, log.read_text()


def decisions(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


class Watch:
    """Looks at the GPUs of both deployments' pods all the time, those that end included."""

    def __init__(self, kubectl: Kubectl) -> None:
        self.seen: list[dict[str, int]] = []
        self._kubectl = kubectl
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.25):
            counts = dict.fromkeys(NAMES, 0)
            for pod in self._kubectl.read("pods")["items"]:
                graph = pod["metadata"]["labels"].get("nvidia.com/dynamo-graph-deployment-name")
                limits = pod["spec"]["containers"][0].get("resources", {}).get("limits", {})
                if graph is not None:
                    counts[graph.removesuffix("-dgd")] += int(limits.get("nvidia.com/gpu", 0))
            self.seen.append(counts)


def test_gpus_follow_the_load_and_the_budget_always_holds(kubectl: Kubectl, tmp_path: Path) -> None:
    fleet, log = fleet_file(kubectl, tmp_path), tmp_path / "planner.log"
    with planning(kubectl, fleet, log), Watch(kubectl) as watch:
        eventually(lambda: len([row for row in decisions(log) if not row["held"]]) >= len(NAMES))
        loads = [
            burst(
                BurstArrivals(
                    base_rate_per_s=QUIET_RATE, peak_rate_per_s=RATE,
                    start_s=turn * BURST_S, length_s=BURST_S,
                ),
                DURATION_S,
            )
            for turn in range(len(NAMES))
        ]  # fmt: skip
        with ThreadPoolExecutor(len(NAMES)) as pool:
            results = list(
                pool.map(lambda n, load: played(kubectl, f"{n}-dgd", load), NAMES, loads)
            )
        least = dict.fromkeys(NAMES, GPUS_PER_REPLICA)
        eventually(lambda: watch.seen[-1] == least)
    assert all(result.failures == {} for result in results)
    assert max(sum(counts.values()) for counts in watch.seen) <= BUDGET_GPUS
    most = BUDGET_GPUS - GPUS_PER_REPLICA
    peaks = [
        next(i for i, counts in enumerate(watch.seen) if counts[name] == most) for name in NAMES
    ]
    assert peaks == sorted(peaks)
    assert watch.seen[peaks[1]][NAMES[0]] == GPUS_PER_REPLICA
    assert {row["applied"] for row in decisions(log)} <= {"accepted", "nothing_to_do", "deferred"}
