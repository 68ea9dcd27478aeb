"""Reads generated deployments, and makes plans of every shape."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from contracts.engine import (
    EngineLimits,
    Scheduling,
    SglangScheduling,
    TrtllmScheduling,
    VllmScheduling,
)
from contracts.model import Dtype
from contracts.plan import (
    KV_LINKS,
    AggPlan,
    DeploymentPlan,
    DisaggPlan,
    EngineSpec,
    PoolPlan,
    Role,
    RouterPolicy,
)
from contracts.sla import SlaTarget
from simcore.perf import architecture, gpu_spec

BACKENDS = ["vllm", "sglang", "trtllm"]
TOPOLOGIES = ["agg", "disagg"]
MOE = architecture("Qwen/Qwen3-235B-A22B")
H200 = gpu_spec("h200_sxm")
# Sizes of one replica; attention ranks of TensorRT-LLM have one GPU each.
SHAPES: dict[str, dict[str, int]] = {
    "TP": {"tp": 8},
    "TP+PP": {"tp": 8, "pp": 2},
    "TEP": {"tp": 8, "ep": 8},
    "DEP": {"dp": 8, "ep": 8},
    "DEP on two nodes": {"dp": 16, "ep": 16},
    "DP without EP": {"dp": 4},
}
SCHEDULING: dict[str, Scheduling] = {
    "vllm": VllmScheduling(),
    "sglang": SglangScheduling(chunked_prefill_tokens=4096),
    "trtllm": TrtllmScheduling(),
}


def moe_engine(backend: str, shape: str = "TP", **changes: Any) -> EngineSpec:
    """A large model on H200 in one of the shapes."""
    limits = EngineLimits(
        max_num_seqs=64,
        max_num_batched_tokens=4096,
        block_size_tokens=32,
        kv_blocks_total=5000,
        max_model_len=40_960,
    )
    sizes = {"tp": 1, **SHAPES[shape]}
    spec = EngineSpec(
        model=MOE,
        gpu=H200,
        **sizes,
        weight_dtype=Dtype.BF16,
        kv_dtype=Dtype.BF16,
        limits=limits,
        scheduling=SCHEDULING[backend],
    )
    return replace(spec, **changes)


def plan_of(topology: str, engine: EngineSpec, **changes: Any) -> DeploymentPlan:
    """An aggregated plan with two replicas, or one prefill and two decode replicas."""
    parts: AggPlan | DisaggPlan
    if topology == "agg":
        parts = AggPlan(pool=PoolPlan(role=Role.AGG, engine=engine, replicas=2))
    else:
        parts = DisaggPlan(
            prefill=PoolPlan(role=Role.PREFILL, engine=engine, replicas=1),
            decode=PoolPlan(role=Role.DECODE, engine=engine, replicas=2),
            link=KV_LINKS["rdma"],
        )
    plan = DeploymentPlan(
        name="demo",
        topology=parts,
        router=RouterPolicy.ROUND_ROBIN,
        startup_s=30.0,
        gpu_budget=64,
        sla=SlaTarget(ttft_ms=500.0, itl_ms=50.0),
    )
    return replace(plan, **changes)


def components(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Components of the deployment, which is the last document, by name."""
    return {part["name"]: part for part in documents[-1]["spec"]["components"]}


def pod(component: dict[str, Any]) -> dict[str, Any]:
    """The pod of a component."""
    return component["podTemplate"]["spec"]


def container(component: dict[str, Any]) -> dict[str, Any]:
    """The only container of a component."""
    (found,) = pod(component)["containers"]
    assert found["name"] == "main"
    return found


def env(component: dict[str, Any]) -> dict[str, str]:
    """The variables of a component."""
    return {entry["name"]: entry["value"] for entry in container(component).get("env", [])}


def after(args: list[str], flag: str) -> str:
    """The value of an option that stands exactly once."""
    assert args.count(flag) == 1, f"{flag} must stand once in {args}"
    return args[args.index(flag) + 1]
