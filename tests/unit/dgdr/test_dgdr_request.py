"""Values, defaults and derived properties of a request that is accepted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from contracts.sla import SlaTarget
from dgdr import (
    Backend,
    GpuSku,
    Interconnect,
    OptimizationType,
    Phase,
    ProfilingPhase,
    SearchStrategy,
    load_dgdr,
)

SCENARIOS = Path(__file__).parents[3] / "scenarios" / "dgdr"


def test_only_the_model_is_mandatory_and_the_rest_has_the_documented_defaults():
    text = """
apiVersion: nvidia.com/v1beta1
kind: DynamoGraphDeploymentRequest
metadata: {name: demo}
spec: {model: acme/tiny-llm}
"""
    request = load_dgdr(text, source="r.yaml")
    spec = request.spec
    assert request.metadata.name == "demo"
    assert spec.model == "acme/tiny-llm"
    assert spec.image is None
    assert spec.backend is Backend.AUTO
    assert spec.search_strategy is SearchStrategy.RAPID
    assert spec.auto_apply is True
    assert spec.sla.target == SlaTarget(ttft_ms=2000.0, itl_ms=30.0, e2e_ms=None)
    assert (spec.workload.isl, spec.workload.osl) == (4000, 1000)
    assert spec.workload.request_rate_per_s is None
    assert spec.workload.concurrency is None
    assert spec.hardware.gpu_sku is None
    assert spec.hardware.total_gpus is None
    assert spec.model_cache.pvc_name is None
    assert spec.model_cache.pvc_mount_path == "/opt/model-cache"
    assert spec.planner is None
    assert spec.mocker is False
    assert spec.features.kv_router.enabled is False
    assert spec.overrides.trust_remote_code is False
    assert spec.runtime_version_override is None
    assert request.status is None
    assert request.dgd_name == "demo-dgd"


def test_every_field_of_the_spec_is_read(request_of):
    spec = request_of(
        {
            "spec.backend": "sglang",
            "spec.searchStrategy": "thorough",
            "spec.autoApply": False,
            "spec.sla": {"ttft": 500, "itl": 12.5, "optimizationType": "latency"},
            "spec.workload": {"isl": 3000, "osl": 150, "concurrency": 12},
            "spec.hardware": {
                "gpuSku": "h100_pcie",
                "vramMb": 81559,
                "totalGpus": 64,
                "numGpusPerNode": 8,
                "interconnect": "pcie",
                "rdma": True,
            },
            "spec.modelCache": {
                "pvcName": "weights",
                "pvcModelPath": "hub/tiny",
                "pvcMountPath": "/models",
            },
            "spec.features": {
                "planner": {"mode": "agg"},
                "mocker": {"enabled": True},
                "kvRouter": {"enabled": True},
            },
            "spec.overrides": {
                "profilingJob": {"template": {"spec": {"containers": []}}},
                "dgd": {"metadata": {"name": "mine"}},
                "trustRemoteCode": True,
            },
            "spec.runtimeVersionOverride": "1.2.1",
        }
    ).spec
    assert spec.backend is Backend.SGLANG
    assert spec.search_strategy is SearchStrategy.THOROUGH
    assert spec.auto_apply is False
    assert (spec.sla.ttft_ms, spec.sla.itl_ms) == (500.0, 12.5)
    assert spec.sla.optimization_type is OptimizationType.LATENCY
    assert (spec.workload.isl, spec.workload.osl, spec.workload.concurrency) == (3000, 150, 12.0)
    assert spec.hardware.gpu_sku is GpuSku.H100_PCIE
    assert spec.hardware.vram_mib == 81559.0
    assert (spec.hardware.total_gpus, spec.hardware.num_gpus_per_node) == (64, 8)
    assert spec.hardware.interconnect is Interconnect.PCIE
    assert spec.hardware.rdma is True
    assert spec.model_cache.model_path == "/models/hub/tiny"
    assert spec.planner == {"mode": "agg"}
    assert spec.mocker is True
    assert spec.features.kv_router.enabled is True
    assert spec.overrides.profiling_job == {"template": {"spec": {"containers": []}}}
    assert spec.overrides.dgd_name == "mine"
    assert spec.overrides.trust_remote_code is True
    assert spec.runtime_version_override == "1.2.1"


@pytest.mark.parametrize(
    ("sla", "target", "sets"),
    [
        ({}, SlaTarget(ttft_ms=2000.0, itl_ms=30.0), False),
        ({"ttft": 500}, SlaTarget(ttft_ms=500.0, itl_ms=30.0), True),
        ({"itl": 12.5}, SlaTarget(ttft_ms=2000.0, itl_ms=12.5), True),
        ({"ttft": 500, "itl": 50}, SlaTarget(ttft_ms=500.0, itl_ms=50.0), True),
        ({"e2eLatency": 9000}, SlaTarget(ttft_ms=2000.0, itl_ms=30.0, e2e_ms=9000.0), False),
        (
            {"e2eLatency": 9000, "ttft": None, "itl": None},
            SlaTarget(ttft_ms=2000.0, itl_ms=30.0, e2e_ms=9000.0),
            False,
        ),
    ],
)
def test_giving_one_latency_keeps_the_default_of_the_other(request_of, sla, target, sets):
    spec = request_of({"spec.sla": sla}).spec
    assert spec.sla.target == target
    assert spec.sla.sets_token_latency is sets


def test_a_whole_number_is_accepted_where_a_number_is_wanted(request_of):
    target = request_of({"spec.sla.ttft": 500}).spec.sla.target
    assert isinstance(target.ttft_ms, float)
    assert target.ttft_ms == 500.0


@pytest.mark.parametrize(
    ("planner", "expected"),
    [
        (None, None),
        ({}, {}),
        ({"enabled": True}, {}),
        ({"enabled": False}, None),
        ({"enabled": False, "mode": "agg"}, None),
        ({"enabled": True, "mode": "agg"}, {"mode": "agg"}),
        ({"nested": {"a": [1, None]}}, {"nested": {"a": [1, None]}}),
    ],
)
def test_planner_presence_enables_and_enabled_false_means_absent(request_of, planner, expected):
    assert request_of({"spec.features.planner": planner}).spec.planner == expected


@pytest.mark.parametrize("sku", list(GpuSku))
def test_every_sku_is_accepted(request_of, sku):
    assert request_of({"spec.hardware.gpuSku": sku.value}).spec.hardware.gpu_sku is sku


def test_required_skus_are_all_known():
    required = [
        "gb200_sxm",
        "b200_sxm",
        "h200_sxm",
        "h100_sxm",
        "h100_pcie",
        "a100_sxm",
        "a100_pcie",
        "l40s",
        "l40",
        "l4",
        "v100_sxm",
        "v100_pcie",
        "t4",
        "mi200",
        "mi300",
    ]
    assert [sku.value for sku in GpuSku][:15] == required
    assert {"a30", "vr_nvl72", "gb200", "gb10", "b300_sxm"} <= {sku.value for sku in GpuSku}


@pytest.mark.parametrize(
    ("cache", "path"),
    [
        ({}, None),
        ({"pvcName": "weights"}, None),
        ({"pvcName": "weights", "pvcModelPath": "a/b"}, "/opt/model-cache/a/b"),
        ({"pvcName": "weights", "pvcModelPath": "a/b/"}, "/opt/model-cache/a/b"),
        ({"pvcName": "weights", "pvcModelPath": "/opt/model-cache/a"}, "/opt/model-cache/a"),
        ({"pvcName": "weights", "pvcModelPath": "/opt/model-cache"}, "/opt/model-cache"),
        (
            {"pvcName": "weights", "pvcModelPath": "/m/a", "pvcMountPath": "/m/"},
            "/m/a",
        ),
    ],
)
def test_mount_and_model_path_are_joined_exactly_once(request_of, cache, path):
    assert request_of({"spec.modelCache": cache}).spec.model_cache.model_path == path


def test_null_counts_as_absent_as_in_kubernetes(request_of):
    spec = request_of(
        {"spec.backend": None, "spec.autoApply": None, "spec.hardware": None, "spec.image": None}
    ).spec
    assert spec.backend is Backend.AUTO
    assert spec.auto_apply is True
    assert spec.hardware.gpu_sku is None
    assert spec.image is None


def test_an_override_may_name_the_deployment(request_of):
    override = {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": "mine"},
    }
    assert request_of({"spec.overrides.dgd": override}).dgd_name == "mine"


def test_tolerations_come_from_the_profiling_job(request_of):
    toleration = {"key": "gpu", "operator": "Exists"}
    job = {"template": {"spec": {"containers": [], "tolerations": [toleration]}}}
    overrides = request_of({"spec.overrides.profilingJob": job}).spec.overrides
    assert overrides.tolerations == [toleration]
    assert request_of().spec.overrides.tolerations == []


def test_a_request_read_back_from_a_cluster_is_accepted(request_of):
    request = request_of(
        {
            "metadata.namespace": "team-a",
            "metadata.uid": "123",
            "metadata.generation": 2,
            "metadata.resourceVersion": "42",
            "metadata.creationTimestamp": "2025-01-01T00:00:00Z",
            "metadata.labels": {"app.kubernetes.io/name": "demo"},
            "metadata.managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}],
            "status": {
                "phase": "Profiling",
                "profilingPhase": "SweepingDecode",
                "observedGeneration": 1,
                "profilingJobName": "profile-demo",
                "conditions": [
                    {
                        "type": "Validation",
                        "status": "True",
                        "reason": "ValidationPassed",
                        "message": "",
                        "lastTransitionTime": "2025-01-01T00:00:00Z",
                    }
                ],
                "profilingResults": {"pareto": [{"config": {"a": 1}}]},
                "deploymentInfo": {"replicas": 3, "availableReplicas": 2},
            },
        }
    )
    status = request.status
    assert request.metadata.generation == 2
    assert request.metadata.labels == {"app.kubernetes.io/name": "demo"}
    assert status is not None
    assert status.phase is Phase.PROFILING
    assert status.profiling_phase is ProfilingPhase.SWEEPING_DECODE
    assert status.conditions[0].reason == "ValidationPassed"
    assert status.profiling_results.pareto[0].config == {"a": 1}
    assert status.deployment_info.available_replicas == 2


def test_a_request_cannot_be_changed(request_of):
    with pytest.raises(ValidationError, match="frozen"):
        request_of().spec.model = "other"


def test_yaml_and_json_give_the_same_request(raw):
    data = raw({"spec.sla.ttft": 500.5, "spec.workload.requestRate": 3})
    from_yaml = load_dgdr(yaml.safe_dump(data), source="r.yaml")
    from_json = load_dgdr(json.dumps(data, indent="\t"), source="r.json")
    assert from_yaml == from_json
    assert from_json.spec.sla.ttft_ms == 500.5


@pytest.mark.parametrize("text", ["5e2", "5.0e+2", "500", "500.0"])
def test_numbers_are_read_the_same_in_yaml_and_json(raw, text):
    as_json = json.dumps(raw({"spec.sla.ttft": "@"})).replace('"@"', text)
    as_yaml = yaml.safe_dump(raw({"spec.sla.ttft": "@"})).replace("'@'", text)
    assert load_dgdr(as_json, source="r.json").spec.sla.ttft_ms == 500.0
    assert load_dgdr(as_yaml, source="r.yaml").spec.sla.ttft_ms == 500.0


def test_unquoted_dates_stay_text_in_yaml(raw):
    stamp = "2025-01-01T00:00:00Z"
    text = yaml.safe_dump(raw({"metadata.creationTimestamp": "@"})).replace("'@'", stamp)
    assert load_dgdr(text, source="r.yaml").metadata.creation_timestamp == stamp


def test_empty_documents_around_the_request_do_no_harm(raw):
    text = "---\n---\n" + yaml.safe_dump(raw()) + "---\n"
    assert load_dgdr(text, source="r.yaml").metadata.name == "demo"


def test_aliases_are_followed():
    text = """
apiVersion: nvidia.com/v1beta1
kind: DynamoGraphDeploymentRequest
metadata: {name: &name demo, labels: &labels {team: a}, annotations: *labels}
spec: {model: *name}
"""
    request = load_dgdr(text, source="r.yaml")
    assert request.spec.model == "demo"
    assert request.metadata.annotations == {"team": "a"}


def test_llama_scenario_is_the_quickstart():
    request = load_dgdr((SCENARIOS / "llama-70b.yaml").read_text(), source="llama-70b.yaml")
    spec = request.spec
    assert spec.model == "meta-llama/Llama-3.1-70B-Instruct"
    assert spec.backend is Backend.VLLM
    assert spec.image is not None
    assert spec.hardware.gpu_sku is GpuSku.H200_SXM
    assert (spec.hardware.num_gpus_per_node, spec.hardware.total_gpus) == (8, 16)
    assert (spec.workload.isl, spec.workload.osl) == (4000, 1000)
    assert spec.workload.request_rate_per_s == 2.0
    assert spec.sla.target == SlaTarget(ttft_ms=500.0, itl_ms=50.0)
    assert spec.planner == {}
    assert spec.mocker is True


def test_qwen_scenario_has_no_planner():
    request = load_dgdr((SCENARIOS / "qwen3-8b.yaml").read_text(), source="qwen3-8b.yaml")
    spec = request.spec
    assert spec.model == "Qwen/Qwen3-8B"
    assert spec.hardware.gpu_sku is GpuSku.L40S
    assert spec.hardware.total_gpus == 4
    assert (spec.workload.isl, spec.workload.osl) == (1000, 200)
    assert spec.planner is None
    assert spec.mocker is False
