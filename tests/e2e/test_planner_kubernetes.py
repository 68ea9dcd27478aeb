"""A planner's pod on the embedded cluster: load comes and goes, replicas follow."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from kubernetes_kit import (
    CLUSTER,
    GIVEN,
    NEEDS_KUBECTL,
    ROOT,
    Kubectl,
    eventually,
    start_prometheus,
)
from planner_kit import (
    GPUS_PER_REPLICA,
    ITL_MS,
    TTFT_MS,
    burst,
    deployed,
    planned_request,
    planner_files,
    played,
)

from simcore.workload import BurstArrivals

BURST_S, BURST_LENGTH_S, DURATION_S = 5.0, 25.0, 38.0
# Time from the burst to enough ready workers and an empty queue: a tick, an order, processes
# that start beside a load on few cores.
LEAD_S = 12.0
BUDGET_GPUS = 12
pytestmark = [
    pytest.mark.slow,
    NEEDS_KUBECTL,
    pytest.mark.skipif(bool(GIVEN), reason="the load client must reach the Service"),
]


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """A cluster with a deployment and a planner that has its curves."""
    requests = [planned_request("scaled", BUDGET_GPUS)]
    with deployed(tmp_path_factory.mktemp("planner"), requests) as found:
        yield found


def decisions(kubectl: Kubectl) -> list[dict[str, Any]]:
    """Of the planner's present pod; none while there is no such pod."""
    lines = kubectl.run("logs", "deployment/scaled-dgd-planner").stdout.splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def replicas(kubectl: Kubectl) -> int:
    return int(kubectl.read("dgdsa", "scaled-dgd-worker")["spec"]["replicas"])


def test_replicas_follow_the_load_and_no_request_is_lost(kubectl: Kubectl) -> None:
    eventually(lambda: [each for each in decisions(kubectl) if not each["held"]])
    begin_s = time.time()
    arrivals = BurstArrivals(
        base_rate_per_s=1.0, peak_rate_per_s=6.0, start_s=BURST_S, length_s=BURST_LENGTH_S
    )
    result = played(kubectl, "scaled-dgd", burst(arrivals, DURATION_S))
    table = result.table
    assert result.failures == {}
    assert len(table) > 100

    eventually(lambda: replicas(kubectl) == 1)
    kubectl.wait("deployment/scaled-dgd-worker", "jsonpath={.status.readyReplicas}=1")
    seen = [each for each in decisions(kubectl) if each["now_s"] >= begin_s]
    targets = [each["targets"][0]["replicas"] for each in seen if each["targets"]]
    assert max(targets) >= 3
    assert targets[-1] == 1
    assert max(targets) * GPUS_PER_REPLICA <= BUDGET_GPUS
    assert {each["applied"] for each in seen} <= {"accepted", "nothing_to_do", "deferred"}

    good = (table.ttft_ms <= TTFT_MS) & (table.itl_ms <= ITL_MS)
    settled = table.arrival_ns > (BURST_S + LEAD_S) * 1e9
    assert np.mean(good[settled]) >= 0.95
    assert np.mean(good) >= 0.5


def test_decisions_are_events_and_metrics(kubectl: Kubectl) -> None:
    events = kubectl.read("events", "--field-selector=reason=PlannerScaled")["items"]
    assert {event["involvedObject"]["kind"] for event in events} == {"DynamoGraphDeployment"}
    assert any("worker 1 -> " in event["message"] for event in events)
    pods = kubectl.read("pods", "--selector=nvidia.com/dynamo-component-type=planner")["items"]
    live = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    page = httpx.get(f"http://{live[0]['status']['podIP']}:9090/metrics", trust_env=False).text
    assert "dynamo_planner_predicted_num_decode_replicas 1.0" in page
    assert 'dynamo_planner_ticks_total{applied="accepted"}' in page


def test_a_restarted_planner_does_not_jump(kubectl: Kubectl) -> None:
    """Replicas that somebody else has set stay until demand was seen to be lower for long."""
    kubectl("delete", "pod", "--selector=nvidia.com/dynamo-component-type=planner")
    kubectl("scale", "dgdsa/scaled-dgd-worker", "--replicas=2")
    eventually(lambda: decisions(kubectl))
    assert replicas(kubectl) == 2
    eventually(lambda: replicas(kubectl) == 1)
    found = decisions(kubectl)
    assert found[0]["held"]
    down = next(each for each in found if each["changes"])
    assert down["changes"] == ["worker 2 -> 1"]
    assert down["now_s"] - found[1]["now_s"] >= 6.0


def test_an_outage_of_the_api_is_survived(kubectl: Kubectl) -> None:
    fault(kubectl, kind="server-error", seconds=5)
    eventually(lambda: [each for each in decisions(kubectl)[-3:] if each["held"]])
    assert replicas(kubectl) == 1
    eventually(lambda: not decisions(kubectl)[-1]["held"])
    pods = kubectl.read("pods", "--selector=nvidia.com/dynamo-component-type=planner")["items"]
    containers = [each for pod in pods for each in pod["status"]["containerStatuses"]]
    assert {each["restartCount"] for each in containers} == {0}


@pytest.mark.parametrize(
    ("kind", "reason"), [("conflict", "Conflict"), ("too-many-requests", "TooManyRequests")]
)
def test_refused_writes_are_tried_again(kubectl: Kubectl, kind: str, reason: str) -> None:
    fault(kubectl, kind=kind, verbs=["patch"], name="scaled-dgd-worker", count=1)
    kubectl("scale", "dgdsa/scaled-dgd-worker", "--replicas=2")
    eventually(lambda: replicas(kubectl) == 1)
    found = decisions(kubectl)
    unknown = [each["problem"] for each in found if each["applied"] == "unknown"]
    assert any(reason in problem for problem in unknown)
    warnings = kubectl.read("events", "--field-selector=reason=PlannerFailed")["items"]
    assert {event["type"] for event in warnings} == {"Warning"}


def fault(kubectl: Kubectl, **rule: Any) -> None:
    """Something that the API does to the planner only."""
    text = json.dumps({"user": "*planner*", **rule})
    place = ("--data", str(Path(kubectl.kubeconfig).parent))
    subprocess.run([*CLUSTER, "fault", text, *place], cwd=ROOT, capture_output=True, check=True)


def test_planners_from_outside_see_the_same(kubectl: Kubectl, tmp_path: Path) -> None:
    """One for several deployments, and one that reads a Prometheus; both give advice only."""
    planner_files(kubectl, "scaled-dgd", tmp_path)
    member = {"name": "scaled-dgd", "config": "planner_config.json", "profile_dir": "."}
    fleet = {"gpu_budget": 4, "interval_s": 1.0, "advisory": True, "deployments": [member]}
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump(fleet))
    words = ("--kubeconfig", kubectl.kubeconfig, "--ticks", "3")
    last = outside("global", "--config", str(tmp_path / "fleet.yaml"), *words)[-1]
    assert (last["deployment"], last["held"], last["applied"]) == (
        "default/scaled-dgd",
        False,
        "advisory",
    )
    if shutil.which("prometheus") is None:
        pytest.skip("no prometheus (apt-get install prometheus)")
    with scraping(kubectl, tmp_path) as endpoint:
        own = ("--graph", "scaled-dgd", "--config", str(tmp_path / "planner_config.json"))
        more = ("--profile-dir", str(tmp_path), "--prometheus", endpoint, "--advisory")
        journal = tmp_path / "journal"
        found = outside(*own, *more, *words[:2], "--ticks", "8", "--journal", str(journal))
        assert [each for each in found if each["applied"] == "advisory"]
        figures = [each["figures"] for each in found if not each["held"]]
        assert figures[-1]["agg_ready_replicas"] == 1.0
        again = outside(*own[2:], *more[:2], "--replay", str(journal))
    assert [{key: each[key] for key in again[0]} for each in found] == again


def outside(*words: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "planner", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@contextlib.contextmanager
def scraping(kubectl: Kubectl, folder: Path) -> Iterator[str]:
    """A Prometheus that scrapes the frontend and the worker by address, as without labels."""
    places = []
    for component, port in (("Frontend", 8000), ("worker", 9090)):
        pods = kubectl.read("pods", f"--selector=nvidia.com/dynamo-component={component}")["items"]
        places += [f"{pod['status']['podIP']}:{port}" for pod in pods]
    process, endpoint = start_prometheus(folder, places)
    try:
        yield endpoint
    finally:
        process.terminate()
        process.wait(timeout=20)
