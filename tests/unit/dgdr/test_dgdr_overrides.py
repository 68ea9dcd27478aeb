"""overrides.dgd over generated deployments: merging, names, arguments."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from dgdr_deployments import BACKENDS, components, container, env, pod

from dgdr import build_dgd
from dgdr.deployment.overrides import apply_override, override_warnings

NEW = {"apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeployment"}
OLD = {"apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeployment"}


@pytest.fixture
def graph(request_of, disagg_plan):
    """A deployment with planner and cache."""
    request = request_of({"spec.modelCache": {"pvcName": "weights", "pvcModelPath": "x"}})
    return build_dgd(request, disagg_plan(), planner_config={})[-1]


def _new(*parts: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {**NEW, "spec": {**({"components": list(parts)} if parts else {}), **spec}}


def _old(**services: Any) -> dict[str, Any]:
    return {**OLD, "spec": {"services": services}}


def _pod(**main: Any) -> dict[str, Any]:
    return {"podTemplate": {"spec": {"containers": [{"name": "main", **main}]}}}


def _main(**values: Any) -> dict[str, Any]:
    return {"extraPodSpec": {"mainContainer": values}}


def _changed(graph, override) -> dict[str, dict[str, Any]]:
    before = copy.deepcopy((graph, override))
    result = apply_override(graph, override)
    assert (graph, override) == before, "nothing that goes in is changed"
    return components([result.graph])


@pytest.mark.parametrize("override", [None, {}, dict(NEW), dict(OLD), {"metadata": {"name": "m"}}])
def test_an_override_that_asks_for_nothing_changes_nothing(graph, override):
    assert apply_override(graph, override).graph == graph


def test_maps_are_merged_and_scalars_replaced(graph):
    part = {
        "name": "decode",
        "replicas": 5,
        "podTemplate": {
            "metadata": {"labels": {"team": "a"}},
            "spec": {"nodeSelector": {"pool": "gpu"}, "priorityClassName": "high"},
        },
    }
    found = _changed(graph, _new(part))
    before = components([graph])
    assert found["decode"]["replicas"] == 5
    assert found["decode"]["type"] == "decode"
    assert pod(found["decode"])["nodeSelector"] == {"pool": "gpu"}
    assert container(found["decode"]) == container(before["decode"])
    assert {k: v for k, v in found.items() if k != "decode"} == {
        k: v for k, v in before.items() if k != "decode"
    }


def test_keyed_lists_are_merged_by_key(graph):
    part = _pod(
        env=[{"name": "A", "value": "1"}, {"name": "DYN_BENCHMARK_MODE", "value": "off"}],
        volumeMounts=[
            {"name": "scratch", "mountPath": "/scratch"},
            {"name": "weights", "mountPath": "/opt/model-cache", "readOnly": True},
        ],
    )
    part["podTemplate"]["spec"]["volumes"] = [{"name": "scratch", "emptyDir": {}}]
    part["podTemplate"]["spec"]["containers"].append({"name": "side", "image": "i"})
    found = _changed(graph, _new({"name": "decode", **part}))["decode"]
    main, side = pod(found)["containers"]
    assert side == {"name": "side", "image": "i"}
    assert main["env"] == [
        {"name": "DYN_BENCHMARK_MODE", "value": "off"},
        {"name": "A", "value": "1"},
    ]
    assert main["volumeMounts"] == [
        {"name": "weights", "mountPath": "/opt/model-cache", "readOnly": True},
        {"name": "scratch", "mountPath": "/scratch"},
    ]
    assert [volume["name"] for volume in pod(found)["volumes"]] == ["weights", "scratch"]


def test_another_source_of_a_variable_or_volume_takes_the_place_of_the_first(graph):
    reference = {"secretKeyRef": {"name": "s", "key": "k"}}
    part = _pod(env=[{"name": "DYN_BENCHMARK_MODE", "valueFrom": reference}])
    part["podTemplate"]["spec"]["volumes"] = [{"name": "weights", "emptyDir": {}}]
    found = _changed(graph, _new({"name": "decode", **part}))["decode"]
    assert container(found)["env"] == [{"name": "DYN_BENCHMARK_MODE", "valueFrom": reference}]
    assert pod(found)["volumes"] == [{"name": "weights", "emptyDir": {}}]


def test_atomic_lists_are_replaced(graph):
    part = _pod(command=["x"], args=["--only"], envFrom=[{"secretRef": {"name": "own"}}])
    main = container(_changed(graph, _new({"name": "Frontend", **part}))["Frontend"])
    assert (main["command"], main["args"]) == (["x"], ["--only"])
    assert main["envFrom"] == [{"secretRef": {"name": "own"}}]


def test_keys_of_the_spec_are_merged_too(graph):
    found = apply_override(graph, _new(backendFramework="vllm", restart={"id": "1"})).graph
    assert found["spec"]["backendFramework"] == "vllm"
    assert found["spec"]["restart"] == {"id": "1"}
    assert found["spec"]["components"] == graph["spec"]["components"]


def test_labels_and_annotations_are_merged_and_the_rest_of_the_metadata_is_not(graph):
    metadata = {
        "name": "mine",
        "namespace": "other",
        "uid": "1",
        "labels": {"team": "a"},
        "annotations": {"note": "n", "nvidia.com/dgd-state": "x"},
    }
    result = apply_override(graph, {**NEW, "metadata": metadata})
    assert result.graph["metadata"] == {
        "name": graph["metadata"]["name"],
        "labels": {"team": "a"},
        "annotations": {"note": "n"},
    }
    assert result.warnings == (
        "spec.overrides.dgd.metadata.annotations: ignored, kept for the operator: "
        "nvidia.com/dgd-state",
        "spec.overrides.dgd.metadata: ignored: namespace, uid",
    )


# arguments


def test_arguments_are_replaced_in_v1beta1(graph):
    args = ["--model", "x", "--disaggregation-mode", "decode"]
    found = _changed(graph, _new({"name": "decode", **_pod(args=args)}))
    assert container(found["decode"])["args"] == args


def test_arguments_of_workers_are_appended_in_v1alpha1(graph):
    before = container(components([graph])["decode"])["args"]
    found = _changed(graph, _old(decode=_main(args=["--seed", "7"])))
    assert container(found["decode"])["args"] == [*before, "--seed", "7"]
    # Frontend and planner have no arguments of the search that would have to stay.
    found = _changed(graph, _old(Frontend=_main(args=["--http-port", "8000"])))
    assert container(found["Frontend"])["args"] == ["--http-port", "8000"]


@pytest.mark.parametrize(
    "extra",
    [
        ["--max-num-seqs", "9"],
        ["--max-num-seqs=9"],
        ["--max_num_seqs", "9"],
        ["-tp", "9"],
        ["--kv-transfer-config", "{}"],
    ],
)
def test_an_appended_option_stands_once_whatever_its_spelling(graph, extra):
    before = container(components([graph])["decode"])["args"]
    args = container(_changed(graph, _old(decode=_main(args=extra)))["decode"])["args"]
    assert args[-len(extra) :] == extra
    assert len(args) == len(before) - 2 + len(extra)
    assert "-1" not in args


def test_negative_values_belong_to_their_option(request_of, agg_plan):
    request = request_of({"spec.backend": "sglang"})
    (graph,) = build_dgd(request, agg_plan(chunked_prefill=False), planner_config=None)
    args = container(components([graph])["decode"])["args"]
    assert args[args.index("--chunked-prefill-size") + 1] == "-1"
    extra = ["--chunked-prefill-size", "4096"]
    found = container(_changed(graph, _old(decode=_main(args=extra)))["decode"])["args"]
    assert "-1" not in found
    assert found[-2:] == extra


def test_an_override_is_applied_once(request_of, disagg_plan):
    override = _old(decode=_main(args=["--seed", "7"]))
    request = request_of({"spec.overrides.dgd": override})
    graph = build_dgd(request, disagg_plan(), planner_config=None)
    assert container(components(graph)["decode"])["args"].count("--seed") == 1


def test_variables_and_resources_of_v1alpha1_have_one_place(graph):
    service = {
        "envs": [{"name": "DYN_BENCHMARK_MODE", "value": "off"}],
        **_main(
            env=[{"name": "A", "value": "1"}],
            resources={"limits": {"nvidia.com/gpu": "2", "cpu": "4", "rdma/ib": "2"}},
        ),
    }
    main = container(_changed(graph, _old(decode=service))["decode"])
    assert main["env"] == [
        {"name": "DYN_BENCHMARK_MODE", "value": "off"},
        {"name": "A", "value": "1"},
    ]
    assert main["resources"] == {
        "requests": {"ephemeral-storage": "2Gi"},
        "limits": {"nvidia.com/gpu": "2", "cpu": "4", "rdma/ib": "2"},
    }


@pytest.mark.parametrize(
    "override",
    [
        _new({"name": "decode", "replicas": 5, **_pod(env=[{"name": "A", "value": "1"}])}),
        _old(decode={**_main(args=["--seed", "7", "-tp", "2"]), "envs": [{"name": "A"}]}),
        _old(Frontend=_main(args=["--x"]), Planner={"replicas": 2}),
    ],
)
def test_merging_again_changes_nothing_more(graph, override):
    once = apply_override(graph, override).graph
    assert apply_override(once, override).graph == once != graph


# names of components


@pytest.mark.parametrize("backend", BACKENDS)
def test_everything_of_v1alpha1_arrives(request_of, agg_plan, backend):
    (graph,) = build_dgd(request_of({"spec.backend": backend}), agg_plan(), planner_config=None)
    name = next(name for name in components([graph]) if name != "Frontend")
    service = {
        "replicas": 4,
        "scalingAdapter": {"enabled": True},
        "resources": {"limits": {"gpu": "1", "custom": {"x/y": "2"}}},
        "sharedMemory": {"size": "80Gi"},
        "envs": [{"name": "A", "value": "1"}],
        "extraPodSpec": {"tolerations": [{"operator": "Exists"}]},
    }
    part = _changed(graph, _old(**{name: service}))[name]
    assert part["replicas"] == 4
    assert part["scalingAdapter"] == {}
    assert part["sharedMemory"] == {"size": "80Gi"}
    assert container(part)["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert env(part)["A"] == "1"
    assert pod(part)["tolerations"] == [{"operator": "Exists"}]


def test_the_order_of_components_stays(graph):
    found = apply_override(graph, _old(Planner={"replicas": 1}, prefill={"replicas": 2})).graph
    names = [part["name"] for part in found["spec"]["components"]]
    assert names == ["Frontend", "prefill", "decode", "Planner"]
    found["spec"]["components"][1]["replicas"] = 1
    assert found == graph


@pytest.mark.parametrize(
    "override", [_new({"name": "Extra", "replicas": 2}), _old(Extra={"replicas": 2})]
)
def test_unknown_components_are_dropped_with_a_warning(graph, override):
    result = apply_override(graph, override)
    assert result.graph == graph
    (warning,) = result.warnings
    assert "no component Extra (it has Frontend, prefill, decode, Planner)" in warning


@pytest.mark.parametrize(
    ("name", "present"),
    [("VllmDecodeWorker", "decode"), ("VllmPrefillWorker", "prefill"), ("Decode", None)],
)
def test_retired_names_still_mean_their_component(graph, name, present):
    result = apply_override(graph, _old(**{name: {"replicas": 7}}))
    found = {n: part["replicas"] for n, part in components([result.graph]).items()}
    if present is None:
        assert 7 not in found.values()
        return
    assert found[present] == 7
    assert f"{name} is a retired name of" in result.warnings[0]


def test_warnings_before_there_is_a_deployment_are_sorted():
    override = {
        "spec": {"services": {"VllmWorker": {}, "SGLangPrefillWorker": {}, "decode": {}}},
        "metadata": {"uid": "1"},
    }
    found = override_warnings(override)
    assert [text.split(": ")[0].removeprefix("spec.overrides.dgd") for text in found] == [
        ".metadata", ".spec.services.SGLangPrefillWorker", ".spec.services.VllmWorker", ""
    ]  # fmt: skip
    assert "deprecated" in found[-1]
    assert override_warnings(dict(NEW)) == ()
