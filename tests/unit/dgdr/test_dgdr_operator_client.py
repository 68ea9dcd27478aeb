"""The official client, informers and a whole operator process over HTTP on loopback."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from dgdr_fake_api import FakeApi, VirtualClock
from dgdr_fake_server import FakeServer
from dgdr_operator_world import HARDWARE, NAMESPACE, World

from contracts.errors import InputError, PermanentError
from dgdr.operator.api import ApiError
from dgdr.operator.client import KubeClient
from dgdr.operator.clock import SystemClock
from dgdr.operator.copier import OutputCopier
from dgdr.operator.election import LeaseSettings
from dgdr.operator.manager import Manager, ManagerSettings
from dgdr.operator.output import follow
from dgdr.operator.resources import CONFIG_MAPS, REQUESTS, WORKER_SETS
from dgdr.operator.settings import CopierEnvironment, copier_environment, environment
from dgdr.operator.webhook import WebhookServer
from dgdr.reconcile.actions import Ref
from dgdr.reconcile.settings import OperatorSettings

ROOT = Path(__file__).parents[3]


@pytest.fixture
def server():
    server = FakeServer(FakeApi(VirtualClock()))
    yield server
    server.close()


@pytest.fixture
def client(server, tmp_path):
    client = KubeClient(server.kubeconfig(tmp_path))
    yield client
    client.close()


def _map(name: str, **labels: str):
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1"}}


def test_objects_over_http(client, server):
    made = client.create(_map("one"))
    ref = Ref.of(made)
    assert client.get(ref) == made
    with pytest.raises(ApiError) as caught:
        client.create(_map("one"))
    assert caught.value.exists
    changed = client.patch(ref, {"data": {"a": "2"}})
    with pytest.raises(ApiError) as caught:
        client.replace(made)
    assert caught.value.conflict
    stale = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}}
    with pytest.raises(ApiError) as caught:
        client.patch(ref, stale)
    assert caught.value.conflict
    assert client.replace({**changed, "data": {"a": "3"}})["data"] == {"a": "3"}
    client.delete(ref, made["metadata"]["uid"])
    assert client.get(ref) is None
    with pytest.raises(ApiError) as caught:
        client.delete(ref, made["metadata"]["uid"])
    assert caught.value.missing
    assert client.serves(WORKER_SETS) is False
    headers = {method: found for method, _, found in server.requests}
    assert headers["PATCH"]["Content-Type"] == "application/merge-patch+json"
    lower = {key.lower(): value for key, value in headers["GET"].items()}
    assert lower["authorization"] == "Bearer secret-token"


def test_lists_come_in_pages_and_items_know_their_kind(client, monkeypatch):
    monkeypatch.setattr("dgdr.operator.client._PAGE", 2)
    for number in range(5):
        client.create(_map(f"m{number}", even=str(number % 2 == 0)))
    listing = client.list(CONFIG_MAPS, NAMESPACE)
    assert [item["metadata"]["name"] for item in listing.items] == [f"m{n}" for n in range(5)]
    assert {(i["apiVersion"], i["kind"]) for i in listing.items} == {("v1", "ConfigMap")}
    assert len(client.list(CONFIG_MAPS, None, "even=True").items) == 3


def test_watches(client, server):
    client.create(_map("one"))
    version = client.list(CONFIG_MAPS).resource_version
    made = client.create(_map("two"))
    client.delete(Ref.of(made), made["metadata"]["uid"])
    events = client.watch(CONFIG_MAPS, None, "", version)
    assert [(next(events).kind) for _ in range(2)] == ["ADDED", "DELETED"]
    events.close()
    server.api.compact()
    with pytest.raises(ApiError) as caught:
        list(client.watch(CONFIG_MAPS, None, "", "1"))
    assert caught.value.expired


def test_an_api_that_is_not_there(tmp_path, server):
    path = server.kubeconfig(tmp_path)
    server.close()
    server.close = lambda: None  # type: ignore[method-assign]
    with pytest.raises(ApiError) as caught:
        KubeClient(path).list(CONFIG_MAPS)
    assert caught.value.status == 0
    assert not caught.value.refused
    with pytest.raises(InputError, match=r"--kubeconfig: is no file \(got .*missing.yaml"):
        KubeClient(str(tmp_path / "missing.yaml"))
    (tmp_path / "empty.yaml").touch()
    with pytest.raises(PermanentError, match="give --kubeconfig FILE"):
        KubeClient(str(tmp_path / "empty.yaml"))


@pytest.mark.slow
def test_an_operator_process_from_request_to_deployment(server, client):
    """Threads, informers, election and election's end, with the real client."""
    world = World()
    world.api = server.api
    settings = ManagerSettings(
        operator=OperatorSettings(default_image="reg/dynamo-planner:1.2.1"),
        identity="op-1",
        lease=LeaseSettings(namespace="ops", retry_s=0.1),
    )
    manager = Manager(client, SystemClock(), settings)
    thread = threading.Thread(target=manager.run)
    thread.start()
    names = [f"r{number}" for number in range(5)]
    try:
        assert manager.ready.wait(5)
        with server.lock:
            for name in names:
                world.submit(name, {"hardware": HARDWARE})
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with server.lock:
                world.run_jobs()
                _run_workloads(world)
                if all(world.phase(name) == "Deployed" for name in names):
                    break
            time.sleep(0.05)
    finally:
        manager.stop()
        thread.join(10)
    assert not thread.is_alive()
    assert [world.phase(name) for name in names] == ["Deployed"] * 5
    for name in names:
        assert server.api.created[f"Job/{NAMESPACE}/profile-{name}"] == 1
        assert world.status(name)["deploymentInfo"] == {"replicas": 1, "availableReplicas": 1}
    lease = server.api.objects[("Lease", "ops", "dgdr-operator")]
    assert lease["spec"]["holderIdentity"] == ""
    assert not manager.lost


def _run_workloads(world: World) -> None:
    """What the Deployment controller of a cluster does."""
    for (kind, *_), item in list(world.api.objects.items()):
        if kind == "Deployment":
            count = item["spec"]["replicas"]
            keys = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
            status = dict.fromkeys(keys, count)
            status["observedGeneration"] = item["metadata"]["generation"]
            world.api.patch(Ref.of(item), {"status": status}, status=True)


def test_the_copier(tmp_path, client):
    about = CopierEnvironment(name="demo", namespace=NAMESPACE, uid="u1", pod="p1")
    clock = VirtualClock()
    copier = OutputCopier(client, clock, tmp_path, about)
    assert copier.poll() is None
    assert client.list(CONFIG_MAPS).items == ()
    _write_status(tmp_path, status="running", phase="SweepingPrefill", message="1/2")
    assert copier.poll() is None
    (found,) = client.list(CONFIG_MAPS).items
    assert found["metadata"]["name"] == "dgdr-output-demo"
    assert found["metadata"]["ownerReferences"][0]["uid"] == "u1"
    assert found["metadata"]["labels"]["dgdr.nvidia.com/name"] == "demo"
    data = {"phase": "SweepingPrefill", "message": "1/2", "phases": "SweepingPrefill"}
    assert found["data"] == data
    phases = ["Initializing", "SweepingPrefill", "BuildingCurves", "Done"]
    _write_status(tmp_path, status="success", phase="Done", message="ok", phases=phases)
    (tmp_path / "final_config.yaml").write_text("kind: DynamoGraphDeployment\n")
    (tmp_path / "pareto.json").write_text('{"points": []}')
    assert follow(copier, clock, poll_s=10, exit_wait_s=120) == 0
    (found,) = client.list(CONFIG_MAPS).items
    assert found["data"]["profiler_status"] == "success"
    assert found["data"]["phases"] == "Initializing SweepingPrefill BuildingCurves Done"
    assert found["data"]["final_config.yaml"] == "kind: DynamoGraphDeployment\n"
    assert set(found["data"]) == {
        *("phase", "message", "profiler_status", "final_config.yaml", "pareto.json"),
        *("profiler_status.yaml", "phases"),
    }


def test_the_copier_shows_phases_at_once_and_messages_now_and_then(tmp_path, client):
    clock = VirtualClock()
    about = CopierEnvironment(name="demo", namespace=NAMESPACE, uid="u1", pod="p1")
    copier = OutputCopier(client, clock, tmp_path, about)

    def shown(phase: str, message: str) -> tuple[str, str]:
        _write_status(tmp_path, status="running", phase=phase, message=message)
        assert copier.poll() is None
        (found,) = client.list(CONFIG_MAPS).items
        return found["data"]["phase"], found["data"]["message"]

    assert shown("Initializing", "started") == ("Initializing", "started")
    assert shown("SweepingPrefill", "1/9") == ("SweepingPrefill", "1/9")
    assert shown("SweepingPrefill", "2/9") == ("SweepingPrefill", "1/9")
    clock.now_s += 2.0
    assert shown("SweepingPrefill", "3/9") == ("SweepingPrefill", "3/9")
    assert shown("SelectingConfig", "6 of 9") == ("SelectingConfig", "6 of 9")


def test_the_copier_reports_failures_and_silence(tmp_path, client):
    about = CopierEnvironment(name="demo", namespace=NAMESPACE, uid="u1", pod="p1")
    clock = VirtualClock()
    copier = OutputCopier(client, clock, tmp_path, about)
    state = {"terminated": {"exitCode": 1}}
    status = {"containerStatuses": [{"name": "profiler", "state": state}]}
    metadata = {"name": "p1", "namespace": NAMESPACE}
    client.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status})
    before_s = clock.now_s
    assert follow(copier, clock, poll_s=10, exit_wait_s=120) == 1
    assert clock.now_s - before_s == 120
    _write_status(tmp_path, status="failed", message="m", error="out of memory", phase="Done")
    assert follow(copier, clock, poll_s=10, exit_wait_s=120) == 0
    (found,) = client.list(CONFIG_MAPS).items
    assert found["data"]["profiler_error"] == "out of memory"


def _write_status(folder: Path, **content: object) -> None:
    (folder / "profiler_status.yaml").write_text(json.dumps(content))


def _start(*options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dgdr.operator", *options]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_the_process_ends_when_told_to(server, tmp_path):
    world = World()
    world.api = server.api
    process = _start("--kubeconfig", server.kubeconfig(tmp_path), "--health-port", "0")
    try:
        with server.lock:
            world.submit("demo", {"image": "reg/dynamo-planner:1.2.1"})
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and world.phase("demo") != "Profiling":
            time.sleep(0.1)
        process.terminate()
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert world.phase("demo") == "Profiling"
    assert process.returncode == 0, errors


@pytest.mark.slow
@pytest.mark.parametrize(("options", "code"), [(["--kubeconfig", "missing"], 2), (["--what"], 2)])
def test_the_process_says_what_is_wrong(options, code):
    process = _start(*options)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert "error: " in errors


def test_environments():
    with pytest.raises(InputError, match="DGDR_UID"):
        copier_environment({"DGDR_NAME": "a", "DGDR_NAMESPACE": "b"})
    found = copier_environment({"DGDR_NAME": "a", "DGDR_NAMESPACE": "b", "DGDR_UID": "c"})
    assert (found.name, found.pod) == ("a", None)
    around = environment({"POD_NAME": "p", "POD_NAMESPACE": "n"})
    assert (around.identity, around.namespace) == ("p", "n")
    assert "{ip}" in around.metrics_template


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl here")
def test_the_webhook_speaks_tls(tmp_path):
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", str(tmp_path / "tls.key"), "-out", str(tmp_path / "tls.crt")]
    subprocess.run(command, check=True, capture_output=True)
    server = WebhookServer(0, tmp_path, host="127.0.0.1")
    server.start()
    context = ssl.create_default_context(cafile=str(tmp_path / "tls.crt"))
    try:
        silent = socket.create_connection(("127.0.0.1", server.port))  # holds nobody up
        url = f"https://localhost:{server.port}/healthz"
        with urllib.request.urlopen(url, context=context, timeout=5) as answer:
            assert answer.status == 200
        silent.close()
    finally:
        server.close()


def test_the_webhook(tmp_path):
    server = WebhookServer(0, host="127.0.0.1")
    server.start()
    url = f"http://127.0.0.1:{server.port}"
    try:
        with urllib.request.urlopen(f"{url}/healthz") as answer:
            assert answer.status == 200
        old = {
            "apiVersion": "nvidia.com/v1alpha1",
            "kind": REQUESTS.kind,
            "metadata": {"name": "x"},
            "spec": {"model": "m", "backend": "vllm", "profilingConfig": {"profilerImage": "i"}},
        }
        request = {"uid": "u", "desiredAPIVersion": "nvidia.com/v1beta1", "objects": [old]}
        review = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview"}
        body = json.dumps({**review, "request": request}).encode()
        with urllib.request.urlopen(f"{url}/convert", data=body) as answer:
            response = json.load(answer)["response"]
        assert response["convertedObjects"][0]["spec"]["image"] == "i"
        for path, wrong, code in (("/convert", b"{}", 400), ("/other", b"{}", 404)):
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(f"{url}{path}", data=wrong)
            assert caught.value.code == code
            caught.value.close()
    finally:
        server.close()
    with pytest.raises(InputError):
        WebhookServer(0, tmp_path, host="127.0.0.1")
