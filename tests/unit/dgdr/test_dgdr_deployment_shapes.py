"""Every backend, topology and shape: machines, GPUs, schemas and both versions."""

from __future__ import annotations

from typing import Any

import pytest
from dgdr_deployments import (
    BACKENDS,
    SHAPES,
    TOPOLOGIES,
    after,
    components,
    container,
    env,
    moe_engine,
    plan_of,
)
from dgdr_schema_check import admit
from test_dgdr_crds import GRAPHS, _schema

from contracts.engine import Backend
from contracts.errors import InfeasibleError, InputError
from contracts.plan import DeploymentPlan, RouterPolicy
from dgdr import Dgdr, build_dgd, build_picked, parse_dgdr
from dgdr.convert import convert_object
from harness.cluster.schema import rule_problems, validate

OLD, NEW = "nvidia.com/v1alpha1", "nvidia.com/v1beta1"
EVERYTHING: dict[str, object] = {
    "spec.hardware": {"numGpusPerNode": 8, "totalGpus": 64},
    "spec.modelCache": {"pvcName": "weights", "pvcModelPath": "hub/x"},
    "spec.features.kvRouter.enabled": True,
    "spec.runtimeVersionOverride": "1.2.1",
    "spec.overrides.trustRemoteCode": True,
    "spec.overrides.profilingJob": {
        "template": {"spec": {"containers": [], "tolerations": [{"operator": "Exists"}]}}
    },
}


def _plan(backend: str, topology: str, shape: str) -> DeploymentPlan:
    # An auto request runs what the plan was made for; mockers follow vLLM here.
    return plan_of(topology, moe_engine("vllm" if backend == "mocker" else backend, shape))


def _request(raw: Any, backend: str, **changes: object) -> Dgdr:
    mocker = backend == "mocker"
    own = {"spec.backend": "vllm" if mocker else backend, "spec.features.mocker.enabled": mocker}
    return parse_dgdr(raw({**EVERYTHING, **own, **changes}), source="r")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("backend", [*BACKENDS, "mocker"])
@pytest.mark.parametrize("planner", [None, {"mode": "disagg"}])
def test_all_documents_are_what_the_schemas_say(raw, backend, topology, shape, planner) -> None:
    request = _request(raw, backend)
    plan = _plan(backend, topology, shape)
    new = build_dgd(request, plan, planner_config=planner)[-1]
    old = build_dgd(request, plan, planner_config=planner, api_version=OLD)[-1]
    for version, graph in (("v1beta1", new), ("v1alpha1", old)):
        schema = _schema(GRAPHS, version)
        assert admit(schema, graph)[1:] == ([], [])
        assert validate(graph, schema) == []
        assert rule_problems(graph, schema) == []
    there = convert_object(new, OLD)
    assert admit(_schema(GRAPHS, "v1alpha1"), there)[1:] == ([], [])
    back = convert_object(there, NEW)
    assert sorted(back["spec"]["components"], key=lambda part: part["name"]) == sorted(
        new["spec"]["components"], key=lambda part: part["name"]
    )
    assert {**back, "spec": None} == {**new, "spec": None}
    assert set(back["spec"]) == set(new["spec"])
    assert convert_object(convert_object(old, NEW), OLD) == old


@pytest.mark.parametrize(
    ("shape", "gpus", "nodes", "per_pod"),
    [
        ("TP", 8, None, "8"),
        ("TP+PP", 16, 2, "8"),
        ("TEP", 8, None, "8"),
        ("DEP", 8, None, "8"),
        ("DEP on two nodes", 16, 2, "8"),
        ("DP without EP", 4, None, "4"),
    ],
)
@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_machines_and_gpus(raw, backend, topology, shape, gpus, nodes, per_pod) -> None:
    plan = _plan(backend, topology, shape)
    assert plan.topology.pools[0].engine.gpus == gpus
    parts = components(build_dgd(_request(raw, backend), plan, planner_config=None))
    for name, part in parts.items():
        if name == "Frontend":
            continue
        assert part.get("multinode") == (None if nodes is None else {"nodeCount": nodes})
        assert container(part)["resources"]["limits"] == {"nvidia.com/gpu": per_pod}


def test_what_pods_take_counts_against_the_budget(raw) -> None:
    engine = moe_engine("vllm", tp=6, dp=2)  # 12 GPUs on two machines of 8: 16 are taken
    plan = plan_of("disagg", engine)
    hardware = {"numGpusPerNode": 8, "totalGpus": 48}
    build_dgd(_request(raw, "vllm", **{"spec.hardware": hardware}), plan, planner_config=None)
    smaller = {**hardware, "totalGpus": 40}
    with pytest.raises(InfeasibleError, match="uses 36 GPUs, and its pods take 48"):
        build_dgd(_request(raw, "vllm", **{"spec.hardware": smaller}), plan, planner_config=None)


@pytest.mark.parametrize(
    ("backend", "flags"),
    [
        ("vllm", {"--tensor-parallel-size": "1", "--data-parallel-size": "8"}),
        (
            "sglang",
            {
                "--tensor-parallel-size": "8",
                "--data-parallel-size": "8",
                "--expert-parallel-size": "8",
            },
        ),
        (
            "trtllm",
            {
                "--tensor-parallel-size": "8",
                "--expert-parallel-size": "8",
                "--trtllm.enable_attention_dp": "true",
            },
        ),
    ],
)
def test_attention_and_expert_parallelism(raw, backend, flags) -> None:
    parts = components(
        build_dgd(_request(raw, backend), _plan(backend, "disagg", "DEP"), planner_config=None)
    )
    for role in ("prefill", "decode"):
        args = container(parts[role])["args"]
        assert {flag: after(args, flag) for flag in flags} == flags
        assert ("--enable-expert-parallel" in args) is (backend == "vllm")
        assert ("--enable-dp-attention" in args) is (backend == "sglang")


@pytest.mark.parametrize(
    ("backend", "agg", "disagg"),
    [
        ("vllm", ["VllmWorker"], ["VllmPrefillWorker", "VllmDecodeWorker"]),
        ("sglang", ["decode"], ["prefill", "decode"]),
        ("trtllm", ["TRTLLMWorker"], ["prefill", "decode"]),
        ("mocker", ["decode"], ["prefill", "decode"]),
    ],
)
def test_services_have_the_names_of_their_version(raw, backend, agg, disagg) -> None:
    for topology, names in (("agg", agg), ("disagg", disagg)):
        plan = _plan(backend, topology, "TP")
        request = _request(raw, backend, **{"metadata.name": "d"})
        (graph,) = build_dgd(request, plan, planner_config=None, api_version=OLD)
        assert graph["apiVersion"] == OLD
        assert set(graph["spec"]["services"]) == {"Frontend", *names}
        assert graph["spec"]["pvcs"] == [{"name": "weights", "create": False}]
        for name, service in graph["spec"]["services"].items():
            assert service["volumeMounts"] == [
                {"name": "weights", "mountPoint": "/opt/model-cache"}
            ]
            if name == "Frontend":
                assert service["componentType"] == "frontend"
                continue
            assert service["componentType"] == "worker"
            roles = {"agg": None, "disagg": "decode" if "ecode" in name else "prefill"}
            assert service.get("subComponentType") == roles[topology]
            if backend != "mocker":
                assert service["resources"]["limits"] == {"gpu": "8"}


def test_longer_names_of_services_are_measured(raw) -> None:
    request = _request(raw, "vllm", **{"metadata.name": "a" * 30})
    plan = _plan("vllm", "disagg", "TP")
    build_dgd(request, plan, planner_config=None)
    with pytest.raises(InputError, match="VllmPrefillWorker"):
        build_dgd(request, plan, planner_config=None, api_version=OLD)
    with pytest.raises(InputError, match="unknown version"):
        build_dgd(request, plan, planner_config=None, api_version="nvidia.com/v2")


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_open_request_runs_what_the_plan_was_made_for(raw, backend) -> None:
    request = _request(raw, "auto")
    plan = _plan(backend, "disagg", "TP")
    assert plan.topology.pools[0].engine.backend is Backend(backend)
    graph = build_dgd(request, plan, planner_config=None)
    assert graph[-1]["metadata"]["name"].startswith(f"{backend}-disagg-")
    for role in ("prefill", "decode"):
        worker = container(components(graph)[role])
        assert worker["command"] == ["python3", "-m", f"dynamo.{backend}"]


def test_a_plan_that_counts_on_the_kv_router_gets_it(request_of) -> None:
    plan = plan_of("agg", moe_engine("vllm"), router=RouterPolicy.KV_AWARE)
    parts = components(build_dgd(request_of(), plan, planner_config=None))
    assert env(parts["Frontend"]) == {"DYN_ROUTER_MODE": "kv"}


@pytest.mark.parametrize(("version", "name"), [("1.2.1", "aic"), ("1.6.0", "ais"), (None, "ais")])
def test_mockers_follow_the_release_of_the_image(raw, version, name) -> None:
    tag = "latest" if version is None else "1.6.0"
    changes = {"spec.runtimeVersionOverride": version, "spec.image": f"host/dynamo-planner:{tag}"}
    graph = build_dgd(
        _request(raw, "mocker", **changes), _plan("mocker", "agg", "TEP"), planner_config=None
    )
    args = container(components(graph)["decode"])["args"]
    found = {word for word in args if word.startswith(f"--{name}-")}
    ends = ["perf-model", "backend", "system", "tp-size", "moe-tp-size", "moe-ep-size"]
    ends += ["attention-dp-size", *(["backend-version"] if name == "ais" else [])]
    assert found == {f"--{name}-{end}" for end in ends}
    assert (after(args, f"--{name}-system"), after(args, f"--{name}-tp-size")) == ("h200_sxm", "8")


def test_the_picked_deployment_is_kept_without_planner_mocker_and_override(raw) -> None:
    changes = {
        "spec.features.planner": {},
        "spec.overrides.dgd": {"metadata": {"labels": {"a": "b"}}},
    }
    picked = build_picked(_request(raw, "mocker", **changes), _plan("vllm", "disagg", "TP"))
    assert [part["name"] for part in picked["spec"]["components"]] == [
        *("Frontend", "prefill", "decode")
    ]
    assert "labels" not in picked["metadata"]
    decode = components([picked])["decode"]
    assert container(decode)["command"][-1] == "dynamo.vllm"
    assert "scalingAdapter" not in decode
