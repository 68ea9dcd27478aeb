"""The Kubernetes deployer against a scripted cluster."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from thorough_samples import request, wish

from contracts.errors import PermanentError
from contracts.plan import Role
from dgdr.operator.api import ApiError, Listing
from dgdr.operator.resources import GRAPHS, Resource
from dgdr.reconcile.actions import Json, Ref
from profiler.thorough.candidates import engine_candidates, kv_tokens_of
from profiler.thorough.capacity import from_log, from_metrics, kv_capacity
from profiler.thorough.doors import frontend_url
from profiler.thorough.isolate import role_engine
from profiler.thorough.kubernetes import PATIENCE_S, Doors, KubernetesDeployer, Patience
from profiler.thorough.manifest import PROFILING_LABEL
from profiler.thorough.options import Identity
from profiler.thorough.pods import troubles
from profiler.thorough.ports import CandidateError, Order, OutputError

READY: Json = {
    "state": "successful",
    "observedGeneration": 1,
    "conditions": [{"type": "Ready", "status": "True", "message": "all resources are ready"}],
}
PENDING: Json = {
    "state": "pending",
    "observedGeneration": 1,
    "conditions": [
        {"type": "Ready", "status": "False", "message": "resources not ready: [worker]"}
    ],
}


def container(state: Json, *, restarts: int = 0, last: Json | None = None) -> Json:
    return {"name": "main", "image": "r/vllm:1", "state": state, "restartCount": restarts,
            "lastState": last or {}}  # fmt: skip


def waiting(reason: str) -> Json:
    return {"waiting": {"reason": reason, "message": "back-off"}}


@dataclass
class FakeCluster:
    """Holds deployments; each has a frontend and a worker pod until it is deleted."""

    status: list[Json] = field(default_factory=lambda: [PENDING, READY])
    worker: Json = field(default_factory=lambda: container({"running": {}}))
    words: str = ""
    graphs: dict[str, Json] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    errors: list[ApiError] = field(default_factory=list)
    refusal: ApiError | None = None
    stuck: int = 0

    def get(self, ref: Ref) -> Json | None:
        if self.errors:
            raise self.errors.pop(0)
        if ref.kind == "Service":
            return {"spec": {"clusterIP": "10.0.0.7"}}
        graph = self.graphs.get(ref.name)
        if graph is None:
            return None
        status = self.status.pop(0) if len(self.status) > 1 else self.status[0]
        return {**graph, "status": status}

    def list(self, resource: Resource, namespace: str | None = None, selector: str = "") -> Listing:
        if resource == GRAPHS:
            key, _, value = selector.partition("=")
            items = [g for g in self.graphs.values() if g["metadata"]["labels"].get(key) == value]
            return Listing(items=tuple(items), resource_version="1")
        name = selector.partition("=")[2]
        if name not in self.graphs and self.stuck > 0:
            self.stuck -= 1
        elif name not in self.graphs:
            return Listing(items=(), resource_version="1")
        return Listing(items=tuple(self.pod(name, c) for c in ("Frontend", "worker")),
                       resource_version="1")  # fmt: skip

    def pod(self, name: str, component: str) -> Json:
        status = container({"running": {}}) if component == "Frontend" else self.worker
        return {
            "metadata": {"name": f"{name}-{component.lower()}-0",
                         "labels": {"nvidia.com/dynamo-component": component}},
            "spec": {"containers": [{"name": "main"}]},
            "status": {"podIP": "10.1.1.1", "containerStatuses": [status]},
        }  # fmt: skip

    def create(self, data: Json) -> Json:
        if self.refusal is not None:
            raise self.refusal
        metadata = {**data["metadata"], "uid": "u-1", "generation": 1}
        self.graphs[metadata["name"]] = {**data, "metadata": metadata}
        return self.graphs[metadata["name"]]

    def delete(self, ref: Ref, uid: str) -> None:
        if self.errors:
            raise self.errors.pop(0)
        if ref.name not in self.graphs:
            raise ApiError(404, "NotFound", ref.name)
        self.deleted.append(ref.name)
        del self.graphs[ref.name]

    def log(self, pod: Ref, name: str, *, previous: bool = False) -> str:
        if previous:
            return "torch.OutOfMemoryError: CUDA out of memory"
        return self.words if "worker" in pod.name else "frontend is up\n"


class FakeClock:
    """Passes when somebody waits."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.interrupt_at_s = float("inf")

    def unix_s(self) -> float:
        return self.now_s

    def steady_s(self) -> float:
        return self.now_s

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        self.now_s += seconds
        if self.now_s >= self.interrupt_at_s:
            self.interrupt_at_s = float("inf")
            raise KeyboardInterrupt
        return False


def order(folder: Path, role: Role = Role.AGG, **changes: str) -> Order:
    engine = engine_candidates(wish(**changes))[0][0].engine
    place = folder / f"{role.value}_1gpus_tp1"
    return Order(label="tp1", engine=role_engine(engine, role), role=role, folder=place)


def deployer(
    cluster: FakeCluster, clock: FakeClock | None = None, *, answers: Any = None, **changes: str
) -> KubernetesDeployer:
    doors = Doors(
        url_of=lambda name, namespace: f"http://{name}-frontend.{namespace}:8000",
        answers=answers or (lambda url, model: None),
        metrics=lambda places: [],
    )
    return KubernetesDeployer(
        cluster,
        request(**changes),
        Identity(name="small", namespace="ns", uid="u-0"),
        doors,
        Patience(deployment_s=600.0, poll_s=20.0),
        clock or FakeClock(),
        logging.getLogger("test"),
    )


def refused(cluster: FakeCluster, tmp_path: Path, clock: FakeClock | None = None) -> str:
    with (
        pytest.raises(CandidateError) as caught,
        deployer(cluster, clock).running(order(tmp_path)),
    ):
        raise AssertionError("it must not come up")
    assert cluster.graphs == {}
    return str(caught.value)


def test_a_candidate_is_owned_labelled_collected_and_deleted(tmp_path):
    cluster = FakeCluster(words="Maximum concurrency for 4,096 tokens per request: 2.50x\n")
    place = order(tmp_path, Role.PREFILL)
    with deployer(cluster).running(place) as served:
        ((name, graph),) = cluster.graphs.items()
        assert served.url == f"http://{name}-frontend.ns:8000"
        assert (served.kv_tokens, served.kv_source) == (10_240, "log")
    assert (cluster.deleted, cluster.graphs) == ([name], {})
    assert name.startswith("small-")
    assert len(name) == len("small-") + 4
    metadata = graph["metadata"]
    assert metadata["labels"][PROFILING_LABEL] == "small"
    assert metadata["ownerReferences"][0]["uid"] == "u-0"
    assert metadata["ownerReferences"][0]["kind"] == "DynamoGraphDeploymentRequest"
    written = yaml.safe_load((place.folder / "config.yaml").read_text())
    args = written["spec"]["components"][1]["podTemplate"]["spec"]["containers"][0]["args"]
    assert "--no-enable-prefix-caching" in args
    assert "--disaggregation-mode" not in args
    assert (place.folder / name / "frontend" / "0.log").read_text() == "frontend is up\n"
    assert "Maximum concurrency" in (place.folder / name / "worker" / "0.log").read_text()


def test_names_differ_by_engine_and_role(tmp_path):
    names = set()
    for role in Role:
        cluster = FakeCluster()
        with deployer(cluster).running(order(tmp_path, role)):
            names |= set(cluster.graphs)
    assert len(names) == 3


def test_never_ready_says_what_is_missing_and_how_long_it_took(tmp_path):
    clock = FakeClock()
    text = refused(FakeCluster(status=[PENDING]), tmp_path, clock)
    assert text == "not ready after 600 s: state pending, resources not ready: [worker]"
    assert 600 <= clock.now_s < 640


@pytest.mark.parametrize(
    ("worker", "words"),
    [
        (container(waiting("CrashLoopBackOff"), restarts=3, last={"terminated": {"exitCode": 1}}),
         "crash loop: 3 restarts, last exit code 1; last words: torch.OutOfMemoryError"),
        (container(waiting("CrashLoopBackOff"), restarts=1,
                   last={"terminated": {"reason": "OOMKilled", "exitCode": 137}}),
         "out of memory: the container was killed (OOMKilled); last words: torch"),
        (container({"terminated": {"reason": "OOMKilled", "exitCode": 137}}), "OOMKilled"),
        (container(waiting("InvalidImageName")), "image r/vllm:1 cannot be pulled: InvalidImage"),
    ],
)  # fmt: skip
def test_what_waiting_cannot_mend_fails_at_once(tmp_path, worker, words):
    clock = FakeClock()
    assert words in refused(FakeCluster(status=[PENDING], worker=worker), tmp_path, clock)
    assert clock.now_s < 5


def test_an_image_that_is_not_pulled_gets_some_time(tmp_path):
    clock = FakeClock()
    cluster = FakeCluster(status=[PENDING], worker=container(waiting("ImagePullBackOff")))
    assert "cannot be pulled: ImagePullBackOff back-off" in refused(cluster, tmp_path, clock)
    assert PATIENCE_S <= clock.now_s < PATIENCE_S + 30
    late = FakeCluster(status=[PENDING] * 20 + [READY],
                       worker=container(waiting("ErrImagePull")))  # fmt: skip
    with deployer(late).running(order(tmp_path)):
        assert late.graphs


def test_a_failed_or_vanished_deployment_is_a_failed_candidate(tmp_path):
    failed: Json = {"state": "failed", "conditions": [{"type": "Ready", "message": "no nodes"}]}
    assert "no nodes" in refused(FakeCluster(status=[failed]), tmp_path)
    cluster = FakeCluster(status=[PENDING])
    clock = FakeClock()
    look = cluster.list

    def vanish(resource, namespace=None, selector=""):
        cluster.graphs.clear()
        return look(resource, namespace, selector)

    cluster.list = vanish  # type: ignore[method-assign]
    with pytest.raises(CandidateError, match="deleted by somebody else"):
        deployer(cluster, clock).running(order(tmp_path)).__enter__()


def test_a_frontend_that_never_serves_the_model_is_a_failed_candidate(tmp_path):
    cluster = FakeCluster()
    broken = deployer(cluster, answers=lambda url, model: "http 503")
    with (
        pytest.raises(CandidateError, match=r"does not serve Qwen/Qwen3-8B: http 503"),
        broken.running(order(tmp_path)),
    ):
        raise AssertionError("it must not come up")
    assert cluster.graphs == {}


def test_outages_of_the_api_are_waited_for(tmp_path):
    cluster = FakeCluster(errors=[ApiError(500, "Internal", "x"), ApiError(0, "Unreachable", "x")])
    with deployer(cluster).running(order(tmp_path)):
        cluster.errors = [ApiError(429, "TooManyRequests", "later"), ApiError(0, "", "gone")]
        cluster.stuck = 3
    assert cluster.graphs == {}


def test_refused_manifests_fail_the_candidate_and_missing_rights_the_search(tmp_path):
    cluster = FakeCluster(refusal=ApiError(422, "Invalid", "spec.components[1] is wrong"))
    assert "is refused: Invalid: spec.components[1]" in refused(cluster, tmp_path)
    cluster.refusal = ApiError(403, "Forbidden", "no create")
    with pytest.raises(PermanentError, match="cannot be created: Forbidden") as caught:
        deployer(cluster).running(order(tmp_path)).__enter__()
    assert not isinstance(caught.value, CandidateError)


@pytest.mark.parametrize("at_s", [0.1, 3.0])
def test_an_interrupt_takes_the_deployment_down(tmp_path, at_s):
    cluster, clock = FakeCluster(status=[PENDING]), FakeClock()
    clock.interrupt_at_s = at_s
    with (
        pytest.raises(KeyboardInterrupt),
        deployer(cluster, clock).running(order(tmp_path)),
    ):
        raise AssertionError("it must not come up")
    assert cluster.graphs == {}
    assert cluster.deleted


def test_a_full_disk_ends_the_search_but_not_without_deleting(tmp_path, monkeypatch):
    cluster = FakeCluster()
    tool = deployer(cluster)

    def full(path: Path, text: str) -> Path:
        if path.suffix == ".log":
            raise OSError(28, "No space left on device")
        return path

    monkeypatch.setattr("profiler.thorough.kubernetes.write_text", full)
    with pytest.raises(OutputError, match="No space left"), tool.running(order(tmp_path)):
        pass
    assert cluster.graphs == {}


def test_deployments_that_an_earlier_run_left_are_removed(tmp_path):
    cluster = FakeCluster(status=[PENDING])
    cluster.create({"metadata": {"name": "small-0bad", "labels": {PROFILING_LABEL: "small"}}})
    cluster.create({"metadata": {"name": "other", "labels": {PROFILING_LABEL: "other"}}})
    assert deployer(cluster).remove_leftovers() == 1
    assert list(cluster.graphs) == ["other"]


def test_spread_experts_of_sglang_are_balanced_in_turn(tmp_path):
    changes = {
        "backend": "sglang", "model": "Qwen/Qwen3-30B-A3B",
        "hardware": "{gpuSku: h200_sxm, numGpusPerNode: 8, totalGpus: 8}",
    }  # fmt: skip
    place = order(tmp_path, Role.DECODE, **changes)
    with deployer(FakeCluster(), **changes).running(place):
        text = (place.folder / "config.yaml").read_text()
    assert text.count("--load-balance-method") == 1


def test_kv_capacity_comes_from_the_log_then_metrics_then_the_plan():
    engines = {
        backend: engine_candidates(wish(backend=backend))[0][0].engine
        for backend in ("vllm", "sglang", "trtllm")
    }
    vllm, sglang, trtllm = engines.values()
    assert from_log(sglang.backend, "KV Cache is allocated. #tokens: 1234, K size", 2) == 2468
    said = "paged KV cache (10)\nAllocated 3 GiB for max tokens in paged KV cache (999)."
    assert from_log(trtllm.backend, said, 4) == 999
    assert from_log(vllm.backend, "nothing", 1) is None
    info = 'vllm:cache_config_info{block_size="16",num_gpu_blocks="100"} 1.0\n'
    assert from_metrics(info, 2) == 3200
    assert from_metrics('sglang:max_total_num_tokens{tp_rank="0"} 5000\n', 1) == 5000
    front = (
        'dynamo_frontend_model_total_kv_blocks{model="m"} 10\n'
        'dynamo_frontend_model_kv_cache_block_size{model="m"} 16\n'
    )
    assert from_metrics(front, 1) == 160
    assert from_metrics("not { metrics", 1) is None
    assert kv_capacity(vllm, "", ["", info]) == (1600, "metrics")
    assert kv_capacity(vllm, "", []) == (kv_tokens_of(vllm), "planned")


def test_without_cluster_dns_the_address_of_the_service_is_used():
    cluster = FakeCluster()
    assert frontend_url(cluster, "d", "ns", "https", lambda host: True) == (
        "https://d-frontend.ns.svc.cluster.local:8000"
    )
    assert frontend_url(cluster, "d", "ns", "http", lambda host: False) == "http://10.0.0.7:8000"
    cluster.errors = [ApiError(403, "Forbidden", "no services")]
    with pytest.raises(PermanentError, match="does not resolve"):
        frontend_url(cluster, "d", "ns", "http", lambda host: False)


def test_pods_that_cannot_be_scheduled_are_waited_for():
    condition = {"type": "PodScheduled", "status": "False", "message": "0/4 nodes: no GPU"}
    pod = {"metadata": {"name": "p"}, "status": {"conditions": [condition]}}
    found = troubles([pod])
    assert [(t.certain, t.reason) for t in found] == [
        (False, "cannot be scheduled: 0/4 nodes: no GPU")
    ]
