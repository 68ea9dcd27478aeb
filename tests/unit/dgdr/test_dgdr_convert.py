"""Between v1alpha1 and v1beta1: what maps, what is parked, and round trips."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from dgdr_schema_check import admit
from test_dgdr_crds import GRAPH_NEW, GRAPH_OLD, GRAPHS, REQUEST, REQUESTS, VALID, _graph, _schema

from contracts.errors import InputError, UnsupportedError
from dgdr import parse_dgdr
from dgdr.convert import convert_object, convert_review
from dgdr.convert.requests import blob_warnings

OLD, NEW = "nvidia.com/v1alpha1", "nvidia.com/v1beta1"
LEGACY: dict[str, Any] = {
    "apiVersion": OLD,
    "kind": "DynamoGraphDeploymentRequest",
    "metadata": {"name": "demo", "annotations": {"team": "a"}},
    "spec": {
        "model": "acme/tiny-llm",
        "backend": "vllm",
        "autoApply": True,
        "useMocker": True,
        "enableGpuDiscovery": True,
        "profilingConfig": {
            "profilerImage": "registry.example/dynamo-planner:1.2.1",
            "configMapRef": {"name": "base", "key": "disagg.yaml"},
            "outputPVC": "results",
            "resources": {"limits": {"cpu": "4"}},
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "config": {
                "sla": {"ttft": 200.0, "itl": 20.0, "isl": 3000, "osl": 150},
                "deployment": {
                    "modelCache": {"pvcName": "models", "modelPathInPvc": "hub/x"},
                    "namespace": "kept",
                },
                "sweep": {"use_ai_configurator": True},
            },
        },
        "deploymentOverrides": {"name": "mine", "workersImage": "w:1"},
    },
}


def test_a_legacy_request_becomes_a_valid_one():
    new = convert_object(LEGACY, NEW)
    spec = new["spec"]
    assert spec["sla"] == {"ttft": 200.0, "itl": 20.0}
    assert spec["workload"] == {"isl": 3000, "osl": 150}
    assert spec["modelCache"] == {"pvcName": "models", "pvcModelPath": "hub/x"}
    assert spec["image"] == "registry.example/dynamo-planner:1.2.1"
    assert spec["features"] == {"mocker": {"enabled": True}}
    pod = spec["overrides"]["profilingJob"]["template"]["spec"]
    assert pod["containers"] == [{"resources": {"limits": {"cpu": "4"}}}]
    assert pod["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    notes = new["metadata"]["annotations"]
    assert notes["nvidia.com/dgdr-output-pvc"] == '"results"'
    assert set(notes) >= {
        f"nvidia.com/dgdr-{s}"
        for s in ("config-map-ref", "enable-gpu-discovery", "deployment-overrides")
    }
    stored, errors, unknown = admit(REQUEST, new)
    assert (errors, unknown) == ([], [])
    parse_dgdr(stored, source="converted")


def test_legacy_round_trip_loses_nothing():
    status = {
        "state": "Ready",
        "backend": "vllm",
        "observedGeneration": 2,
        "profilingResults": "configmap/x",
        "generatedDeployment": {"kind": "DynamoGraphDeployment"},
        "deployment": {"name": "mine", "namespace": "n", "state": "successful", "created": True},
    }
    old = {**copy.deepcopy(LEGACY), "status": status}
    new = convert_object(old, NEW)
    assert new["status"]["phase"] == "Deployed"
    assert new["status"]["dgdName"] == "mine"
    back = convert_object(new, OLD)
    back["metadata"]["annotations"] = {
        k: v for k, v in back["metadata"]["annotations"].items() if k == "team"
    }
    assert back == old
    assert admit(_schema(REQUESTS, "v1alpha1"), back)[1:] == ([], [])


def test_auto_apply_is_off_by_default_in_v1alpha1():
    old = copy.deepcopy(LEGACY)
    del old["spec"]["autoApply"]
    assert convert_object(old, NEW)["spec"]["autoApply"] is False


def test_new_round_trip_through_the_old_version(raw):
    data = raw(
        {
            "spec.searchStrategy": "thorough",
            "spec.autoApply": False,
            "spec.sla": {"e2eLatency": 900.0, "optimizationType": "latency"},
            "spec.hardware": {"gpuSku": "l40s", "totalGpus": 4},
            "spec.features": {"planner": {"mode": "agg"}},
        }
    )
    data["status"] = {
        "phase": "Ready",
        "profilingJobName": "profile-demo",
        "dgdName": "demo-dgd",
        "observedGeneration": 3,
        "profilingResults": {"selectedConfig": {"kind": "D"}, "pareto": [{"config": {"a": 1}}]},
    }
    old = convert_object(data, OLD)
    assert admit(_schema(REQUESTS, "v1alpha1"), old)[1:] == ([], [])
    back = convert_object(old, NEW)
    back["metadata"].pop("annotations", None)
    assert back == data


@pytest.mark.parametrize("changes", VALID.values(), ids=VALID)
def test_every_valid_request_survives_the_old_version(raw, changes):
    stored = admit(REQUEST, raw(changes))[0]
    old = convert_object(stored, OLD)
    if stored["spec"]["backend"] != "any":
        assert admit(_schema(REQUESTS, "v1alpha1"), old)[1:] == ([], [])
    back = convert_object(old, NEW)
    back["metadata"].pop("annotations", None)
    assert back == stored


def test_a_change_in_the_old_version_arrives(raw):
    old = convert_object(raw({"spec.sla": {"ttft": 100.0, "itl": 5.0}}), OLD)
    old["spec"]["profilingConfig"]["config"]["sla"] = {"itl": 7.0}
    assert convert_object(old, NEW)["spec"]["sla"] == {"itl": 7.0}


def test_contradictions_in_the_blob():
    old = copy.deepcopy(LEGACY)
    blob = old["spec"]["profilingConfig"]["config"]
    blob["engine"] = {"backend": "sglang"}
    new = convert_object(old, NEW)
    (warning,) = blob_warnings(new["metadata"]["annotations"], new["spec"])
    assert "spec.profilingConfig.config.engine.backend" in warning
    blob["hardware"] = {"minNumGpusPerEngine": 8, "maxNumGpusPerEngine": 4}
    with pytest.raises(InputError, match="minNumGpusPerEngine"):
        convert_object(old, NEW)


def test_deployments_both_ways():
    new = convert_object(_graph("v1alpha1", GRAPH_OLD), NEW)
    worker = new["spec"]["components"][1]
    assert worker["type"] == "decode"
    assert worker["scalingAdapter"] == {}
    (main,) = worker["podTemplate"]["spec"]["containers"]
    assert main["resources"] == {"limits": {"nvidia.com/gpu": "8"}}
    assert main["volumeMounts"] == [{"name": "PVC", "mountPath": "/opt/model-cache"}]
    assert admit(_schema(GRAPHS, "v1beta1"), new)[1:] == ([], [])
    old = convert_object(new, OLD)
    service = old["spec"]["services"]["VllmDecodeWorker"]
    main = service["extraPodSpec"].pop("mainContainer")
    assert main == {"envFrom": [{"secretRef": {"name": "hf-token-secret"}}]}
    service |= {"envFromSecret": "hf-token-secret"}
    del service["extraPodSpec"]
    assert old == _graph("v1alpha1", GRAPH_OLD)


def test_new_deployments_survive_the_old_version():
    new = _graph("v1beta1", GRAPH_NEW)
    back = convert_object(convert_object(new, OLD), NEW)
    back["spec"]["components"].sort(key=lambda c: c["name"] != "Frontend")
    by_name = {c["name"]: c for c in back["spec"]["components"]}
    assert by_name == {c["name"]: c for c in GRAPH_NEW["components"]}


def test_adapters_both_ways():
    spec = {"replicas": 1, "dgdRef": {"name": "d", "componentName": "decode"}}
    new = {"apiVersion": NEW, "kind": "DynamoGraphDeploymentScalingAdapter", "spec": spec}
    old = convert_object(new, OLD)
    assert old["spec"]["dgdRef"] == {"name": "d", "serviceName": "decode"}
    assert convert_object(old, NEW) == new


def test_reviews():
    request = {"uid": "u1", "desiredAPIVersion": NEW, "objects": [LEGACY, LEGACY]}
    review = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview"}
    answer = convert_review({**review, "request": request})["response"]
    assert (answer["uid"], answer["result"]["status"]) == ("u1", "Success")
    assert len(answer["convertedObjects"]) == 2
    request["objects"] = [LEGACY, {"apiVersion": OLD, "kind": "Widget"}]
    answer = convert_review({**review, "request": request})["response"]
    assert answer["result"]["status"] == "Failure"
    assert "Widget" in answer["result"]["message"]
    with pytest.raises(InputError):
        convert_review({"kind": "Other"})
    with pytest.raises(UnsupportedError):
        convert_object(LEGACY, "nvidia.com/v2")


def test_resources_of_services():
    service = {
        "resources": {"limits": {"gpu": "8", "custom": {"rdma/ib": "8"}}},
        "extraPodSpec": {"mainContainer": {"resources": {"limits": {"cpu": "4", "rdma/ib": "1"}}}},
    }
    new = convert_object(_graph("v1alpha1", {"services": {"W": service}}), NEW)
    (part,) = new["spec"]["components"]
    (main,) = part["podTemplate"]["spec"]["containers"]
    limits = {"cpu": "4", "rdma/ib": "8", "nvidia.com/gpu": "8"}
    assert main["resources"] == {"limits": limits}
    old = convert_object(new, OLD)["spec"]["services"]["W"]
    assert old == {
        "resources": {"limits": {"cpu": "4", "gpu": "8", "custom": {"rdma/ib": "8"}}},
    }
