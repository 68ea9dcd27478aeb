"""The real server process: the official client, kubectl, kill -9."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException
from kubernetes_kit import CLUSTER, KUBECTL, NEEDS_KUBECTL, ROOT, eventually
from urllib3.exceptions import HTTPError

GROUP = "demo.example.com"
pytestmark = pytest.mark.slow


def command(*words: str) -> dict[str, Any]:
    result = subprocess.run(
        [*CLUSTER, *words, "--json"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.fixture
def started(tmp_path: Path) -> Iterator[dict[str, Any]]:
    found = command("up", "--data", str(tmp_path / "c"), "--backoff-s", "0.2")
    yield {**found, "data": str(tmp_path / "c")}
    command("down", "--data", str(tmp_path / "c"))


def api(kubeconfig: str) -> client.ApiClient:
    return config.new_client_from_config(config_file=kubeconfig)


def definition() -> dict[str, Any]:
    spec = {
        "type": "object",
        "required": ["model"],
        "properties": {
            "model": {"type": "string"},
            "replicas": {"type": "integer", "maximum": 10, "default": 1},
        },
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "singular": "widget"},
            "versions": [version],
        },
    }


def widget(name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name}
    return {"apiVersion": f"{GROUP}/v1", "kind": "Widget", "metadata": metadata, "spec": spec}


def job(name: str, script: str) -> dict[str, Any]:
    container = {"name": "main", "image": "any", "command": ["sh", "-c", script]}
    pod = {"restartPolicy": "Never", "containers": [container]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    }


def test_custom_resources_with_the_official_client(started: dict[str, Any]) -> None:
    with api(started["kubeconfig"]) as connection:
        client.ApiextensionsV1Api(connection).create_custom_resource_definition(definition())
        custom = client.CustomObjectsApi(connection)
        place = (GROUP, "v1", "default", "widgets")
        made = custom.create_namespaced_custom_object(*place, widget("a", model="m"))
        assert made["spec"] == {"model": "m", "replicas": 1}
        with pytest.raises(ApiException) as caught:
            custom.create_namespaced_custom_object(*place, widget("b", model="m", replicas=99))
        assert caught.value.status == 422
        assert "should be less than or equal to 10" in json.loads(caught.value.body)["message"]
        made["spec"]["replicas"] = 2
        custom.replace_namespaced_custom_object(*place, "a", made)
        with pytest.raises(ApiException) as caught:
            custom.replace_namespaced_custom_object(*place, "a", made)
        assert caught.value.status == 409
        version = made["metadata"]["resourceVersion"]
        stream = watch.Watch().stream(
            custom.list_namespaced_custom_object,
            *place,
            resource_version=version,
            timeout_seconds=2,
        )
        seen = [(event["type"], event["object"]["spec"]["replicas"]) for event in stream]
        assert seen == [("MODIFIED", 2)]
        subprocess.run(
            [*CLUSTER, "fault", '{"kind": "expire-watches"}', "--data", started["data"]],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        client.CoreV1Api(connection).create_namespace({"metadata": {"name": "later"}})
        with pytest.raises(ApiException) as caught:
            list(
                watch.Watch().stream(
                    custom.list_namespaced_custom_object,
                    *place,
                    resource_version=version,
                    timeout_seconds=2,
                )
            )
        assert caught.value.status == 410


def test_a_job_is_a_local_process_with_logs(started: dict[str, Any]) -> None:
    with api(started["kubeconfig"]) as connection:
        batch, core = client.BatchV1Api(connection), client.CoreV1Api(connection)
        script = "echo hello from $HOSTNAME; test -f $KUBECONFIG && echo has credentials"
        batch.create_namespaced_job("default", job("good", script))
        batch.create_namespaced_job("default", job("bad", "echo broken >&2; exit 7"))
        good = eventually(
            lambda: batch.read_namespaced_job("good", "default").status.completion_time
        )
        assert good is not None
        eventually(lambda: batch.read_namespaced_job("bad", "default").status.failed)
        pods = {
            pod.metadata.labels["job-name"]: pod
            for pod in core.list_namespaced_pod("default").items
        }
        text = core.read_namespaced_pod_log(pods["good"].metadata.name, "default")
        assert text == f"hello from {pods['good'].metadata.name}\nhas credentials\n"
        assert core.read_namespaced_pod_log(pods["bad"].metadata.name, "default") == "broken\n"
        state = pods["bad"].status.container_statuses[0].state.terminated
        assert state.exit_code == 7


def test_nothing_acknowledged_is_lost_by_kill_9(started: dict[str, Any], tmp_path: Path) -> None:
    pid = command("status", "--data", started["data"])["pid"]
    with api(started["kubeconfig"]) as connection:
        core, batch = client.CoreV1Api(connection), client.BatchV1Api(connection)
        batch.create_namespaced_job("default", job("long", f"sleep 3; echo end > {tmp_path}/out"))
        eventually(lambda: batch.read_namespaced_job("long", "default").status.ready)
        acknowledged: list[str] = []
        killer = threading.Timer(0.3, os.kill, (pid, signal.SIGKILL))
        killer.start()
        with contextlib.suppress(HTTPError, ApiException):  # the end comes in the middle
            for number in range(100_000):
                body = {"metadata": {"name": f"c{number}"}}
                core.create_namespaced_config_map("default", body, _request_timeout=5)
                acknowledged.append(f"c{number}")
        killer.join()
        assert len(acknowledged) > 5
    again = command("up", "--data", started["data"])
    assert again["state"] == "started"
    with api(started["kubeconfig"]) as connection:
        core, batch = client.CoreV1Api(connection), client.BatchV1Api(connection)
        names = {item.metadata.name for item in core.list_namespaced_config_map("default").items}
        assert set(acknowledged) <= names
        eventually(lambda: batch.read_namespaced_job("long", "default").status.succeeded)
        assert (tmp_path / "out").read_text() == "end\n"
        pods = core.list_namespaced_pod("default").items
        assert [pod.status.container_statuses[0].restart_count for pod in pods] == [0]


def test_status_of_a_cluster_that_does_not_run(tmp_path: Path) -> None:
    result = subprocess.run([*CLUSTER, "status", "--data", str(tmp_path)], cwd=ROOT)
    assert result.returncode == 1
    wrong = subprocess.run([*CLUSTER, "up", "--sku", "nope", "--data", str(tmp_path)], cwd=ROOT)
    assert wrong.returncode == 2


@NEEDS_KUBECTL
def test_kubectl(started: dict[str, Any], tmp_path: Path) -> None:
    env = {**os.environ, "KUBECONFIG": started["kubeconfig"], "HOME": str(tmp_path)}

    def kubectl(*words: str, code: int = 0, text: str = "") -> str:
        result = subprocess.run(
            [KUBECTL, *words], env=env, capture_output=True, text=True, input=text
        )
        assert result.returncode == code, result.stderr
        return result.stdout + result.stderr

    kubectl("apply", "-f", "-", text=json.dumps(definition()))
    kubectl("wait", "--for=condition=Established", f"crd/widgets.{GROUP}", "--timeout=5s")
    first = json.dumps(widget("a", model="m"))
    assert "created" in kubectl("apply", "-f", "-", text=first)
    assert "unchanged" in kubectl("apply", "-f", "-", text=first)
    wrong = json.dumps(widget("a", model="m", zz=1))
    assert 'unknown field "spec.zz"' in kubectl("apply", "-f", "-", text=wrong, code=1)
    high = json.dumps(widget("a", model="m", replicas=99))
    assert "less than or equal to 10" in kubectl("apply", "-f", "-", text=high, code=1)
    kubectl("patch", "widget", "a", "--type=merge", "-p", '{"spec": {"replicas": 3}}')
    assert kubectl("get", "widget", "a", "-o", "jsonpath={.spec.replicas}") == "3"
    assert "model\t<string> -required-" in kubectl("explain", "widget.spec")
    assert "containers" in kubectl("explain", "pod.spec")
    assert "widgets" in kubectl("api-resources")
    kubectl("create", "namespace", "n")
    kubectl("create", "configmap", "c", "--from-literal=a=b", "-n", "n")
    kubectl("create", "job", "j", "-n", "n", "--image=any", "--", "sh", "-c", "echo hi; sleep 1")
    kubectl("wait", "--for=condition=complete", "job/j", "-n", "n", "--timeout=15s")
    assert kubectl("logs", "-f", "job/j", "-n", "n") == "hi\n"
    assert "GPUS" in kubectl("get", "nodes", "-o", "wide")
    assert "SuccessfulCreate" in kubectl("describe", "job", "j", "-n", "n")
    script = "exec python -m http.server 8080 --bind $POD_IP"
    kubectl("create", "deployment", "web", "--image=any", "--", "sh", "-c", script)
    kubectl("rollout", "status", "deploy/web", "--timeout=15s")
    kubectl("scale", "deploy/web", "--replicas=2")
    kubectl("rollout", "status", "deploy/web", "--timeout=15s")
    kubectl("expose", "deploy/web", "--port=8080")
    path = "/api/v1/namespaces/default/services/web:8080/proxy/"

    def served() -> bool:
        words = [KUBECTL, "get", "--raw", path]
        return subprocess.run(words, env=env, capture_output=True).returncode == 0

    eventually(served)
    assert "no" in kubectl(
        "auth", "can-i", "list", "pods", "--as=system:serviceaccount:n:default", code=1
    )
    kubectl("delete", "namespace", "n", "--timeout=15s")
    kubectl("delete", "deploy/web", "widget/a")
    assert "No resources found" in kubectl("get", "widgets")
