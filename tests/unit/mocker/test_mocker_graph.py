"""Deployments by a DGD."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from contracts.engine import Backend
from contracts.errors import InputError
from contracts.plan import AggPlan, DisaggPlan, RouterPolicy
from mocker.dynamo.engine import worker_plan
from mocker.dynamo.graph import load_graph, plan_of_graph

GPU = {"GPU_SKU": "h200_sxm"}
QWEN = "Qwen/Qwen3-0.6B"


def component(name: str, module: str, *args: str, **more):
    container = {"name": "main", "command": ["python3", "-m", module], "args": list(args)}
    return {"name": name, "podTemplate": {"spec": {"containers": [container]}}, **more}


def graph(*components):
    return {"kind": "DynamoGraphDeployment", "metadata": {"name": "mine"},
            "spec": {"components": list(components)}}  # fmt: skip


def test_an_aggregated_graph() -> None:
    data = graph(
        component("frontend", "dynamo.frontend", "--router-mode", "kv"),
        component("worker", "dynamo.vllm", "--model", QWEN, "-tp", "2", replicas=3),
    )
    plan = plan_of_graph(data, GPU, source="x")
    assert isinstance(plan.topology, AggPlan)
    assert (plan.name, plan.router) == ("mine", RouterPolicy.KV_AWARE)
    assert (plan.topology.pool.replicas, plan.topology.pool.engine.tp) == (3, 2)
    assert plan.gpu_budget == 6


def test_a_disaggregated_graph() -> None:
    mode = "--disaggregation-mode"
    data = graph(
        component("p", "dynamo.sglang", "--model-path", QWEN, mode, "prefill", replicas=2),
        component("d", "dynamo.sglang", "--model-path", QWEN, mode, "decode"),
    )
    plan = plan_of_graph(data, GPU, source="x")
    assert isinstance(plan.topology, DisaggPlan)
    assert (plan.topology.prefill.replicas, plan.topology.decode.replicas) == (2, 1)
    assert plan.topology.decode.engine.backend is Backend.SGLANG
    assert plan.topology.prefill.engine.gpu.sku == "h200_sxm"


def test_services_of_the_older_version_and_shell_commands(tmp_path: Path) -> None:
    path = tmp_path / "dgd.yaml"
    path.write_text(
        "kind: DynamoGraphDeployment\nmetadata: {name: old}\nspec:\n  services:\n    W:\n"
        "      replicas: 1\n      extraPodSpec:\n        mainContainer:\n"
        "          command: [/bin/sh, -c]\n"
        f"          args: ['python3 -m dynamo.trtllm --model-path {QWEN}']\n"
    )
    plan = load_graph(path, GPU)
    assert (plan.name, plan.topology.pools[0].engine.backend) == ("old", Backend.TRTLLM)
    with pytest.raises(InputError, match="cannot be read"):
        load_graph(tmp_path / "none.yaml", GPU)


@pytest.mark.parametrize("spec", [{}, {"components": []}, None])
def test_a_graph_without_workers(spec) -> None:
    with pytest.raises(InputError, match="no workers that generate tokens"):
        plan_of_graph({"spec": spec}, GPU, source="x")
    lone = component("p", "dynamo.vllm", "--model", QWEN, "--is-prefill-worker")
    with pytest.raises(InputError, match="no workers"):
        plan_of_graph(graph(lone), GPU, source="x")


def test_the_graph_among_several_documents_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "final_config.yaml"
    data = graph(component("w", "dynamo.vllm", "--model", QWEN))
    others = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "planner-config"}}
    path.write_text(yaml.safe_dump_all([others, {"kind": "DynamoGraphDeployment", **data}]))
    assert load_graph(path, GPU).topology.pools[0].engine.model.model_id == QWEN
    path.write_text(yaml.safe_dump_all([others, others]))
    with pytest.raises(InputError, match="holds several documents"):
        load_graph(path, GPU)


def test_another_kind_than_a_graph_is_named(tmp_path: Path) -> None:
    path = tmp_path / "request.yaml"
    path.write_text("kind: DynamoGraphDeploymentRequest\nspec: {}\n")
    with pytest.raises(InputError, match=r"kind: has another kind; a request is profiled first"):
        load_graph(path, GPU)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is not UTF-8 text"):
        load_graph(path, GPU)


def test_an_unknown_engine_and_a_missing_model_are_named() -> None:
    with pytest.raises(InputError, match=r"--engine: is no engine \(got vlm\); allowed: vllm"):
        worker_plan("vlm", [], GPU)
    with pytest.raises(InputError, match="--model: is required"):
        worker_plan("vllm", [], GPU)
