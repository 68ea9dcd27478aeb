"""Rung kube for real: cluster, operator, pods, the load through a Service, faults, and the end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness.store import LoadedRun, load_run

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "scenarios"
FELL_BEHIND = "the load generator fell behind its schedule"

pytestmark = pytest.mark.slow


def harness(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", *map(str, words)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip


def rehearsed(name: str, runs: Path) -> LoadedRun:
    """The run of a scenario of the library on rungs sim and kube.

    It must pass; on a machine that is too busy for the load, what hangs on latency is left open.
    """
    done = harness(
        "run", LIBRARY / f"{name}.yaml", "--on", "sim,kube", "--runs-dir", runs, "--json"
    )
    assert done.returncode in (0, 5), done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    open_checks = [each for each in said["checks"] if each["outcome"] != "pass"]
    assert all(FELL_BEHIND in each["note"] for each in open_checks), open_checks
    (folder,) = runs.iterdir()
    assert "kube" in (folder / "report.html").read_text()
    return load_run(folder)


def leftovers(word: str) -> list[str]:
    """Processes whose command line has a word."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            text = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if entry.name.isdigit() and word in text and int(entry.name) != os.getpid():
            found.append(text)
    return found


def test_the_small_quickstart_passes_from_simulation_to_cluster(tmp_path: Path) -> None:
    run = rehearsed("quickstart-small", tmp_path / "runs")  # 29 s on two cores
    sim, kube = run.runs
    assert (kube.rung, len(kube.record.table)) == ("kube", len(sim.record.table))
    assert kube.record.table.completed.all()
    assert re.search(r"Deployed after [0-9.]+ s, all workers ready", kube.facts["Request"])
    assert "Request, rung kube, seed 1" in (run.path / "report.html").read_text()
    assert [each.role for each in kube.record.worker_events] != []
    again = harness("diff", *2 * [run.path], "--json")
    assert again.returncode == 0, again.stderr
    assert harness("report", run.path).returncode == 0


def test_pods_crash_late_and_nodes_are_lost_while_images_are_not_pulled(tmp_path: Path) -> None:
    run = rehearsed("cluster-faults", tmp_path / "runs")
    sim, kube = ({each.kind: each for each in one.record.faults} for one in run.runs)
    assert set(sim) == set(kube) == {
        "late_start", "worker_crash", "image_pull_failure", "node_loss"
    }  # fmt: skip
    assert all(each.recovered_at_s is not None for each in kube.values())
    # A new pod waited for start-up time and delay, the pods of the node for the image.
    assert (kube["worker_crash"].recovered_at_s or 0.0) >= kube["worker_crash"].at_s + 5.0
    assert (kube["node_loss"].recovered_at_s or 0.0) >= 22.0
    assert kube["node_loss"].target.startswith("node-")


def test_requests_of_a_lost_worker_go_on_at_the_other_one(tmp_path: Path) -> None:
    run = rehearsed("cluster-failover", tmp_path / "runs")
    (kube,) = run.of_rung("kube")
    assert kube.record.table.completed.all()
    (fault,) = kube.record.faults
    assert fault.requests_hit >= 1
    assert (fault.requests_retried, fault.requests_failed) == (fault.requests_hit, 0)


def test_the_planners_pod_outlasts_refused_orders(tmp_path: Path) -> None:
    run = rehearsed("cluster-planner", tmp_path / "runs")
    kube = run.of_rung("kube")[0]
    (fault,) = kube.record.faults
    assert (fault.kind, fault.recovered_at_s) == ("api_errors", 12.0)
    ready = [each.since_s for each in kube.record.worker_events if each.state.value == "ready"]
    assert len(ready) == 4
    assert max(ready) > 12.0
    assert max(each.targets[0].replicas for each in kube.decisions if each.targets) == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interruption_leaves_no_process_behind(tmp_path: Path, number: signal.Signals) -> None:
    log = tmp_path / "log"
    words = [sys.executable, "-m", "harness", "run", str(LIBRARY / "quickstart-small.yaml")]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [*words, "--on", "kube", "--runs-dir", str(tmp_path / "runs")], cwd=ROOT,
            stdout=sink, stderr=sink, env={**os.environ, "TMPDIR": str(tmp_path)},
        )  # fmt: skip
        end_s = time.monotonic() + 60.0
        while not list(tmp_path.glob("kube-*/cluster/pods/*")):  # the operator's first pod
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end_s
            time.sleep(0.1)
        process.send_signal(number)
        code = process.wait(timeout=30)
    if number is signal.SIGINT:
        assert code == 130, log.read_text()
        assert leftovers(str(tmp_path)) == []
        assert list(tmp_path.glob("kube-*")) == []
    # Cluster and operator hear that the one who held their standard input is gone.
    end_s = time.monotonic() + 30.0
    while found := leftovers(str(tmp_path)):
        assert time.monotonic() < end_s, found
        time.sleep(0.1)
    (folder,) = (tmp_path / "runs").iterdir()
    assert load_run(folder).manifest.status.value == "incomplete"
