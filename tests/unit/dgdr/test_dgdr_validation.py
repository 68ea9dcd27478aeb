"""Rules across fields."""

from __future__ import annotations

import pytest

from contracts.errors import CombinedInputError, InputError
from dgdr import parse_dgdr


@pytest.mark.parametrize(
    ("sla", "value"),
    [
        ({"e2eLatency": 9000, "ttft": 500}, "e2eLatency 9000, ttft 500"),
        ({"e2eLatency": 9000, "itl": 12.5}, "e2eLatency 9000, itl 12.5"),
        ({"e2eLatency": 9000, "ttft": 500, "itl": 50}, "e2eLatency 9000, ttft 500, itl 50"),
    ],
)
def test_end_to_end_latency_excludes_ttft_and_itl(problems_of, sla, value):
    problem = problems_of({"spec.sla": sla})["spec.sla.e2eLatency"]
    assert problem.message == "SLA must specify either (ttft and itl) or e2eLatency, not both"
    assert problem.value == value
    assert problem.allowed == "e2eLatency alone, or ttft and itl"


@pytest.mark.parametrize(
    ("sla", "path"),
    [
        ({"ttft": None}, "spec.sla.ttft"),
        ({"ttft": 500, "itl": None}, "spec.sla.itl"),
    ],
)
def test_one_latency_cannot_be_switched_off(problems_of, sla, path):
    problem = problems_of({"spec.sla": sla})[path]
    assert problem.message == "ttft and itl must both be provided together"
    assert problem.value == "nothing"
    assert problem.allowed == "a number above 0, or leave the key out to keep its default"


@pytest.mark.parametrize("backend", ["auto", None])
def test_thorough_needs_a_concrete_backend(problems_of, backend):
    found = problems_of({"spec.searchStrategy": "thorough", "spec.backend": backend})
    problem = found["spec.searchStrategy"]
    assert problem.message == "THOROUGH search strategy does not support 'auto' backend"
    assert problem.value == "thorough with backend auto"
    assert problem.allowed == ("rapid, or thorough with one of the backends vllm, sglang, trtllm")


@pytest.mark.parametrize("backend", ["vllm", "sglang", "trtllm"])
def test_thorough_with_a_concrete_backend_is_fine(request_of, backend):
    spec = request_of({"spec.searchStrategy": "thorough", "spec.backend": backend}).spec
    assert spec.backend.value == backend


def test_only_one_load_may_be_given(problems_of):
    found = problems_of({"spec.workload": {"requestRate": 2.5, "concurrency": 10}})
    problem = found["spec.workload.concurrency"]
    assert problem.message == (
        "Only one of 'concurrency' or 'requestRate' can be provided, not both"
    )
    assert problem.value == "concurrency 10, requestRate 2.5"
    assert problem.allowed == "concurrency or requestRate"


@pytest.mark.parametrize(
    ("cache", "given"),
    [
        ({"pvcModelPath": "a"}, "pvcModelPath"),
        ({"pvcMountPath": "/m"}, "pvcMountPath"),
        ({"pvcModelPath": "a", "pvcMountPath": "/m"}, "pvcModelPath and pvcMountPath"),
    ],
)
def test_paths_of_the_cache_need_a_claim(problems_of, cache, given):
    problem = problems_of({"spec.modelCache": cache})["spec.modelCache.pvcName"]
    assert problem.message == f"is required with {given}"
    assert problem.value == "nothing"
    assert problem.allowed == "the name of an existing claim"


@pytest.mark.parametrize(
    ("cache", "mount"),
    [
        ({"pvcModelPath": "/elsewhere/a"}, "/opt/model-cache"),
        ({"pvcModelPath": "/opt/model-cache-2/a"}, "/opt/model-cache"),
        ({"pvcModelPath": "/opt/model-cache/a", "pvcMountPath": "/models/"}, "/models"),
    ],
)
def test_an_absolute_model_path_lies_under_the_mount(problems_of, cache, mount):
    found = problems_of({"spec.modelCache": {"pvcName": "w", **cache}})
    problem = found["spec.modelCache.pvcModelPath"]
    assert problem.message == "is absolute but not under the mount"
    assert problem.value == f'"{cache["pvcModelPath"]}"'
    assert problem.allowed == f"a path inside the claim, or one that starts with {mount}/"


@pytest.mark.parametrize("enabled", ["yes", 1, None, []])
def test_planner_enabled_is_true_or_false(problems_of, enabled):
    path = "spec.features.planner.enabled"
    problem = problems_of({path: enabled})[path]
    assert problem.message == "has the wrong type"
    assert problem.allowed == "true or false"


@pytest.mark.parametrize(("mode", "value"), [("none", '"none"'), (None, "nothing")])
def test_mocker_and_planner_need_a_sweep(problems_of, mode, value):
    features = {"planner": {"pre_deployment_sweeping_mode": mode}, "mocker": {"enabled": True}}
    found = problems_of({"spec.features": features})
    problem = found["spec.features.planner.pre_deployment_sweeping_mode"]
    assert problem.message == "the mocker with a planner needs the data of a sweep"
    assert problem.value == value
    assert problem.allowed == "rapid, thorough"


@pytest.mark.parametrize(
    "features",
    [
        {"planner": {"pre_deployment_sweeping_mode": "none"}},
        {"planner": {"pre_deployment_sweeping_mode": "rapid"}, "mocker": {"enabled": True}},
        {"planner": {}, "mocker": {"enabled": True}},
        {
            "planner": {"enabled": False, "pre_deployment_sweeping_mode": "none"},
            "mocker": {"enabled": True},
        },
    ],
)
def test_sweep_modes_that_are_fine(request_of, features):
    assert request_of({"spec.features": features}).spec.features.planner == features["planner"]


@pytest.mark.parametrize(
    ("job", "value"),
    [
        ({}, "nothing"),
        ({"template": {"spec": {}}}, "nothing"),
        ({"template": {"spec": {"containers": "x"}}}, '"x"'),
        ({"template": []}, "nothing"),
    ],
)
def test_a_profiling_job_lists_containers(problems_of, job, value):
    path = "spec.overrides.profilingJob.template.spec.containers"
    problem = problems_of({"spec.overrides.profilingJob": job})[path]
    assert problem.message == "is required"
    assert problem.value == value
    assert problem.allowed == "a list of containers, may be []"


@pytest.mark.parametrize(
    ("override", "path", "message", "allowed"),
    [
        (
            {"apiVersion": "nvidia.com/v1beta1"},
            "spec.overrides.dgd",
            "gives apiVersion alone",
            "apiVersion and kind together",
        ),
        (
            {"kind": "DynamoGraphDeployment"},
            "spec.overrides.dgd",
            "gives kind alone",
            "apiVersion and kind together",
        ),
        (
            {"apiVersion": "nvidia.com/v1beta1", "kind": "Deployment"},
            "spec.overrides.dgd.kind",
            "unknown value",
            "DynamoGraphDeployment",
        ),
        (
            {"status": {"state": "successful"}},
            "spec.overrides.dgd.status",
            "cannot be overridden",
            "no status",
        ),
        (
            {"spec": {"components": [{"name": "decode", "replicas": None}]}},
            "spec.overrides.dgd.spec.components[0].replicas",
            "field deletion is not supported",
            "a value",
        ),
    ],
)
def test_deployment_overrides_are_checked(problems_of, override, path, message, allowed):
    problem = problems_of({"spec.overrides.dgd": override})[path]
    assert problem.message == message
    assert problem.allowed == allowed


def _errors(raw, changes) -> list[InputError]:
    with pytest.raises(InputError) as caught:
        parse_dgdr(raw(changes), source="request.yaml")
    error = caught.value
    return list(error.errors) if isinstance(error, CombinedInputError) else [error]


@pytest.mark.parametrize(
    ("backend", "mocker", "longest"),
    [
        ("vllm", False, 33),
        ("sglang", False, 33),
        ("auto", False, 29),
        ("auto", True, 33),
        ("trtllm", False, 29),
        ("trtllm", True, 33),
    ],
)
def test_names_leave_room_for_the_longest_component(raw, request_of, backend, mocker, longest):
    changes = {"spec.backend": backend, "spec.features.mocker.enabled": mocker}
    request_of({**changes, "metadata.name": "a" * longest})
    errors = _errors(raw, {**changes, "metadata.name": "a" * (longest + 1)})
    assert len(errors) == 1
    component = "TRTLLMWorker" if longest == 29 else "Frontend"
    assert errors[0].path == "metadata.name"
    assert errors[0].value == f"{longest + 5} + {len(component)} characters"
    assert errors[0].allowed == "at most 45 together"
    assert f"too long with component {component!r}" in errors[0].message


def test_all_components_with_too_long_a_name_are_listed(raw):
    changes = {"metadata.name": "a" * 60, "spec.features.planner": {}}
    errors = _errors(raw, changes)
    named = [error.message.rsplit("component ", 1)[1] for error in errors]
    assert named == ["'Frontend'", "'worker'", "'prefill'", "'decode'", "'Planner'"]


def test_the_planner_counts_only_when_it_is_on(raw):
    errors = _errors(raw, {"metadata.name": "a" * 60, "spec.features.planner": {"enabled": False}})
    assert not any("Planner" in error.message for error in errors)
    assert len(errors) == 4


def test_an_overriding_name_is_measured_in_place_of_the_own_name(raw, request_of):
    long, short = "b" * 38, "b" * 37
    request_of({"metadata.name": "a" * 55, "spec.overrides.dgd.metadata.name": short})
    errors = _errors(raw, {"spec.overrides.dgd.metadata.name": long})
    assert [error.path for error in errors] == ["spec.overrides.dgd.metadata.name"]
    assert errors[0].value == "38 + 8 characters"
