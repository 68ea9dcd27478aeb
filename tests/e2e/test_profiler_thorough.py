"""The measured search against mockers on the embedded cluster, through the operator."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from kubernetes import config, utils

from contracts.plan import Role
from dgdr import Dgdr, load_dgdr
from dgdr.operator.client import KubeClient
from dgdr.operator.clock import SystemClock
from dgdr.operator.resources import GRAPHS, PODS, REQUESTS
from dgdr.reconcile.actions import Ref
from profiler.thorough.bench import decode_burst, prefill_burst
from profiler.thorough.candidates import EngineCandidate, engine_candidates, kv_tokens_of
from profiler.thorough.doors import doors_of
from profiler.thorough.http import BuiltinMeasurer
from profiler.thorough.isolate import role_engine
from profiler.thorough.kubernetes import Doors, KubernetesDeployer, Patience
from profiler.thorough.options import DeployerKind, Identity, ThoroughOptions
from profiler.thorough.ports import Burst, Order
from profiler.thorough.rigs import Tools, WallClock
from profiler.thorough.run import run_thorough
from profiler.thorough.virtual import SimDeployer, VirtualClock, VirtualMeasurer
from profiler.thorough.wish import wish_of

ROOT = Path(__file__).parents[2]
CLUSTER = (sys.executable, "-m", "harness", "cluster")
NAMESPACE = "measured"
LIMIT_S = 120.0

pytestmark = pytest.mark.slow

REQUEST = """
apiVersion: nvidia.com/v1beta1
kind: DynamoGraphDeploymentRequest
metadata: {name: small, namespace: measured}
spec:
  model: Qwen/Qwen3-8B
  image: ai-dynamo/dynamo-planner:1.2.1
  backend: vllm
  searchStrategy: thorough
  autoApply: false
  sla: {ttft: 300, itl: 24}
  workload: {isl: 400, osl: 24}
  hardware: {gpuSku: l40s, numGpusPerNode: 4, totalGpus: 1}
"""


def request() -> Dgdr:
    return load_dgdr(REQUEST, source="test.yaml")


def candidate() -> EngineCandidate:
    found, _ = engine_candidates(wish_of(request()))
    return found[0]


def prepare(kubeconfig: str) -> None:
    """CRDs, roles, a namespace, and the secret that every pod mentions."""
    connection = config.new_client_from_config(kubeconfig)
    files = [ROOT / "deploy" / "base" / "roles.yaml", *(ROOT / "deploy" / "crds").glob("dyn*.yaml")]
    for path in files:
        for each in yaml.safe_load_all(path.read_text()):
            utils.create_from_dict(connection, each)
    meta = {"name": "hf-token-secret", "namespace": NAMESPACE}
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": meta,
        "stringData": {"HF_TOKEN": "x"},
    }
    for each in (space, secret):
        utils.create_from_dict(connection, each)
    connection.close()


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = str(tmp_path_factory.mktemp("cluster") / "c")
    size = ("--nodes", "1", "--gpus-per-node", "4", "--sku", "l40s")
    started = subprocess.run(
        [*CLUSTER, "up", *size, "--data", data, "--json"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    kubeconfig = json.loads(started.stdout)["kubeconfig"]
    prepare(kubeconfig)
    log = tmp_path_factory.mktemp("operator") / "log"
    with log.open("w") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "dgdr.operator", "--kubeconfig", kubeconfig],
            cwd=ROOT, stdout=sink, stderr=sink,
        )  # fmt: skip
        try:
            yield kubeconfig
        finally:
            process.terminate()
            process.wait(timeout=20)
            down = [*CLUSTER, "down", "--data", data]
            subprocess.run(down, cwd=ROOT, capture_output=True, check=True)
    assert "Traceback" not in log.read_text(), log.read_text()


@pytest.fixture
def api(kubeconfig: str) -> Iterator[KubeClient]:
    client = KubeClient(kubeconfig)
    yield client
    client.close()


def doors(api: KubeClient) -> Doors:
    """A second cluster on one machine may hold the address of a Service, so read where it is."""

    def url_of(name: str, namespace: str) -> str:
        ref = Ref(api_version="v1", kind="Service", namespace=namespace, name=f"{name}-frontend")
        service = api.get(ref)
        assert service is not None
        endpoint = (service["metadata"].get("annotations") or {}).get("cluster.harness/endpoint")
        return f"http://{endpoint.partition('=')[2]}"

    return replace(doors_of(api, "http"), url_of=url_of)


def deployer(api: KubeClient, *, speed: float) -> KubernetesDeployer:
    return KubernetesDeployer(
        api,
        request(),
        Identity(name="small", namespace=NAMESPACE),
        doors(api),
        Patience(deployment_s=60.0, poll_s=1.0),
        SystemClock(),
        logging.getLogger("test"),
        speed=speed,
    )


def nothing_is_left(api: KubeClient) -> bool:
    graphs = api.list(GRAPHS, NAMESPACE).items
    pods = [
        pod for pod in api.list(PODS, NAMESPACE).items
        if "nvidia.com/dynamo-graph-deployment-name" in pod["metadata"].get("labels", {})
    ]  # fmt: skip
    return not graphs and not pods


def short(burst: Burst) -> Burst:
    return replace(burst, osl=2, warmup=1)


def test_measured_curves_are_those_of_the_simulator_that_drives_the_mocker(
    api: KubeClient, tmp_path: Path, record_property
) -> None:
    one, clock, found = candidate(), VirtualClock(), {}
    for role, speed, bursts in (
        # A prompt of 50 ms takes a second here, so that a busy machine does not count.
        (Role.PREFILL, 0.05, [short(prefill_burst(1, isl, 3)) for isl in (600, 1500)]),
        (Role.DECODE, 1.0, [decode_burst(one, 200, 60, n, 0, 1) for n in (1, 4, 12)]),
    ):
        order = Order(
            label=one.label, engine=role_engine(one.engine, role), role=role, folder=tmp_path
        )
        with deployer(api, speed=speed).running(order) as served:
            assert served.kv_tokens == kv_tokens_of(one.engine)
            seen = [BuiltinMeasurer().measure(served, burst) for burst in bursts]
        with SimDeployer(clock).running(order) as virtual:
            wanted = [VirtualMeasurer(clock).measure(virtual, burst) for burst in bursts]
        for burst, measured, simulated in zip(bursts, seen, wanted, strict=True):
            assert measured.batch_full
            name = "ttft_ms" if role is Role.PREFILL else "itl_ms"
            ratio = getattr(measured, name) / getattr(simulated, name)
            found[f"{name} {burst.name}"] = round(ratio, 4)
    record_property("measured by simulated", found)
    ttft = [ratio for name, ratio in found.items() if name.startswith("ttft")]
    itl = [ratio for name, ratio in found.items() if name.startswith("itl")]
    assert all(abs(ratio - 1) < 0.05 for ratio in ttft), found
    assert all(abs(ratio - 1) < 0.03 for ratio in itl), found
    assert nothing_is_left(api)


def test_a_search_on_the_cluster_picks_what_the_simulator_picks(
    api: KubeClient, tmp_path: Path
) -> None:
    options = ThoroughOptions(deployer=DeployerKind.KUBERNETES)
    tools = Tools(deployer=deployer(api, speed=1.0), measurer=BuiltinMeasurer(), clock=WallClock())
    found = run_thorough(request(), tmp_path / "k", options, tools=tools)
    simulated = run_thorough(request(), tmp_path / "s", ThoroughOptions())
    assert (found.picked, found.sla_met) == (simulated.picked, True)
    assert nothing_is_left(api)
    config = yaml.safe_load((tmp_path / "k" / "agg_1gpus_tp1" / "config.yaml").read_text())
    assert config["kind"] == "DynamoGraphDeployment"
    logs = list((tmp_path / "k" / "agg_1gpus_tp1").glob(f"{config['metadata']['name']}/*/0.log"))
    assert {path.parent.name for path in logs} == {"frontend", "worker"}


def test_a_thorough_request_is_measured_by_its_job_and_becomes_ready(api: KubeClient) -> None:
    created = api.create(yaml.safe_load(REQUEST))
    ref, phases = Ref.of(created), set()
    end_s = time.monotonic() + LIMIT_S
    status: dict[str, object] = {}
    while time.monotonic() < end_s and status.get("phase") not in ("Ready", "Failed"):
        status = (api.get(ref) or {}).get("status") or {}
        phases.add(status.get("profilingPhase"))
        time.sleep(0.3)
    assert status.get("phase") == "Ready", status
    assert "SweepingDecode" in phases
    results = status["profilingResults"]
    assert results["selectedConfig"]["kind"] == "DynamoGraphDeployment"
    assert results["pareto"]
    assert nothing_is_left(api)
    api.delete(ref, created["metadata"]["uid"])
    assert api.list(REQUESTS, NAMESPACE)
