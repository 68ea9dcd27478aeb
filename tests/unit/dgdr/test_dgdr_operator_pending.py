"""Phase Pending: validation, spellings, hardware, corrections; in virtual time."""

from __future__ import annotations

import json

import pytest
from dgdr_operator_world import HARDWARE, NAMESPACE, World

from dgdr.operator.api import ApiError
from dgdr.operator.resources import JOBS, REQUESTS
from dgdr.reconcile.settings import OperatorSettings


@pytest.fixture
def world():
    return World()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"searchStrategy": "thorough", "backend": "auto"}, "THOROUGH"),
        ({"modelCache": {"pvcName": "gone"}}, "model cache PVC gone not found in namespace team-a"),
        ({"sla": {"ttft": -1}}, "spec.sla.ttft"),
    ],
)
def test_invalid_requests_fail_and_can_be_corrected(world, spec, words):
    world.submit("demo", spec)
    world.settle()
    assert world.phase("demo") == "Failed"
    status, reason, message = world.condition("demo", "Validation")
    assert (status, reason) == ("False", "ValidationFailed")
    assert words in message
    assert world.condition("demo", "Succeeded")[2].startswith("Validation failed: ")
    assert "ValidationFailed" in world.events()
    assert world.find(JOBS, "profile-demo") is None
    key = next(iter(spec))
    world.edit("demo", {key: None, "backend": "vllm"})
    world.play()
    assert world.phase("demo") == "Deployed"


def test_the_draft_dialect_is_converted(world):
    cache = {"pvcName": "models", "pvcPath": "hub/x"}
    metadata = {"name": "models", "namespace": NAMESPACE}
    world.api.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata})
    world.submit("demo", {"backend": "any", "enableAutoScaling": True, "modelCache": cache})
    world.play()
    spec = world.find(REQUESTS, "demo")["spec"]
    assert spec["backend"] == "auto"
    assert spec["features"] == {"planner": {"enabled": True}}
    assert spec["modelCache"] == {"pvcName": "models", "pvcModelPath": "hub/x"}
    assert world.phase("demo") == "Deployed"


def _node(name: str, product: str, count: int, memory: int = 143771, **labels: str):
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "namespace": "",
            "labels": {
                "nvidia.com/gpu.count": str(count),
                "nvidia.com/gpu.product": product,
                "nvidia.com/gpu.memory": str(memory),
                **labels,
            },
        },
    }


def test_hardware_is_discovered_and_kept(world):
    for number in range(6):
        world.api.create(_node(f"n{number}", "NVIDIA-H200", 8))
    world.submit("demo", {"hardware": {}})
    world.settle()
    found = world.find(REQUESTS, "demo")
    assert found["spec"]["hardware"] == {
        "gpuSku": "h200_sxm",
        "vramMb": 143771,
        "numGpusPerNode": 8,
        "totalGpus": 32,
        "interconnect": "nvlink",
        "rdma": False,
    }
    assert found["status"]["phase"] == "Profiling"
    assert found["status"]["observedGeneration"] == found["metadata"]["generation"]
    assert world.events().count("Initialized") == 1
    job = world.find(JOBS, "profile-demo")
    config = json.loads(job["spec"]["template"]["spec"]["containers"][0]["args"][1])
    assert config["spec"]["hardware"]["totalGpus"] == 32


def test_an_unknown_gpu_is_named(world):
    world.api.create(_node("n", "NVIDIA-Z900", 8))
    world.submit("demo", {"hardware": {}})
    world.settle()
    assert "NVIDIA-Z900" in world.condition("demo", "Validation")[2]


def test_nodes_that_may_not_be_read(world, monkeypatch):
    plain = world.api.list

    def refuse(resource, namespace=None, selector=""):
        if resource.kind == "Node":
            raise ApiError(403, "Forbidden", 'nodes is forbidden: User "op" cannot list')
        return plain(resource, namespace, selector)

    monkeypatch.setattr(world.api, "list", refuse)
    world.submit("demo", {"hardware": {}})
    world.submit("given", {"hardware": {"gpuSku": "l4", "numGpusPerNode": 1}})
    world.settle()
    message = world.condition("demo", "Validation")[2]
    assert "cannot list" in message
    assert "spec.hardware.gpuSku" in message
    assert world.phase("given") == "Profiling"


def test_without_discovery_hardware_has_to_be_given():
    world = World(OperatorSettings(default_image="i:1", discovery=False))
    world.submit("demo", {"hardware": {}})
    world.submit("given", {"hardware": HARDWARE})
    world.settle()
    assert "spec.hardware" in world.condition("demo", "Validation")[2]
    assert world.phase("given") == "Profiling"


def test_an_edit_at_the_last_moment_is_what_gets_profiled(world):
    """The spec changes after the Job was created and before the status says so."""

    def edit(verb, ref):
        if ref.kind == "Job":
            world.api.after_write = lambda verb, ref: None
            world.edit("demo", {"backend": "sglang"})

    world.api.after_write = edit
    world.submit("demo")
    world.settle()
    assert world.phase("demo") == "Profiling"
    job = world.find(JOBS, "profile-demo")
    config = json.loads(job["spec"]["template"]["spec"]["containers"][0]["args"][1])
    assert config["spec"]["backend"] == "sglang"
    assert world.api.created[f"Job/{NAMESPACE}/profile-demo"] == 2
    found = world.find(REQUESTS, "demo")
    assert found["status"]["observedGeneration"] == found["metadata"]["generation"]


def test_no_image():
    world = World(OperatorSettings())
    world.submit("demo")
    world.settle()
    assert world.condition("demo", "Profiling")[1:] == (
        "JobCreationFailed",
        "spec.image is required but not set",
    )


def test_a_watch_sees_every_sub_phase_of_a_quick_profiling(world, monkeypatch):
    world.submit("demo")
    world.settle()
    seen, patch = [], world.api.patch

    def recorded(ref, change, **options):
        found = patch(ref, change, **options)
        phase = (found.get("status") or {}).get("profilingPhase")
        if found["kind"] == "DynamoGraphDeploymentRequest" and [phase] != seen[-1:]:
            seen.append(phase)
        return found

    monkeypatch.setattr(world.api, "patch", recorded)
    phases = ["Initializing", "SweepingPrefill", "SelectingConfig", "GeneratingDGD", "Done"]
    world.report("demo", {"phases": " ".join(phases)})
    world.succeed("demo")
    world.settle()
    assert seen == [*phases[1:], None]
    assert world.phase("demo") == "Deploying"
