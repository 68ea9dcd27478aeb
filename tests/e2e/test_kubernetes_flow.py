"""Requests to answers on a Kubernetes cluster, with kubectl as a user has it.

``E2E_KUBECONFIG`` names any cluster with the GPU labels that ``deploy/kind`` sets; without it
the embedded cluster is started. The operator is the installed one, else a process of its own.
Everything happens in a namespace that is deleted afterwards; installed CRDs and roles stay.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

ROOT = Path(__file__).parents[2]
REQUESTS = ROOT / "scenarios" / "dgdr" / "kubernetes"
CLUSTER = (sys.executable, "-m", "harness", "cluster")
GIVEN = os.environ.get("E2E_KUBECONFIG", "")
# Pods of a real cluster take longer to start than processes.
LIMIT_S = 240 if GIVEN else 30
READY_LIMIT_S = 120.0 if GIVEN else 10.0
NAMESPACE = f"e2e-{os.getpid()}"


def kubectl_binary() -> str | None:
    """A kubectl of 1.32 or later; some systems install one per version."""
    found = shutil.which("kubectl")
    if found is None:
        return None
    folder = Path(found).resolve().parent
    numbered = [path for path in folder.glob("kubectl.1.*") if int(path.suffix[1:]) >= 32]
    if numbered:
        return str(sorted(numbered)[-1])
    text = subprocess.run([found, "version", "--client"], capture_output=True, text=True).stdout
    version = re.search(r"v1\.(\d+)", text)
    return found if version and int(version[1]) >= 32 else None


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(kubectl_binary() is None, reason="no kubectl of 1.32 or later here"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubectl:
    kubeconfig: str
    home: str

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": self.kubeconfig, "HOME": self.home}

    def words(self, *words: str) -> list[str]:
        return [str(kubectl_binary()), "--namespace", NAMESPACE, *words]

    def run(self, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.words(*words), env=self.env, cwd=ROOT, capture_output=True, text=True, input=text
        )

    def __call__(self, *words: str, text: str = "") -> str:
        result = self.run(*words, text=text)
        assert result.returncode == 0, f"kubectl {' '.join(words)}: {result.stderr}"
        return result.stdout

    def read(self, *words: str) -> Any:
        return json.loads(self("get", *words, "--output=json"))

    def wait(self, what: str, condition: str) -> None:
        self("wait", what, f"--for={condition}", f"--timeout={LIMIT_S}s")

    def wait_phase(self, name: str, phase: str) -> None:
        self.wait(f"dgdr/{name}", f"jsonpath={{.status.phase}}={phase}")

    def ask(self, service: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """A request through the Service, by way of the API server."""
        place = f"/api/v1/namespaces/{NAMESPACE}/services/{service}:8000/proxy{path}"
        if body is None:
            return json.loads(self("get", "--raw", place))
        return json.loads(self("create", "--raw", place, "-f", "-", text=json.dumps(body)))


def eventually(check: Callable[[], Any]) -> Any:
    end_s = time.monotonic() + LIMIT_S
    while time.monotonic() < end_s:
        found = check()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("it did not happen in time")


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    home = str(tmp_path_factory.mktemp("home"))
    if GIVEN:
        yield Kubectl(kubeconfig=GIVEN, home=home)
        return
    data = str(tmp_path_factory.mktemp("cluster") / "c")
    size = ("--nodes", "4", "--gpus-per-node", "8", "--sku", "h200_sxm")
    started = subprocess.run(
        [*CLUSTER, "up", *size, "--data", data, "--json"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    yield Kubectl(kubeconfig=json.loads(started.stdout)["kubeconfig"], home=home)
    subprocess.run([*CLUSTER, "down", "--data", data], cwd=ROOT, capture_output=True, check=True)


@pytest.fixture(scope="module")
def operator(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    there = ("deployment/dgdr-operator", "--namespace=dgdr-system")
    if kubectl.run("get", *there).returncode == 0:
        kubectl("rollout", "status", *there, f"--timeout={LIMIT_S}s")
        yield
        return
    kubectl("apply", "--kustomize", "deploy/crds")
    for plural in ("requests", "s", "scalingadapters"):
        kubectl.wait(f"crd/dynamographdeployment{plural}.nvidia.com", "condition=Established")
    kubectl("apply", "-f", "deploy/base/roles.yaml")
    log = tmp_path_factory.mktemp("operator") / "log"
    with log.open("w") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "dgdr.operator", "--kubeconfig", kubectl.kubeconfig],
            cwd=ROOT, stdout=sink, stderr=sink,
        )  # fmt: skip
        yield
        process.terminate()
        code = process.wait(timeout=20)
    assert (code, "Traceback" in log.read_text()) == (0, False), log.read_text()


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """Attributes: ``ready_s`` from the first apply to its Ready; ``watched`` is kubectl's."""

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
        apply(kubectl, "deepseek-r1", {"totalGpus: 32": "totalGpus: 4"})
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
    assert f"{name} created" in kubectl("apply", "-f", "-", text=text)
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
    assert set(mounts) == {"/model-cache", "/workspace/planner_config"}


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
    kubectl.wait_phase("deepseek-r1", "Failed")
    found = kubectl.read("dgdr", "deepseek-r1")
    conditions = {each["type"]: each for each in found["status"]["conditions"]}
    assert conditions["Succeeded"]["status"] == "False"
    assert "does not fit on h200_sxm" in conditions["Succeeded"]["message"]
    assert kubectl.run("get", "dgd", "deepseek-r1-dgd").returncode == 1


def test_auto_apply_deploys_and_the_adapter_scales(applied: Applied) -> None:
    """The planner decides nothing on Kubernetes yet, so kubectl sets what it would set."""
    kubectl = applied.kubectl
    assert kubectl.run("get", "dgd", "llama-70b-dgd").returncode == 1
    kubectl("patch", "dgdr", "llama-70b", "--type=merge", "-p", '{"spec": {"autoApply": true}}')
    kubectl.wait_phase("llama-70b", "Deployed")
    model = "meta-llama/Llama-3.1-70B-Instruct"
    assert answer(kubectl, "llama-70b-dgd-frontend", model)["usage"]["completion_tokens"] == 8
    assert "settings are valid" in kubectl("logs", "deployment/llama-70b-dgd-planner")

    adapter = "llama-70b-dgd-worker"
    picked = kubectl.read("dgdsa", adapter)["spec"]["replicas"]
    kubectl("scale", f"dgdsa/{adapter}", f"--replicas={picked + 1}")
    kubectl.wait(f"deployment/{adapter}", f"jsonpath={{.status.readyReplicas}}={picked + 1}")
    kubectl.wait(f"dgdsa/{adapter}", f"jsonpath={{.status.replicas}}={picked + 1}")
    kubectl.wait_phase("llama-70b", "Deployed")
    for _ in range(4):
        assert answer(kubectl, "llama-70b-dgd-frontend", model)["choices"]
    kubectl("scale", f"dgdsa/{adapter}", f"--replicas={picked}")
    kubectl.wait(f"dgdsa/{adapter}", f"jsonpath={{.status.replicas}}={picked}")

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
    applied.kubectl.wait_phase("deepseek-r1", "Failed")
    # The copier looks every two seconds, so short sub-phases in between may be missed.
    needed = {"Pending", "Profiling", "Initializing", "Done", "Ready", "Failed"}
    eventually(lambda: needed <= set(applied.watched.read_text().split()))
