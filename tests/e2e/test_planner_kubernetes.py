"""A planner's pod on the embedded cluster: load comes and goes, replicas follow."""

from __future__ import annotations

import asyncio
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
    running_cluster,
    running_operator,
    start_prometheus,
)

from contracts.streams import RandomStreams
from contracts.workload import Workload
from harness.load import LoadResult, LoadTarget, WallClock, run_load
from simcore.workload import BurstArrivals, Lengths, synthesize

MODEL = "meta-llama/Llama-3.1-70B-Instruct"
TTFT_MS, ITL_MS = 2000.0, 50.0
BURST_S, BURST_LENGTH_S, DURATION_S = 5.0, 25.0, 38.0
# Time from the burst to enough ready workers and an empty queue: a tick, an order, processes
# that start beside a load on few cores.
LEAD_S = 12.0
BUDGET_GPUS = 12
REQUEST: dict[str, Any] = {
    "apiVersion": "nvidia.com/v1beta1",
    "kind": "DynamoGraphDeploymentRequest",
    "metadata": {"name": "scaled"},
    "spec": {
        "model": MODEL,
        "image": "ai-dynamo/dynamo-planner:1.2.1",
        "backend": "vllm",
        "searchStrategy": "rapid",
        "sla": {"ttft": TTFT_MS, "itl": ITL_MS},
        "workload": {"isl": 2000, "osl": 100, "requestRate": 1},
        "hardware": {"gpuSku": "h200_sxm", "numGpusPerNode": 8, "totalGpus": BUDGET_GPUS},
        "features": {
            "planner": {
                "enabled": True,
                "throughput_adjustment_interval_seconds": 2,
                "startup_s": 5,
                "scale_down_hold_s": 6,
                "max_gpu_budget": BUDGET_GPUS,
                # Planned with a reserve: what runs here shares its cores with the client.
                "ttft_ms": TTFT_MS,
                "itl_ms": 0.8 * ITL_MS,
            }
        },
    },
}

pytestmark = [
    pytest.mark.slow,
    NEEDS_KUBECTL,
    pytest.mark.skipif(bool(GIVEN), reason="the load client must reach the Service"),
]


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """A cluster with the deployment of ``REQUEST`` and a planner that has its curves."""
    folder = tmp_path_factory.mktemp("planner")
    with running_cluster(folder / "c") as kubeconfig:
        found = Kubectl(kubeconfig=kubeconfig, home=str(folder), namespace="default")
        with running_operator(found, folder / "operator.log"):
            found("create", "secret", "generic", "hf-token-secret", "--from-literal=HF_TOKEN=none")
            found("apply", "-f", "-", text=yaml.safe_dump(REQUEST))
            found.wait_phase("scaled", "Deployed")
            yield found


def decisions(kubectl: Kubectl) -> list[dict[str, Any]]:
    """Of the planner's present pod; none while there is no such pod."""
    lines = kubectl.run("logs", "deployment/scaled-dgd-planner").stdout.splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def replicas(kubectl: Kubectl) -> int:
    return int(kubectl.read("dgdsa", "scaled-dgd-worker")["spec"]["replicas"])


def burst() -> Workload:
    arrivals = BurstArrivals(
        base_rate_per_s=1.0, peak_rate_per_s=6.0, start_s=BURST_S, length_s=BURST_LENGTH_S
    )
    return synthesize(
        arrivals,
        duration_s=DURATION_S,
        isl=Lengths(mean=2000),
        osl=Lengths(mean=100),
        streams=RandomStreams(7),
    )


def played(kubectl: Kubectl) -> LoadResult:
    address = kubectl.read("service", "scaled-dgd-frontend")["spec"]["clusterIP"]
    return asyncio.run(
        run_load(
            LoadTarget(base_url=f"http://{address}:8000", model=MODEL),
            burst(),
            speed=1.0,
            clock=WallClock(),
            timeout_s=60.0,
        )
    )


def test_replicas_follow_the_load_and_no_request_is_lost(kubectl: Kubectl) -> None:
    eventually(lambda: [each for each in decisions(kubectl) if not each["held"]])
    begin_s = time.time()
    result = played(kubectl)
    table = result.table
    assert result.failures == {}
    assert len(table) > 100

    eventually(lambda: replicas(kubectl) == 1)
    kubectl.wait("deployment/scaled-dgd-worker", "jsonpath={.status.readyReplicas}=1")
    seen = [each for each in decisions(kubectl) if each["now_s"] >= begin_s]
    targets = [each["targets"][0]["replicas"] for each in seen if each["targets"]]
    assert max(targets) >= 3
    assert targets[-1] == 1
    gpus = 2  # of one replica
    assert max(targets) * gpus <= BUDGET_GPUS
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
    for volume in planner_volumes(kubectl):
        name = volume["configMap"]["name"]
        for key, text in kubectl.read("configmap", name)["data"].items():
            (tmp_path / key).write_text(text)
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


def planner_volumes(kubectl: Kubectl) -> list[dict[str, Any]]:
    spec = kubectl.read("deployment", "scaled-dgd-planner")["spec"]["template"]["spec"]
    return [volume for volume in spec["volumes"] if "configMap" in volume]


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
