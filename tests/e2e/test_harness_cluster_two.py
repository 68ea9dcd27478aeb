"""Two embedded clusters on one machine at the same time do not see each other."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import httpx
import pytest
from kubernetes_kit import CLUSTER, NEEDS_KUBECTL, eventually
from operator_kit import Cluster, cluster

pytestmark = [pytest.mark.slow, NEEDS_KUBECTL]

WEB = """
apiVersion: v1
kind: Pod
metadata: {{name: web, labels: {{app: web}}}}
spec:
  containers:
  - name: main
    image: any
    command: [sh, -c, "echo {name} > who; exec python3 -m http.server 8000 --bind $POD_IP"]
    readinessProbe: {{tcpSocket: {{port: 8000}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{selector: {{app: web}}, ports: [{{port: 8000}}]}}
"""


@pytest.fixture
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Cluster]]:
    folders = {name: tmp_path_factory.mktemp(name) for name in ("one", "two")}
    with cluster(folders["one"]) as first, cluster(folders["two"]) as second:
        yield {"one": first, "two": second}


def address(made: Cluster) -> str:
    ip: str = made.read("service", "web")["spec"]["clusterIP"]
    return ip


def who(made: Cluster) -> str:
    return httpx.get(f"http://{address(made)}:8000/who", timeout=10).text.strip()


def test_the_same_names_and_ports_lead_to_different_pods(two: dict[str, Cluster]) -> None:
    for name, made in two.items():
        made.kubectl("apply", "-f", "-", text=WEB.format(name=name))
    for made in two.values():
        made.kubectl("wait", "pod/web", "--for=condition=Ready", "--timeout=30s")
    for _ in range(3):
        assert {name: who(made) for name, made in two.items()} == {"one": "one", "two": "two"}
    pods = {made.read("pod", "web")["status"]["podIP"] for made in two.values()}
    assert len(pods | {address(made) for made in two.values()}) == 4

    before = address(two["one"])
    state = json.loads((two["one"].folder / "server.json").read_text())
    os.kill(state["pid"], signal.SIGKILL)
    port = state["url"].rpartition(":")[2]
    back = two["one"].run(*CLUSTER, "up", "--data", str(two["one"].folder), "--port", port)
    assert back.returncode == 0, back.stderr
    assert address(two["one"]) == before
    eventually(lambda: who(two["one"]) == "one", 20)
    assert who(two["two"]) == "two"
