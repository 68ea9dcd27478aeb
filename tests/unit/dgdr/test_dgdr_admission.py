"""The admission webhook: every invalid spec of the contract, by field and reason."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from contracts.errors import InputError
from dgdr.reconcile.admission import MUTATE_PATH, VALIDATE_PATH, review_admission
from dgdr.reconcile.settings import OperatorSettings

SETTINGS = OperatorSettings()
DGD = {"apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeployment"}


def request(name: str = "r", status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeploymentRequest",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"model": "m", "image": "i", **spec},
    }
    return found if status is None else found | {"status": status}


def asked(
    data: dict[str, Any] | None,
    old: dict[str, Any] | None = None,
    path: str = VALIDATE_PATH,
    settings: OperatorSettings = SETTINGS,
) -> dict[str, Any]:
    body = {"uid": "u", "object": data, "oldObject": old}
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": body}
    answer: dict[str, Any] = review_admission(review, path, settings)["response"]
    assert answer["uid"] == "u"
    return answer


def fields(answer: dict[str, Any]) -> list[tuple[str, str]]:
    """Field and reason of every cause; empty when the request was let in."""
    if answer["allowed"]:
        return []
    status = answer["status"]
    assert (status["code"], status["reason"]) == (422, "Invalid")
    causes = status["details"]["causes"]
    assert all(cause["message"] in status["message"] for cause in causes)
    return [(cause["field"], cause["reason"].removeprefix("FieldValue")) for cause in causes]


INVALID: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    ({"searchStrategy": "thorough"}, [("spec.searchStrategy", "Invalid")]),
    ({"sla": {"e2eLatency": 9, "ttft": 1}}, [("spec.sla.e2eLatency", "Invalid")]),
    ({"sla": {"ttft": None, "itl": 3}}, [("spec.sla.ttft", "Invalid")]),
    ({"sla": {"ttft": -1}}, [("spec.sla.ttft", "Invalid")]),
    (
        {"workload": {"requestRate": 1, "concurrency": 2}},
        [("spec.workload.concurrency", "Invalid")],
    ),
    ({"hardware": {"gpuSku": "h900_sxm"}}, [("spec.hardware.gpuSku", "Invalid")]),
    ({"hardware": {"totalGpus": 0}}, [("spec.hardware.totalGpus", "Invalid")]),
    ({"modelCache": {"pvcModelPath": "a"}}, [("spec.modelCache.pvcName", "Required")]),
    (
        {"modelCache": {"pvcName": "c", "pvcModelPath": "/elsewhere/a"}},
        [("spec.modelCache.pvcModelPath", "Invalid")],
    ),
    (
        {"overrides": {"dgd": {**DGD, "spec": {"components": [{"replicas": None}]}}}},
        [("spec.overrides.dgd.spec.components[0].replicas", "Invalid")],
    ),
    ({"overrides": {"dgd": {"kind": DGD["kind"]}}}, [("spec.overrides.dgd", "Invalid")]),
    ({"overrides": {"dgd": {**DGD, "status": {}}}}, [("spec.overrides.dgd.status", "Invalid")]),
    (
        {"overrides": {"profilingJob": {"template": {"spec": {}}}}},
        [("spec.overrides.profilingJob.template.spec.containers", "Required")],
    ),
    ({"runtimeVersionOverride": "one"}, [("spec.runtimeVersionOverride", "Invalid")]),
]


@pytest.mark.parametrize(("spec", "expected"), INVALID)
def test_every_invalid_spec_is_refused(spec, expected):
    assert fields(asked(request(**spec))) == expected


def test_the_planner_settings_are_checked():
    off = {"enable_load_scaling": False}
    spec = {
        "features": {
            "planner": {"optimization_target": "sla", "enable_throughput_scaling": False, **off}
        }
    }
    ((field, _),) = fields(asked(request(**spec)))
    assert field.startswith("spec.features.planner")


def test_all_findings_come_at_once():
    found = fields(asked(request(searchStrategy="thorough", hardware={"gpuSku": "x"})))
    assert {field for field, _ in found} == {"spec.searchStrategy", "spec.hardware.gpuSku"}


def test_names_that_lead_to_longer_ones_are_measured():
    assert fields(asked(request("n" * 33, backend="vllm"))) == []
    ((field, _),) = fields(asked(request("n" * 34, backend="vllm")))
    assert field == "metadata.name"
    assert fields(asked(request("n" * 29))) == []
    assert fields(asked(request("n" * 30))) != []
    assert fields(asked(request("n" * 30, backend="trtllm"))) != []


def test_hardware_must_be_given_where_it_cannot_be_discovered():
    settings = OperatorSettings(discovery=False)
    assert fields(asked(request(), settings=settings)) == [("spec.hardware", "Required")]
    assert asked(request(hardware={"numGpusPerNode": 8}), settings=settings)["allowed"]


def test_a_stored_mistake_blocks_no_other_change():
    bad = request(searchStrategy="thorough")
    assert asked({**bad, "metadata": {"name": "r", "labels": {"a": "b"}}}, bad)["allowed"]
    assert asked(request(searchStrategy="thorough", sla={"ttft": 5}), bad)["allowed"]
    worse = request(searchStrategy="thorough", sla={"ttft": -5})
    assert fields(asked(worse, bad)) == [("spec.sla.ttft", "Invalid")]


@pytest.mark.parametrize("phase", ["Profiling", "Deploying", "Deployed"])
def test_a_spec_in_use_stays_as_it_is(phase):
    old = request(status={"phase": phase})
    assert fields(asked(request(sla={"ttft": 5}), old)) == [("spec", "Forbidden")]
    assert asked(request(), old)["allowed"]


def test_in_ready_auto_apply_may_change():
    old = request(status={"phase": "Ready"}, autoApply=False)
    assert asked(request(autoApply=True), old)["allowed"]
    assert fields(asked(request(autoApply=True, backend="vllm"), old)) == [("spec", "Forbidden")]


def test_defaults_are_filled_in_on_creation_only():
    settings = OperatorSettings(default_image="reg/img:1.0.0")
    bare = request()
    del bare["spec"]["image"]
    answer = asked(bare, path=MUTATE_PATH, settings=settings)
    assert json.loads(base64.b64decode(answer["patch"])) == [
        {"op": "add", "path": "/spec/backend", "value": "auto"},
        {"op": "add", "path": "/spec/searchStrategy", "value": "rapid"},
        {"op": "add", "path": "/spec/autoApply", "value": True},
        {"op": "add", "path": "/spec/image", "value": "reg/img:1.0.0"},
    ]
    assert "patch" not in asked(bare, bare, path=MUTATE_PATH, settings=settings)
    full = request(backend="vllm", searchStrategy="rapid", autoApply=False)
    assert "patch" not in asked(full, path=MUTATE_PATH)


def test_retired_names_of_components_are_warned_about():
    services = {"VllmWorker": {}, "Frontend": {}, "TRTLLMDecodeWorker": {}}
    typed = {"apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeployment"}
    answer = asked(request(overrides={"dgd": {**typed, "spec": {"services": services}}}))
    assert answer["allowed"]
    root = "spec.overrides.dgd.spec.services"
    assert answer["warnings"] == [
        f"{root}.TRTLLMDecodeWorker: TRTLLMDecodeWorker is a retired name of decode",
        f"{root}.VllmWorker: VllmWorker is a retired name of worker",
    ]


def test_deletion_is_always_allowed_and_nonsense_is_not_understood():
    assert asked(None, request())["allowed"]
    with pytest.raises(InputError, match="AdmissionReview"):
        review_admission({"kind": "ConversionReview"}, VALIDATE_PATH, SETTINGS)
    with pytest.raises(InputError, match="version"):
        asked({**request(), "apiVersion": "nvidia.com/v1alpha1"})
