"""Errors of single fields: place, value found, values allowed."""

from __future__ import annotations

import math

import pytest

from contracts.errors import CombinedInputError, InputError
from dgdr import parse_dgdr

SPEC_KEYS = (
    "model, image, backend, searchStrategy, autoApply, sla, workload, hardware, modelCache, "
    "features, overrides, runtimeVersionOverride"
)
SKUS = (
    "gb200_sxm, b200_sxm, h200_sxm, h100_sxm, h100_pcie, a100_sxm, a100_pcie, l40s, l40, l4, "
    "v100_sxm, v100_pcie, t4, mi200, mi300, a30, vr_nvl72, gb200, gb10, b300_sxm"
)


@pytest.mark.parametrize(
    ("path", "value", "hint", "allowed"),
    [
        ("spec.backend", "vlm", "; did you mean 'vllm'?", "auto, vllm, sglang, trtllm"),
        ("spec.backend", "mocker", "", "auto, vllm, sglang, trtllm"),
        ("spec.backend", "VLLM", "; did you mean 'vllm'?", "auto, vllm, sglang, trtllm"),
        ("spec.searchStrategy", "fast", "", "rapid, thorough"),
        ("spec.sla.optimizationType", "cost", "", "latency, throughput"),
        ("spec.hardware.gpuSku", "H200", "; did you mean 'h200_sxm'?", SKUS),
        ("spec.hardware.gpuSku", "NVIDIA H20Z", "", SKUS),
        ("spec.hardware.interconnect", "nv-link", "; did you mean 'nvlink'?", "nvlink, pcie"),
        (
            "status.phase",
            "Redy",
            "; did you mean 'Ready'?",
            "Pending, Profiling, Ready, Deploying, Deployed, Failed",
        ),
    ],
)
def test_unknown_enum_values_list_what_is_allowed(problems_of, path, value, hint, allowed):
    problem = problems_of({path: value})[path]
    assert problem.message == f"unknown value{hint}"
    assert problem.value == f'"{value}"'
    assert problem.allowed == allowed
    assert str(problem) == (
        f'request.yaml: {path}: unknown value{hint} (got "{value}"); allowed: {allowed}'
    )


@pytest.mark.parametrize("value", [1, True, 2.5, ["vllm"], {"name": "vllm"}])
def test_enum_values_must_be_text(problems_of, value):
    problem = problems_of({"spec.backend": value})["spec.backend"]
    assert problem.message == "unknown value"
    assert problem.allowed == "auto, vllm, sglang, trtllm"


@pytest.mark.parametrize(
    ("path", "key", "hint", "allowed"),
    [
        (
            "spec.hardware.totalGPUs",
            "totalGPUs",
            "; did you mean 'spec.hardware.totalGpus'?",
            "gpuSku, vramMb, totalGpus, numGpusPerNode, interconnect, rdma",
        ),
        (
            "spec.hardware.total_gpus",
            "total_gpus",
            "; did you mean 'spec.hardware.totalGpus'?",
            "gpuSku, vramMb, totalGpus, numGpusPerNode, interconnect, rdma",
        ),
        (
            "spec.sla.ttft_ms",
            "ttft_ms",
            "; did you mean 'ttft'?",
            "ttft, itl, e2eLatency, optimizationType",
        ),
        ("spec.isl", "isl", "; did you mean 'spec.workload.isl'?", SPEC_KEYS),
        ("spec.serchStrategy", "serchStrategy", "; did you mean 'searchStrategy'?", SPEC_KEYS),
        ("spec.zzz", "zzz", "", SPEC_KEYS),
        ("spec.workload.rate", "rate", "", "isl, osl, requestRate, concurrency"),
        ("spec.features.mocker.enable", "enable", "; did you mean 'enabled'?", "enabled"),
        (
            "spec.modelCache.pvc",
            "pvc",
            "; did you mean 'pvcName'?",
            "pvcName, pvcModelPath, pvcMountPath",
        ),
        ("specs", "specs", "; did you mean 'spec'?", "apiVersion, kind, metadata, spec, status"),
    ],
)
def test_unknown_keys_get_a_hint_and_the_valid_keys(problems_of, path, key, hint, allowed):
    problem = problems_of({path: 7})[path]
    assert problem.message == f"unknown key {key!r}{hint}"
    assert problem.value == "7"
    assert problem.allowed == allowed


@pytest.mark.parametrize(
    ("path", "value", "wanted"),
    [
        ("spec.sla.ttft", "500", "a number"),
        ("spec.sla.itl", True, "a number"),
        ("spec.sla.e2eLatency", [500], "a number"),
        ("spec.workload.isl", 4000.0, "a whole number"),
        ("spec.workload.isl", "4000", "a whole number"),
        ("spec.workload.osl", False, "a whole number"),
        ("spec.workload.requestRate", "3", "a number"),
        ("spec.hardware.totalGpus", True, "a whole number"),
        ("spec.hardware.numGpusPerNode", 8.5, "a whole number"),
        ("spec.hardware.vramMb", "80Gi", "a number"),
        ("spec.hardware.rdma", 1, "true or false"),
        ("spec.hardware.rdma", "yes", "true or false"),
        ("spec.autoApply", "false", "true or false"),
        ("spec.features.mocker.enabled", 1, "true or false"),
        ("spec.overrides.trustRemoteCode", "on", "true or false"),
        ("spec.model", 7, "text"),
        ("spec.image", 1.2, "text"),
        ("spec.runtimeVersionOverride", 1.2, "text"),
        ("spec.sla", 500, "a section of keys and values"),
        ("spec.hardware", [], "a section of keys and values"),
        ("spec", "x", "a section of keys and values"),
        ("spec.features.planner", True, "a section of keys and values"),
        ("spec.features.planner", ["x"], "a section of keys and values"),
        ("spec.overrides.dgd", "x", "a section of keys and values"),
        ("metadata.labels", [], "a section of keys and values"),
        ("metadata.labels.version", 1.0, "text"),
        ("metadata.finalizers", "x", "a list"),
        ("metadata.generation", "1", "a whole number"),
    ],
)
def test_values_of_the_wrong_type_are_refused(problems_of, path, value, wanted):
    problem = problems_of({path: value})[path]
    assert problem.message == "has the wrong type"
    assert problem.allowed == wanted
    assert problem.value is not None


def test_the_value_found_is_shown_as_it_stands_in_the_file(problems_of):
    found = problems_of({"spec.sla.ttft": "500", "spec.sla.itl": True, "spec.workload.isl": {}})
    assert found["spec.sla.ttft"].value == '"500"'
    assert found["spec.sla.itl"].value == "true"
    assert found["spec.workload.isl"].value == "{}"


def test_long_values_are_cut(problems_of):
    problem = problems_of({"spec.backend": "x" * 500})["spec.backend"]
    assert problem.value is not None
    assert len(problem.value) == 80
    assert problem.value.endswith("...")


@pytest.mark.parametrize(
    "path",
    [
        "spec.sla.ttft",
        "spec.sla.itl",
        "spec.sla.e2eLatency",
        "spec.workload.isl",
        "spec.workload.osl",
        "spec.workload.requestRate",
        "spec.workload.concurrency",
        "spec.hardware.vramMb",
        "spec.hardware.totalGpus",
        "spec.hardware.numGpusPerNode",
    ],
)
@pytest.mark.parametrize("value", [0, -1])
def test_numbers_must_be_positive(problems_of, path, value):
    problem = problems_of({path: value})[path]
    assert problem.message == "is out of range"
    assert problem.value == str(value)
    assert problem.allowed == "more than 0"


@pytest.mark.parametrize(
    "path",
    [
        "spec.workload.isl",
        "spec.workload.osl",
        "spec.hardware.totalGpus",
        "spec.hardware.numGpusPerNode",
    ],
)
def test_whole_numbers_end_at_32_bits(problems_of, request_of, path):
    problem = problems_of({path: 2**31})[path]
    assert problem.message == "is out of range"
    assert problem.allowed == "at most 2147483647"
    request_of({path: 2**31 - 1})


@pytest.mark.parametrize("value", [math.inf, math.nan, -math.inf])
def test_numbers_must_be_finite(problems_of, value):
    problem = problems_of({"spec.sla.ttft": value})["spec.sla.ttft"]
    assert problem.message == "is not finite"
    assert problem.allowed == "a finite number"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("metadata", "a section with the name of the request"),
        ("metadata.name", "a Kubernetes object name"),
        ("spec", "a section with at least the model"),
        ("spec.model", "a Hugging Face id or private model name"),
    ],
)
def test_what_is_required_is_named(raw, path, allowed):
    data = raw()
    *parents, last = path.split(".")
    section = data
    for key in parents:
        section = section[key]
    del section[last]
    with pytest.raises(InputError) as caught:
        parse_dgdr(data, source="request.yaml")
    assert str(caught.value) == (
        f"request.yaml: {path}: is required (got nothing); allowed: {allowed}"
    )


def test_null_is_as_good_as_absent_for_what_is_required(problems_of):
    problem = problems_of({"spec.model": None})["spec.model"]
    assert problem.message == "is required"
    assert problem.value == "nothing"


@pytest.mark.parametrize(
    ("path", "value", "message", "allowed"),
    [
        ("spec.model", "", "is not a model name", "Hugging Face id"),
        ("spec.model", "  ", "is not a model name", "Hugging Face id"),
        ("spec.model", "acme/x ", "is not a model name", "without blanks at its ends"),
        ("spec.image", "", "is not a container image", "registry/name:tag"),
        ("spec.image", "a b:1", "is not a container image", "registry/name:tag"),
        ("spec.image", "name:", "is not a container image", "registry/name:tag"),
        ("spec.runtimeVersionOverride", "1.2", "is not a runtime version", "MAJOR.MINOR.PATCH"),
        ("spec.runtimeVersionOverride", "v1.2.3", "is not a runtime version", "MAJOR.MINOR.PATCH"),
        ("spec.runtimeVersionOverride", "1.2.12345", "is not a runtime version", "4 digits"),
        ("metadata.name", "Demo", "is not a Kubernetes object name", "lower-case letters"),
        ("metadata.name", "-demo", "is not a Kubernetes object name", "lower-case letters"),
        ("metadata.name", "demo\n", "is not a Kubernetes object name", "lower-case letters"),
        ("metadata.name", "", "is not a Kubernetes object name", "lower-case letters"),
        ("metadata.namespace", "a.b", "is not a Kubernetes namespace", "at most 63"),
        ("metadata.namespace", "a" * 64, "is not a Kubernetes namespace", "at most 63"),
        ("spec.modelCache.pvcName", "My_PVC", "is not a Kubernetes object name", "lower-case"),
    ],
)
def test_texts_follow_their_rules(problems_of, path, value, message, allowed):
    problem = problems_of({path: value})[path]
    assert problem.message == message
    assert problem.value is not None
    assert problem.value.startswith('"')
    assert allowed in (problem.allowed or "")


@pytest.mark.parametrize("mount", ["opt/cache", "/", "//", "/a/../b", "/a/./b", ""])
def test_mount_paths_are_absolute_and_plain(problems_of, mount):
    path = "spec.modelCache.pvcMountPath"
    problem = problems_of({"spec.modelCache": {"pvcName": "w", "pvcMountPath": mount}})[path]
    assert problem.message == "is not a mount path"
    assert problem.allowed == "an absolute path below /, without '.' and '..' segments"


@pytest.mark.parametrize("inside", ["", "/", "../secrets", "a/../../b", "./a"])
def test_paths_stay_inside_the_claim(raw, inside):
    data = raw({"spec.modelCache": {"pvcName": "w", "pvcModelPath": inside}})
    with pytest.raises(InputError) as caught:
        parse_dgdr(data, source="request.yaml")
    assert "spec.modelCache.pvcModelPath: is not a path inside the claim" in str(caught.value)


@pytest.mark.parametrize("where", ["metadata.labels", "spec.features.planner"])
def test_keys_of_open_sections_must_be_text(problems_of, where):
    problem = problems_of({where: {1: "x"}})[f"{where}.1"]
    assert problem.message == "keys must be text"
    assert problem.allowed == "text"


def test_keys_of_fixed_sections_must_be_text(problems_of):
    problem = problems_of({"spec.sla": {True: 1}})["spec.sla.true"]
    assert problem.message == "keys must be text"
    assert problem.value == "true"


def test_raw_sections_hold_json_values_only(problems_of):
    planner = {"x": {"dict": [{"y": b"bytes"}], "list": {2: 1}}}
    fields = [{"a": {"b": b"bytes"}}]
    found = problems_of({"spec.features.planner": planner, "metadata.managedFields": fields})
    value = found["spec.features.planner.x.dict[0].y"]
    assert value.message == "has the wrong type"
    assert value.allowed == "text, numbers, true, false, null, lists and sections"
    assert found["spec.features.planner.x.list.2"].message == "keys must be text"
    assert "metadata.managedFields[0].a.b" in found


def test_list_positions_stand_in_the_path(problems_of):
    conditions = [
        {"type": "Validation", "status": "True"},
        {"type": "Profiling", "status": "Maybe", "resaon": "x"},
    ]
    found = problems_of({"status.conditions": conditions})
    assert found["status.conditions[1].status"].allowed == "True, False, Unknown"
    assert found["status.conditions[1].resaon"].message.endswith("did you mean 'reason'?")


def test_all_errors_of_a_file_come_at_once(raw):
    data = raw(
        {
            "metadata.name": "Bad",
            "spec.backend": "vlm",
            "spec.sla": {"ttft": -1, "itl": "x"},
            "spec.workload": {"requestRate": 1, "concurrency": 2},
            "spec.unknown": 1,
        }
    )
    with pytest.raises(CombinedInputError) as caught:
        parse_dgdr(data, source="request.yaml")
    assert [problem.path for problem in caught.value.errors] == [
        "metadata.name",
        "spec.backend",
        "spec.sla.ttft",
        "spec.sla.itl",
        "spec.unknown",
        "spec.workload.concurrency",
    ]
    assert len(str(caught.value).splitlines()) == 6
    assert caught.value.exit_code == 2


def test_a_single_error_is_not_wrapped(raw):
    with pytest.raises(InputError) as caught:
        parse_dgdr(raw({"spec.backend": "vlm"}), source="request.yaml")
    assert type(caught.value) is InputError
