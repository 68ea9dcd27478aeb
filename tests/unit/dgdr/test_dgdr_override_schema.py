"""What of overrides.dgd is refused when a request is admitted, before any profiling."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.errors import CombinedInputError, InputError
from dgdr import parse_dgdr
from dgdr.deployment.overrides import apply_override

ROOT = "spec.overrides.dgd"
NEW = {"apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeployment"}
OLD = {"apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeployment"}


def _new(*parts: Any, **spec: Any) -> dict[str, Any]:
    return {**NEW, "spec": {"components": list(parts), **spec}}


def _main(**main: Any) -> dict[str, Any]:
    container = {"name": "main", **main}
    return _new({"name": "decode", "podTemplate": {"spec": {"containers": [container]}}})


def _old(**main: Any) -> dict[str, Any]:
    service = {"extraPodSpec": {"mainContainer": main}}
    return {**OLD, "spec": {"services": {"decode": service}}}


CONTAINER = "spec.components[0].podTemplate.spec.containers[0]"
SERVICE = "spec.services.decode.extraPodSpec.mainContainer"
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "alone": ({"kind": "DynamoGraphDeployment"}, ""),
    "version": ({**NEW, "apiVersion": "nvidia.com/v1"}, "apiVersion"),
    "kind": ({**NEW, "kind": "Pod"}, "kind"),
    "status": ({**NEW, "status": {}}, "status"),
    "null": (_main(image=None), f"{CONTAINER}.image"),
    "null entry": (_main(args=["a", None]), f"{CONTAINER}.args[1]"),
    "metadata": ({**NEW, "metadata": []}, "metadata"),
    "name": ({**NEW, "metadata": {"name": "Not_a_name"}}, "metadata.name"),
    "label": ({**NEW, "metadata": {"labels": {"a": 1}}}, "metadata.labels.a"),
    "spec": ({**NEW, "spec": []}, "spec"),
    "old part": ({**NEW, "spec": {"services": {}}}, "spec.services"),
    "new part": ({"spec": {"components": []}}, "spec.components"),
    "components": ({**NEW, "spec": {"components": {}}}, "spec.components"),
    "component": (_new("decode"), "spec.components[0]"),
    "component name": (_new({"replicas": 1}), "spec.components[0].name"),
    "replicas": (_new({"name": "decode", "replicas": "2"}), "spec.components[0].replicas"),
    "negative": (_new({"name": "decode", "replicas": -1}), "spec.components[0].replicas"),
    "type": (_new({"name": "decode", "type": "gpu"}), "spec.components[0].type"),
    "nodes": (
        _new({"name": "decode", "multinode": {"nodeCount": 1}}),
        "spec.components[0].multinode.nodeCount",
    ),
    "twice": (_new({"name": "a"}, {"name": "a"}), "spec.components[1]"),
    "epp": (_new({"name": "a", "type": "epp"}, {"name": "b", "type": "epp"}), "spec.components"),
    "args": (_main(args="--x"), f"{CONTAINER}.args"),
    "argument": (_main(args=["--x", 8]), f"{CONTAINER}.args[1]"),
    "variable": (_main(env=[{"name": "A", "value": 8}]), f"{CONTAINER}.env[0].value"),
    "variable name": (_main(env=[{"value": "8"}]), f"{CONTAINER}.env[0].name"),
    "variable twice": (
        _main(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]),
        f"{CONTAINER}.env[1]",
    ),
    "amount": (
        _main(resources={"limits": {"nvidia.com/gpu": [1]}}),
        f"{CONTAINER}.resources.limits.nvidia.com/gpu",
    ),
    "mount": (_main(volumeMounts=[{"name": "a"}]), f"{CONTAINER}.volumeMounts[0]"),
    "old services": ({**OLD, "spec": {"services": []}}, "spec.services"),
    "old replicas": (
        {**OLD, "spec": {"services": {"decode": {"replicas": 1.5}}}},
        "spec.services.decode.replicas",
    ),
    "old adapter": (
        {**OLD, "spec": {"services": {"decode": {"scalingAdapter": {"enabled": "yes"}}}}},
        "spec.services.decode.scalingAdapter.enabled",
    ),
    "old argument": (_old(args=[8]), f"{SERVICE}.args[0]"),
    "old command": (_old(command="sh"), f"{SERVICE}.command"),
    "old variable": (
        {**OLD, "spec": {"services": {"decode": {"envs": [{"name": "A", "value": True}]}}}},
        "spec.services.decode.envs[0].value",
    ),
    "old mount": (
        {**OLD, "spec": {"services": {"decode": {"volumeMounts": ["x"]}}}},
        "spec.services.decode.volumeMounts[0]",
    ),
}


@pytest.mark.parametrize(("override", "path"), WRONG.values(), ids=WRONG)
def test_wrong_overrides_are_refused_with_their_place(raw, override, path):
    with pytest.raises(InputError) as caught:
        parse_dgdr(raw({ROOT: override}), source="f.yaml")
    error = caught.value
    found = error.errors if isinstance(error, CombinedInputError) else (error,)
    wanted = f"{ROOT}.{path}" if path else ROOT
    assert [problem.path for problem in found] == [wanted]
    assert all(problem.source == "f.yaml" and problem.allowed for problem in found)


def test_building_refuses_the_same(request_of):
    for override, _ in WRONG.values():
        with pytest.raises(InputError):
            apply_override({}, override)


def test_all_findings_are_listed(raw):
    override = _new(
        {"name": "decode", "replicas": "2", "podTemplate": {"spec": {"containers": "x"}}},
        {"name": "prefill", "type": "gpu"},
    )
    with pytest.raises(CombinedInputError) as caught:
        parse_dgdr(raw({ROOT: override}), source="f.yaml")
    assert [problem.path for problem in caught.value.errors] == [
        f"{ROOT}.spec.components[0].replicas",
        f"{ROOT}.spec.components[1].type",
        f"{ROOT}.spec.components[0].podTemplate.spec.containers",
    ]


@pytest.mark.parametrize(
    "override",
    [
        _main(resources={"limits": {"nvidia.com/gpu": 8, "cpu": "500m"}}, env=[]),
        _main(ports=[{"containerPort": 1}, {"containerPort": 1, "protocol": "UDP"}]),
        _new({"name": "decode", "unknownKey": {"kept": [1, {"a": "b"}]}}, restart={"id": "1"}),
        {**OLD, "spec": {"pvcs": [{"name": "a", "create": True, "size": "1Gi"}]}},
        _old(args=["--x"], livenessProbe={"httpGet": {"port": 1}}),
    ],
)
def test_what_is_not_known_to_be_wrong_is_kept(raw, override):
    request = parse_dgdr(raw({ROOT: override}), source="f.yaml")
    assert request.spec.overrides.dgd == override


def test_the_name_of_an_override_is_measured_at_once(raw):
    with pytest.raises(InputError, match="45 together"):
        parse_dgdr(raw({ROOT: {"metadata": {"name": "a" * 38}}}), source="f.yaml")
