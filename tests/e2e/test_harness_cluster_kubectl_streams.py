"""``kubectl exec``, ``attach`` and ``port-forward`` on the embedded cluster."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import httpx
import pytest
from kubernetes_kit import KUBECTL, NEEDS_KUBECTL, eventually
from operator_kit import Cluster, cluster

pytestmark = [pytest.mark.slow, NEEDS_KUBECTL]

POD = """
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
  - name: main
    image: any
    env: [{name: COLOUR, value: green}]
    command: [python, -m, http.server, "8000", --bind, $(POD_IP)]
    ports: [{containerPort: 8000}]
    readinessProbe: {tcpSocket: {port: 8000}}
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("streams")) as made:
        made.kubectl("apply", "-f", "-", text=POD)
        made.kubectl("wait", "pod/web", "--for=condition=Ready", "--timeout=30s")
        yield made


def test_a_command_runs_beside_the_container(found: Cluster) -> None:
    result = found.run(KUBECTL, "exec", "web", "--", "sh", "-c", "echo $COLOUR; echo e >&2; exit 3")
    assert (result.stdout, result.returncode) == ("green\n", 3)
    assert result.stderr.startswith("e\n")
    assert found.kubectl("exec", "-i", "web", "--", "cat", text="typed\n") == "typed\n"
    result = found.run(KUBECTL, "exec", "web", "--", "no-such-program")
    assert result.returncode == 1
    assert "No such file or directory" in result.stderr


def test_output_is_followed_from_now_on_until_the_container_ends(found: Cluster) -> None:
    script = "echo before; until [ -e go ]; do sleep 0.1; done; echo after; echo e >&2"
    found.kubectl("run", "talks", "--image=any", "--restart=Never", "--command", "--", "sh", "-c",
                  script)  # fmt: skip
    found.kubectl("wait", "pod/talks", "--for=condition=Ready", "--timeout=30s")
    eventually(lambda: found.kubectl("logs", "talks") == "before\n", 10)
    attached = subprocess.Popen(
        [KUBECTL, "attach", "talks"], env=found.env, stdout=subprocess.PIPE, text=True
    )
    end = subprocess.Popen(["sh", "-c", "sleep 1; exec kubectl exec talks -- touch go"],
                           env=found.env)  # fmt: skip
    output, _ = attached.communicate(timeout=20)
    assert (attached.returncode, end.wait()) == (0, 0)
    assert "before" not in output
    assert output.endswith("after\ne\n")
    result = found.run(KUBECTL, "attach", "talks")
    assert result.returncode == 1
    assert "cannot attach a container in a completed pod" in result.stderr


def test_a_port_is_forwarded(found: Cluster) -> None:
    forward = subprocess.Popen(
        [KUBECTL, "port-forward", "pod/web", ":8000", "--address=127.0.0.1"],
        env=found.env,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert forward.stdout is not None
        address = forward.stdout.readline().split()[2]
        for _ in range(3):
            assert httpx.get(f"http://{address}/", timeout=10).status_code == 200
    finally:
        forward.terminate()
        forward.communicate(timeout=10)
