"""What end-to-end tests on Kubernetes share: kubectl, a cluster, an operator."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CLUSTER = (sys.executable, "-m", "harness", "cluster")
GIVEN = os.environ.get("E2E_KUBECONFIG", "")
# Pods of a real cluster take longer to start than processes.
LIMIT_S = 240 if GIVEN else 60


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


_FOUND = kubectl_binary()
KUBECTL = _FOUND or "kubectl"
NEEDS_KUBECTL = pytest.mark.skipif(_FOUND is None, reason="no kubectl of 1.32 or later here")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubectl:
    kubeconfig: str
    home: str
    namespace: str

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": self.kubeconfig, "HOME": self.home}

    def words(self, *words: str) -> list[str]:
        return [KUBECTL, "--namespace", self.namespace, *words]

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
        place = f"/api/v1/namespaces/{self.namespace}/services/{service}:8000/proxy{path}"
        if body is None:
            return json.loads(self("get", "--raw", place))
        return json.loads(self("create", "--raw", place, "-f", "-", text=json.dumps(body)))


def eventually(check: Callable[[], Any], limit_s: float = LIMIT_S) -> Any:
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        found = check()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("it did not happen in time")


@contextlib.contextmanager
def running_cluster(data: Path) -> Iterator[str]:
    """The embedded cluster; yields its kubeconfig."""
    size = ("--nodes", "6", "--gpus-per-node", "8", "--sku", "h200_sxm")
    started = subprocess.run(
        [*CLUSTER, "up", *size, "--data", str(data), "--json"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    try:
        yield json.loads(started.stdout)["kubeconfig"]
    finally:
        subprocess.run(
            [*CLUSTER, "down", "--data", str(data)], cwd=ROOT, capture_output=True, check=True
        )


@contextlib.contextmanager
def running_operator(kubectl: Kubectl, log: Path) -> Iterator[None]:
    """The installed operator, else a process of its own."""
    there = ("deployment/dgdr-operator", "--namespace=dgdr-system")
    if kubectl.run("get", *there).returncode == 0:
        kubectl("rollout", "status", *there, f"--timeout={LIMIT_S}s")
        yield
        return
    kubectl("apply", "--kustomize", "deploy/crds")
    for plural in ("requests", "s", "scalingadapters"):
        kubectl.wait(f"crd/dynamographdeployment{plural}.nvidia.com", "condition=Established")
    kubectl("apply", "-f", "deploy/base/roles.yaml")
    with log.open("w") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "dgdr.operator", "--kubeconfig", kubectl.kubeconfig],
            cwd=ROOT, stdout=sink, stderr=sink,
        )  # fmt: skip
        try:
            yield
        finally:
            process.terminate()
            code = process.wait(timeout=20)
    assert (code, "Traceback" in log.read_text()) == (0, False), log.read_text()


def start_prometheus(folder: Path, places: list[str]) -> tuple[subprocess.Popen[bytes], str]:
    """A Prometheus that scrapes these addresses twice a second, and its own address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = folder / "prometheus.yml"
    job = {"job_name": "pods", "static_configs": [{"targets": places}]}
    timing = {"scrape_interval": "500ms", "scrape_timeout": "500ms"}
    config.write_text(yaml.safe_dump({"global": timing, "scrape_configs": [job]}))
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return process, f"http://127.0.0.1:{port}"
