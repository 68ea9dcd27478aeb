"""Requests to answers on a Kubernetes cluster, with kubectl as a user has it.

``E2E_KUBECONFIG`` names any cluster with the GPU labels that ``deploy/kind`` sets; without it
the embedded cluster is started. The operator is the installed one, else a process of its own.
Everything happens in a namespace that is deleted afterwards; installed CRDs and roles stay.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx
import pytest
from kubernetes_kit import (
    GIVEN,
    LIMIT_S,
    NEEDS_KUBECTL,
    ROOT,
    Kubectl,
    eventually,
    running_cluster,
    running_operator,
)

REQUESTS = ROOT / "scenarios" / "dgdr" / "kubernetes"
# The same model under another name, with fewer GPUs than its weights need.
TIGHT = {"name: deepseek-r1": "name: r1-tight", "totalGpus: 32": "totalGpus: 4"}
READY_LIMIT_S = 120.0 if GIVEN else 10.0
NAMESPACE = f"e2e-{os.getpid()}"
LLAMA = "meta-llama/Llama-3.1-70B-Instruct"

pytestmark = [pytest.mark.slow, NEEDS_KUBECTL]


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    home = str(tmp_path_factory.mktemp("home"))
    if GIVEN:
        yield Kubectl(kubeconfig=GIVEN, home=home, namespace=NAMESPACE)
        return
    with running_cluster(tmp_path_factory.mktemp("cluster") / "c") as kubeconfig:
        yield Kubectl(kubeconfig=kubeconfig, home=home, namespace=NAMESPACE)


@pytest.fixture(scope="module")
def operator(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with running_operator(kubectl, tmp_path_factory.mktemp("operator") / "log"):
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """Attributes: ``ready_s`` on the wall clock from apply to Ready; ``watched``."""

    kubectl: Kubectl
    ready_s: float
    watched: Path


@pytest.fixture(scope="module")
def applied(
    kubectl: Kubectl, operator: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Applied]:
    kubectl("create", "namespace", NAMESPACE)
    kubectl("create", "secret", "generic", "hf-token-secret", "--from-literal=HF_TOKEN=none")
    path = tmp_path_factory.mktemp("watch") / "watched"
    with path.open("w") as sink:
        watch = watching(kubectl, sink)
        begin_s = time.monotonic()
        apply(kubectl, "llama-70b")
        kubectl.wait_phase("llama-70b", "Ready")
        ready_s = time.monotonic() - begin_s
        apply(kubectl, "qwen-small")
        apply(kubectl, "deepseek-r1")
        apply(kubectl, "deepseek-r1", TIGHT)
        yield Applied(kubectl=kubectl, ready_s=ready_s, watched=path)
        watch.terminate()
        watch.wait(timeout=10)
    kubectl("delete", "namespace", NAMESPACE, f"--timeout={LIMIT_S}s")
    assert kubectl.run("get", "namespace", NAMESPACE).returncode == 1


def watching(kubectl: Kubectl, sink: IO[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        kubectl.words("get", "dgdr", "--watch"), env=kubectl.env, stdout=sink, stderr=sink
    )


def apply(kubectl: Kubectl, name: str, changes: dict[str, str] | None = None) -> None:
    text = (REQUESTS / f"{name}.yaml").read_text()
    for old, new in (changes or {}).items():
        assert old in text
        text = text.replace(old, new)
    assert " created" in kubectl("apply", "-f", "-", text=text)
    assert "unchanged" in kubectl("apply", "-f", "-", text=text)


def answer(kubectl: Kubectl, service: str, model: str) -> dict[str, Any]:
    question = {"role": "user", "content": "what is on the other side of the river"}
    body = {"model": model, "messages": [question], "max_tokens": 8}
    found: dict[str, Any] = kubectl.ask(service, "/v1/chat/completions", body)
    return found


def test_a_rapid_request_is_ready_in_seconds(applied: Applied) -> None:
    assert applied.ready_s < READY_LIMIT_S
    found = applied.kubectl.read("dgdr", "llama-70b")
    assert found["spec"]["autoApply"] is False
    results = found["status"]["profilingResults"]
    assert results["selectedConfig"]["kind"] == "DynamoGraphDeployment"
    assert results["pareto"]
    mounts = [
        mount["mountPath"]
        for part in results["selectedConfig"]["spec"]["components"]
        for mount in part["podTemplate"]["spec"]["containers"][0]["volumeMounts"]
    ]
    own = {f"/workspace/{name}" for name in ("planner_config", "profiling_results")}
    assert set(mounts) == {"/model-cache", *own}


def test_a_quick_start_is_deployed_answers_and_outlives_its_request(applied: Applied) -> None:
    kubectl = applied.kubectl
    kubectl.wait_phase("qwen-small", "Deployed")
    hardware = kubectl.read("dgdr", "qwen-small")["spec"]["hardware"]
    assert (hardware["gpuSku"], hardware["numGpusPerNode"]) == ("h200_sxm", 8)
    models = kubectl.ask("qwen-small-dgd-frontend", "/v1/models")
    assert [model["id"] for model in models["data"]] == ["Qwen/Qwen3-0.6B"]
    found = answer(kubectl, "qwen-small-dgd-frontend", "Qwen/Qwen3-0.6B")
    assert found["usage"]["prompt_tokens"] == 9
    assert found["usage"]["completion_tokens"] == 8

    kubectl("delete", "dgdr", "qwen-small", f"--timeout={LIMIT_S}s")
    assert kubectl.run("get", "dgdr", "qwen-small").returncode == 1
    eventually(lambda: kubectl.run("get", "job", "profile-qwen-small").returncode == 1)
    assert kubectl.read("dgd", "qwen-small-dgd")["status"]["state"] == "successful"
    assert answer(kubectl, "qwen-small-dgd-frontend", "Qwen/Qwen3-0.6B")["choices"]
    kubectl("delete", "dgd", "qwen-small-dgd")
    eventually(lambda: kubectl.run("get", "svc", "qwen-small-dgd-frontend").returncode == 1)


def test_what_does_not_fit_fails_with_the_reason(applied: Applied) -> None:
    kubectl = applied.kubectl
    kubectl.wait_phase("r1-tight", "Failed")
    found = kubectl.read("dgdr", "r1-tight")
    conditions = {each["type"]: each for each in found["status"]["conditions"]}
    assert conditions["Succeeded"]["status"] == "False"
    assert "does not fit on h200_sxm" in conditions["Succeeded"]["message"]
    assert kubectl.run("get", "dgd", "r1-tight-dgd").returncode == 1


def test_a_mixture_of_experts_takes_several_nodes(applied: Applied) -> None:
    kubectl = applied.kubectl
    kubectl.wait_phase("deepseek-r1", "Deployed")
    parts = {
        each["name"]: each for each in kubectl.read("dgd", "deepseek-r1-dgd")["spec"]["components"]
    }
    assert {"Frontend", "prefill", "decode"} <= set(parts)
    words = " ".join(parts["decode"]["podTemplate"]["spec"]["containers"][0]["args"])
    assert "--enable-dp-attention" in words
    assert "--disaggregation-mode decode" in words
    pods = kubectl.read(
        "pods", "--selector=nvidia.com/dynamo-graph-deployment-name=deepseek-r1-dgd"
    )
    nodes = [each["spec"]["nodeName"] for each in pods["items"] if _gpus(each)]
    assert sum(_gpus(each) for each in pods["items"]) <= 32
    assert len(nodes) == len(set(nodes)) >= 3
    found = answer(kubectl, "deepseek-r1-dgd-frontend", "deepseek-ai/DeepSeek-R1")
    assert found["usage"]["completion_tokens"] == 8
    kubectl("delete", "dgdr", "deepseek-r1")
    kubectl("delete", "dgd", "deepseek-r1-dgd")


def _gpus(pod: dict[str, Any]) -> int:
    limits = pod["spec"]["containers"][0].get("resources", {}).get("limits", {})
    return int(limits.get("nvidia.com/gpu", 0))


def burst(kubectl: Kubectl, service: str, requests: int) -> list[int]:
    """Requests with long prompts, all at once, by way of kubectl; the status of each."""
    question = {"role": "user", "content": "river " * 4000}
    body = {"model": LLAMA, "messages": [question], "max_tokens": 32}
    proxy = subprocess.Popen(
        kubectl.words("proxy", "--port=0"), env=kubectl.env, stdout=subprocess.PIPE, text=True
    )
    try:
        assert proxy.stdout is not None
        address = proxy.stdout.readline().split()[-1]
        path = f"/api/v1/namespaces/{NAMESPACE}/services/{service}:8000/proxy/v1/chat/completions"

        def send(_: int) -> int:
            answer = httpx.post(f"http://{address}{path}", json=body, timeout=60.0, trust_env=False)
            return answer.status_code

        with ThreadPoolExecutor(requests) as pool:
            return list(pool.map(send, range(requests)))
    finally:
        proxy.terminate()
        proxy.communicate(timeout=10)


def planner_events(kubectl: Kubectl) -> list[str]:
    items = kubectl.read("events", "--field-selector=reason=PlannerScaled")["items"]
    return [item["message"] for item in items]


def grows(text: str) -> bool:
    """Whether an Event of the planner orders more workers."""
    return any(int(old) < int(new) for old, new in re.findall(r"worker (\d+) -> (\d+)", text))


def planner_changes(kubectl: Kubectl) -> list[str]:
    lines = kubectl("logs", "deployment/llama-70b-dgd-planner").splitlines()
    rows = [json.loads(line) for line in lines if line.startswith("{")]
    return [change for row in rows for change in row["changes"]]


def test_auto_apply_deploys_and_the_planner_scales(applied: Applied, tmp_path: Path) -> None:
    kubectl = applied.kubectl
    assert kubectl.run("get", "dgd", "llama-70b-dgd").returncode == 1
    kubectl("patch", "dgdr", "llama-70b", "--type=merge", "-p", '{"spec": {"autoApply": true}}')
    kubectl.wait_phase("llama-70b", "Deployed")
    assert answer(kubectl, "llama-70b-dgd-frontend", LLAMA)["usage"]["completion_tokens"] == 8

    adapter = "llama-70b-dgd-worker"
    eventually(lambda: '"held": false' in kubectl("logs", "deployment/llama-70b-dgd-planner"))
    assert burst(kubectl, "llama-70b-dgd-frontend", 48) == [200] * 48
    eventually(lambda: [text for text in planner_events(kubectl) if grows(text)])
    eventually(lambda: kubectl.read("deployment", adapter)["status"].get("readyReplicas", 0) >= 2)
    for _ in range(4):
        assert answer(kubectl, "llama-70b-dgd-frontend", LLAMA)["choices"]
    # The burst is over: without further load the planner takes back what it has ordered.
    kubectl.wait(f"dgdsa/{adapter}", "jsonpath={.status.replicas}=1")
    kubectl.wait_phase("llama-70b", "Deployed")

    # What somebody else sets is a fact to the planner, and nobody needs it.
    done = planner_changes(kubectl).count("worker 2 -> 1")
    kubectl("scale", f"dgdsa/{adapter}", "--replicas=2")
    eventually(lambda: planner_changes(kubectl).count("worker 2 -> 1") > done)
    kubectl.wait(f"dgdsa/{adapter}", "jsonpath={.spec.replicas}=1")

    text = kubectl("describe", "dgdr", "llama-70b")
    assert "ProfilingJobCreated" in text
    assert "DeploymentReady" in text


def test_kubectl_shows_and_explains(applied: Applied) -> None:
    kubectl = applied.kubectl
    assert "PHASE" in kubectl("get", "dgdr", "llama-70b", "--output=wide")
    assert "kind: DynamoGraphDeploymentRequest" in kubectl("get", "dgdr", "llama-70b", "-o", "yaml")
    assert kubectl("get", "dgdr", "llama-70b", "-o", "jsonpath={.spec.backend}") == "vllm"
    names = kubectl("api-resources", "--api-group=nvidia.com")
    assert all(short in names for short in ("dgdr", "dgd", "dgdsa"))
    assert "ttft" in kubectl("explain", "dgdr.spec.sla")
    assert "picked" in kubectl("logs", "job/profile-llama-70b", "--container=profiler")


def test_the_watch_shows_phases_and_sub_phases(applied: Applied) -> None:
    applied.kubectl.wait_phase("r1-tight", "Failed")
    sub_phases = {"SweepingPrefill", "SelectingConfig", "BuildingCurves", "GeneratingDGD"}
    needed = {"Pending", "Profiling", "Initializing", *sub_phases, "Done", "Ready", "Failed"}
    assert eventually(lambda: needed <= set(applied.watched.read_text().split()))
