"""The CRD files: generated, structural, small, and as strict as the types."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from dgdr_schema_check import admit, structural_problems

from contracts.errors import InputError
from dgdr import parse_dgdr
from dgdr.crds import crd_files, render_crd
from dgdr.enums import GpuSku

ROOT = Path(__file__).parents[3]
LAST_APPLIED_LIMIT_BYTES = 262_144
FILES = crd_files()
REQUESTS = FILES["dynamographdeploymentrequests.yaml"]
GRAPHS = FILES["dynamographdeployments.yaml"]
ADAPTERS = FILES["dynamographdeploymentscalingadapters.yaml"]


def _schema(crd: dict[str, Any], version: str) -> dict[str, Any]:
    (found,) = [v for v in crd["spec"]["versions"] if v["name"] == version]
    return found["schema"]["openAPIV3Schema"]


REQUEST = _schema(REQUESTS, "v1beta1")


def _graph(version: str, spec: dict[str, Any], name: str = "demo-dgd") -> dict[str, Any]:
    return {
        "apiVersion": f"nvidia.com/{version}",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": name},
        "spec": spec,
    }


@pytest.mark.parametrize("name", FILES)
def test_files_are_what_the_types_say(name):
    text = (ROOT / "deploy" / "crds" / name).read_text()
    assert text == render_crd(FILES[name]), "run: python -m dgdr.crds --write deploy/crds"
    assert yaml.safe_load(text) == FILES[name]


@pytest.mark.slow
def test_the_command_writes_the_files(tmp_path):
    command = [sys.executable, "-m", "dgdr.crds", "--write", str(tmp_path / "crds")]
    subprocess.run(command, check=True, cwd=ROOT)
    assert {path.name for path in (tmp_path / "crds").iterdir()} == set(FILES)


@pytest.mark.parametrize("crd", FILES.values(), ids=FILES)
def test_schemas_are_structural_and_small(crd):
    assert len(json.dumps(crd)) < LAST_APPLIED_LIMIT_BYTES / 2
    versions = crd["spec"]["versions"]
    assert [v["name"] for v in versions if v["storage"]] == ["v1beta1"]
    assert {v["name"] for v in versions if v["served"]} == {"v1alpha1", "v1beta1"}
    for version in versions:
        assert structural_problems(version["schema"]["openAPIV3Schema"]) == []
        assert "status" in version["subresources"]


def test_names_columns_and_scale():
    short = {
        crd["spec"]["names"]["kind"]: crd["spec"]["names"]["shortNames"] for crd in FILES.values()
    }
    assert short == {
        "DynamoGraphDeploymentRequest": ["dgdr"],
        "DynamoGraphDeployment": ["dgd"],
        "DynamoGraphDeploymentScalingAdapter": ["dgdsa"],
    }
    columns = [c["name"] for c in REQUESTS["spec"]["versions"][0]["additionalPrinterColumns"]]
    assert columns == [
        *("Model", "Backend", "Phase", "Profiling", "Reason", "Message", "DGD", "Age")
    ]
    scale = ADAPTERS["spec"]["versions"][0]["subresources"]["scale"]
    assert scale["specReplicasPath"] == ".spec.replicas"
    assert scale["labelSelectorPath"] == ".status.selector"


def test_defaults_are_filled_in(raw):
    data = raw()
    del data["spec"]["backend"]
    data["spec"] |= {"workload": {}, "modelCache": {"pvcName": "models"}, "sla": {"ttft": None}}
    stored, errors, unknown = admit(REQUEST, data)
    assert (errors, unknown) == ([], [])
    spec = stored["spec"]
    assert (spec["backend"], spec["searchStrategy"], spec["autoApply"]) == ("auto", "rapid", True)
    assert spec["workload"] == {"isl": 4000, "osl": 1000}
    assert spec["modelCache"]["pvcMountPath"] == "/opt/model-cache"
    assert spec["sla"] == {}
    parse_dgdr(stored, source="stored")


VALID = {
    "minimal": {},
    "every sku": {"spec.hardware": {"gpuSku": GpuSku.H200_SXM.value, "totalGpus": 64}},
    "sla": {"spec.sla": {"ttft": 200.5, "itl": 20, "optimizationType": "latency"}},
    "e2e": {"spec.sla": {"e2eLatency": 5000}},
    "load": {"spec.workload": {"isl": 3000, "osl": 150, "requestRate": 2.5}},
    "cache": {"spec.modelCache": {"pvcName": "m", "pvcModelPath": "hub/models--x/snapshots/1"}},
    "absolute path": {
        "spec.modelCache": {"pvcName": "m", "pvcMountPath": "/mnt/m", "pvcModelPath": "/mnt/m/x"}
    },
    "planner": {
        "spec.features": {
            "planner": {"optimization_target": "sla", "prophet_window_size": 50},
            "mocker": {"enabled": True},
        }
    },
    "kv router": {"spec.features.kvRouter.enabled": True},
    "job override": {
        "spec.overrides.profilingJob": {
            "backoffLimit": 1,
            "template": {
                "spec": {
                    "containers": [],
                    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
                }
            },
        }
    },
    "dgd override": {
        "spec.overrides.dgd": {
            "apiVersion": "nvidia.com/v1beta1",
            "kind": "DynamoGraphDeployment",
            "metadata": {"name": "mine", "labels": {"team": "a"}},
            "spec": {"components": [{"name": "worker", "replicas": 2}]},
        }
    },
    "thorough": {"spec.searchStrategy": "thorough"},
    "runtime version": {"spec.runtimeVersionOverride": "1.6.0", "spec.autoApply": False},
    "draft": {"spec.backend": "any", "spec.enableAutoScaling": True},
    "draft path": {"spec.modelCache": {"pvcName": "m", "pvcPath": "x"}},
}


@pytest.mark.parametrize("changes", VALID.values(), ids=VALID)
def test_requests_of_the_documentation_are_accepted(raw, changes):
    stored, errors, unknown = admit(REQUEST, raw(changes))
    assert (errors, unknown) == ([], [])
    if "overrides" not in str(changes):
        parse_dgdr(stored, source="stored")


@pytest.mark.parametrize("path", sorted((ROOT / "scenarios" / "dgdr").glob("*.yaml")))
def test_our_own_requests_are_accepted(path):
    _, errors, unknown = admit(REQUEST, yaml.safe_load(path.read_text()))
    assert (errors, unknown) == ([], [])


INVALID = {
    "no model": ({"spec.model": None}, ".spec.model"),
    "empty model": ({"spec.model": ""}, ".spec.model"),
    "backend": ({"spec.backend": "tensorrt"}, ".spec.backend"),
    "strategy": ({"spec.searchStrategy": "fast"}, ".spec.searchStrategy"),
    "sku": ({"spec.hardware.gpuSku": "NVIDIA-H200"}, ".spec.hardware.gpuSku"),
    "gpus": ({"spec.hardware.totalGpus": 0}, ".spec.hardware.totalGpus"),
    "node gpus": ({"spec.hardware.numGpusPerNode": -8}, ".spec.hardware.numGpusPerNode"),
    "vram": ({"spec.hardware.vramMb": 0}, ".spec.hardware.vramMb"),
    "text": ({"spec.workload.isl": "4000"}, ".spec.workload.isl"),
    "fraction": ({"spec.workload.osl": 1.5}, ".spec.workload.osl"),
    "interconnect": ({"spec.hardware.interconnect": "ib"}, ".spec.hardware.interconnect"),
    "ttft": ({"spec.sla.ttft": -1}, ".spec.sla.ttft"),
    "both sla": ({"spec.sla": {"ttft": 1, "e2eLatency": 9}}, ".spec.sla.e2eLatency"),
    "both loads": (
        {"spec.workload": {"requestRate": 1, "concurrency": 1}},
        ".spec.workload.concurrency",
    ),
    "thorough auto": (
        {"spec.searchStrategy": "thorough", "spec.backend": "auto"},
        ".spec.searchStrategy",
    ),
    "path without claim": (
        {"spec.modelCache": {"pvcModelPath": "x"}},
        ".spec.modelCache.pvcName",
    ),
    "path elsewhere": (
        {"spec.modelCache": {"pvcName": "m", "pvcModelPath": "/data/x"}},
        ".spec.modelCache.pvcModelPath",
    ),
    "job override": (
        {"spec.overrides.profilingJob": {"template": {"spec": {}}}},
        ".spec.overrides.profilingJob.template.spec.containers",
    ),
    "half a dgd": (
        {"spec.overrides.dgd": {"kind": "DynamoGraphDeployment"}},
        ".spec.overrides.dgd",
    ),
    "dgd kind": (
        {"spec.overrides.dgd": {"apiVersion": "nvidia.com/v1beta1", "kind": "Pod"}},
        ".spec.overrides.dgd.kind",
    ),
    "dgd status": ({"spec.overrides.dgd": {"status": {}}}, ".spec.overrides.dgd.status"),
    "planner target": (
        {"spec.features.planner": {"optimization_target": "cost"}},
        ".spec.features.planner.optimization_target",
    ),
    "planner off": (
        {
            "spec.features.planner": {
                "optimization_target": "sla",
                "enable_throughput_scaling": False,
            }
        },
        ".spec.features.planner.enable_load_scaling",
    ),
    "mocker unswept": (
        {
            "spec.features": {
                "planner": {"pre_deployment_sweeping_mode": "none"},
                "mocker": {"enabled": True},
            }
        },
        ".spec.features.planner.pre_deployment_sweeping_mode",
    ),
    "version": ({"spec.runtimeVersionOverride": "v1.6"}, ".spec.runtimeVersionOverride"),
    "long name": ({"metadata.name": "a" * 34}, ""),
    "long job name": (
        {
            "metadata.name": "a" * 56,
            "spec.overrides.dgd": {"metadata": {"name": "short"}},
        },
        "",
    ),
    "long trtllm name": ({"metadata.name": "a" * 30, "spec.backend": "trtllm"}, ""),
}


@pytest.mark.parametrize(("changes", "path"), INVALID.values(), ids=INVALID)
def test_schema_and_operator_refuse_the_same(raw, changes, path):
    data = raw(changes)
    _, errors, _ = admit(REQUEST, data)
    assert {e.split(": ", 1)[0] for e in errors} == {path}
    with pytest.raises(InputError) as caught:
        parse_dgdr(data, source="request.yaml")
    found = getattr(caught.value, "errors", (caught.value,))
    assert (path.removeprefix(".") or "metadata.name") in {error.path for error in found}


@pytest.mark.parametrize(
    ("name", "backend"), [("a" * 33, "vllm"), ("a" * 29, "trtllm"), ("a" * 29, "auto")]
)
def test_longest_names_are_accepted(raw, name, backend):
    data = raw({"metadata.name": name, "spec.backend": backend})
    assert admit(REQUEST, data)[1] == []
    parse_dgdr(data, source="request.yaml")


@pytest.mark.parametrize("changes", [{}, {"spec.backend": "auto"}, {"spec.backend": "any"}])
def test_an_open_backend_leaves_room_for_every_component(raw, changes):
    data = raw({"metadata.name": "a" * 30, **changes})
    if not changes:
        del data["spec"]["backend"]
    assert any("metadata.name" in error for error in admit(REQUEST, data)[1])


def test_unknown_keys_are_not_kept(raw):
    assert admit(REQUEST, raw({"spec.sla.tfft": 3}))[2] == [".spec.sla.tfft"]


@pytest.mark.parametrize("phase", ["Profiling", "Deploying", "Deployed"])
def test_the_spec_is_locked_while_it_is_worked_on(raw, phase):
    old = {**raw(), "status": {"phase": phase}}
    new = copy.deepcopy(old)
    new["metadata"]["labels"] = {"a": "b"}
    assert admit(REQUEST, new, admit(REQUEST, old)[0])[1] == []
    new["spec"]["backend"] = "sglang"
    (error,) = admit(REQUEST, new, admit(REQUEST, old)[0])[1]
    assert error.startswith(".spec: spec cannot be changed")
    assert "delete and recreate" in error


@pytest.mark.parametrize("phase", [None, "Pending", "Failed"])
def test_the_spec_can_be_corrected(raw, phase):
    old = {**raw(), **({"status": {"phase": phase}} if phase else {})}
    new = {**raw({"spec.backend": "sglang"}), "status": {"phase": "Pending"}}
    assert admit(REQUEST, new, admit(REQUEST, old)[0])[1] == []


def test_a_ready_request_can_still_be_applied(raw):
    old = {**raw({"spec.autoApply": False}), "status": {"phase": "Ready"}}
    allowed = {**raw({"spec.autoApply": True}), "status": {"phase": "Ready"}}
    refused = {**raw({"spec.autoApply": False, "spec.model": "b"}), "status": {"phase": "Ready"}}
    stored = admit(REQUEST, old)[0]
    assert admit(REQUEST, allowed, stored)[1] == []
    assert len(admit(REQUEST, refused, stored)[1]) == 1


GRAPH_NEW = {
    "backendFramework": "vllm",
    "components": [
        {
            "name": "Frontend",
            "type": "frontend",
            "replicas": 1,
            "podTemplate": {"spec": {"containers": [{"name": "main", "image": "i"}]}},
        },
        {
            "name": "decode",
            "type": "decode",
            "replicas": 2,
            "scalingAdapter": {},
            "multinode": {"nodeCount": 2},
            "sharedMemorySize": "16Gi",
            "compilationCache": {"pvcName": "c"},
        },
        {"name": "Planner", "type": "planner"},
    ],
}
GRAPH_OLD = {
    "pvcs": [{"name": "PVC", "create": False}],
    "services": {
        "Frontend": {
            "componentType": "frontend",
            "replicas": 1,
            "extraPodSpec": {"mainContainer": {"image": "IMG"}},
        },
        "VllmDecodeWorker": {
            "componentType": "worker",
            "subComponentType": "decode",
            "replicas": 2,
            "scalingAdapter": {"enabled": True},
            "multinode": {"nodeCount": 2},
            "resources": {"limits": {"gpu": "8"}},
            "sharedMemory": {"size": "80Gi"},
            "envFromSecret": "hf-token-secret",
            "volumeMounts": [{"name": "PVC", "mountPoint": "/opt/model-cache"}],
        },
    },
}


@pytest.mark.parametrize(("version", "spec"), [("v1beta1", GRAPH_NEW), ("v1alpha1", GRAPH_OLD)])
def test_deployments_of_the_documentation_are_accepted(version, spec):
    data = _graph(version, spec)
    stored, errors, unknown = admit(_schema(GRAPHS, version), data)
    assert (errors, unknown) == ([], [])
    assert stored == data


@pytest.mark.parametrize(
    ("components", "path"),
    [
        ([{"name": "a"}, {"name": "a"}], ".spec.components"),
        ([{"name": "a", "type": "cache"}], ".spec.components[0].type"),
        ([{"name": "a", "replicas": -1}], ".spec.components[0].replicas"),
        ([{"name": "a", "multinode": {"nodeCount": 1}}], ".spec.components[0].multinode.nodeCount"),
        ([{"name": "a", "type": "epp"}, {"name": "b", "type": "epp"}], ".spec.components"),
        ([{"name": "a" * 38}], ""),
        ([{"name": f"c{n}"} for n in range(26)], ".spec.components"),
    ],
)
def test_wrong_deployments_are_refused(components, path):
    _, errors, _ = admit(_schema(GRAPHS, "v1beta1"), _graph("v1beta1", {"components": components}))
    assert [e.split(": ", 1)[0] for e in errors] == [path]


def test_adapters():
    spec = {"replicas": 0, "dgdRef": {"name": "demo-dgd", "componentName": "decode"}}
    assert admit(_schema(ADAPTERS, "v1beta1"), {"metadata": {}, "spec": spec})[1] == []
    spec["replicas"] = -1
    assert len(admit(_schema(ADAPTERS, "v1beta1"), {"metadata": {}, "spec": spec})[1]) == 1
