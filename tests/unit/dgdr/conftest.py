"""Requests and plans that the tests of this folder start from."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from contracts.engine import EngineLimits
from contracts.errors import CombinedInputError, InputError
from contracts.hardware import Efficiencies, Evidence, GpuSpec
from contracts.model import Dtype, ModelArchitecture
from contracts.plan import (
    AggPlan,
    DeploymentPlan,
    DisaggPlan,
    EngineSpec,
    KvLink,
    PoolPlan,
    Role,
    RouterPolicy,
)
from contracts.sla import SlaTarget
from dgdr import parse_dgdr

SOURCE = "request.yaml"
MODEL = "acme/tiny-llm"
IMAGE = "registry.example:5000/team/dynamo-planner:1.2.1"


def _set(data: dict[str, Any], path: str, value: object) -> None:
    *parents, last = path.split(".")
    for key in parents:
        data = data.setdefault(key, {})
    data[last] = value


@pytest.fixture
def raw() -> Callable[..., dict[str, Any]]:
    """Plain data of a small valid request, with values set at dotted paths."""

    def make(changes: dict[str, object] | None = None) -> dict[str, Any]:
        data: dict[str, Any] = {
            "apiVersion": "nvidia.com/v1beta1",
            "kind": "DynamoGraphDeploymentRequest",
            "metadata": {"name": "demo"},
            "spec": {"model": MODEL, "image": IMAGE, "backend": "vllm"},
        }
        for path, value in (changes or {}).items():
            _set(data, path, copy.deepcopy(value))
        return data

    return make


@pytest.fixture
def request_of(raw):
    """A checked request with values set at dotted paths."""
    return lambda changes=None: parse_dgdr(raw(changes), source=SOURCE)


@pytest.fixture
def problems_of(raw):
    """All input errors that a request with these values provokes, by path."""

    def collect(changes: dict[str, object]) -> dict[str, InputError]:
        with pytest.raises(InputError) as caught:
            parse_dgdr(raw(changes), source=SOURCE)
        error = caught.value
        found = error.errors if isinstance(error, CombinedInputError) else (error,)
        by_path = {problem.path: problem for problem in found}
        assert len(by_path) == len(found), "two errors at one path; use the list"
        assert all(problem.source == SOURCE for problem in found)
        return by_path

    return collect


def _engine(tp: int, **changes: Any) -> EngineSpec:
    efficiencies = Efficiencies(
        gemm_compute_ratio=0.7,
        fp8_compute_ratio=0.7,
        gemm_memory_ratio=0.8,
        attention_compute_ratio=0.5,
        attention_memory_ratio=0.6,
        link_ratio=0.7,
        kernel_us=2.0,
        attention_kernel_us=3.0,
        allreduce_us=8.0,
        allreduce_peer_us=1.0,
    )
    gpu = GpuSpec(
        sku="h100_sxm",
        memory_gib=80.0,
        memory_tbytes_per_s=3.35,
        bf16_tflops=989.0,
        fp8_tflops=1979.0,
        intra_node_gbytes_per_s=450.0,
        inter_node_gbytes_per_s=50.0,
        gpus_per_node=8,
        evidence=Evidence.ESTIMATED,
        error_ratio=0.3,
        efficiencies=efficiencies,
    )
    model = ModelArchitecture(
        model_id=MODEL,
        layers=4,
        hidden=256,
        intermediate=512,
        heads=8,
        kv_heads=8,
        head_dim=32,
        vocab=1000,
        max_position=8192,
    )
    limits = EngineLimits(
        max_num_seqs=64,
        max_num_batched_tokens=4096,
        block_size_tokens=32,
        kv_blocks_total=777,
        chunked_prefill=changes.get("chunked_prefill", True),
    )
    return EngineSpec(
        model=model,
        gpu=gpu,
        tp=tp,
        weight_dtype=Dtype.BF16,
        kv_dtype=changes.get("kv_dtype", Dtype.BF16),
        limits=limits,
    )


def _plan(topology: AggPlan | DisaggPlan) -> DeploymentPlan:
    return DeploymentPlan(
        name="demo",
        topology=topology,
        router=RouterPolicy.ROUND_ROBIN,
        startup_s=30.0,
        gpu_budget=24,
        sla=SlaTarget(ttft_ms=500.0, itl_ms=50.0),
    )


@pytest.fixture
def agg_plan():
    """An aggregated plan: two replicas unless told otherwise."""

    def make(*, tp: int = 2, replicas: int = 2, **changes: Any) -> DeploymentPlan:
        pool = PoolPlan(role=Role.AGG, engine=_engine(tp, **changes), replicas=replicas)
        return _plan(AggPlan(pool=pool))

    return make


@pytest.fixture
def disagg_plan():
    """A disaggregated plan: one prefill replica of TP 2 and three decode replicas of TP 4."""

    def make(*, prefill_replicas: int = 1, decode_replicas: int = 3, **changes: Any):
        topology = DisaggPlan(
            prefill=PoolPlan(
                role=Role.PREFILL, engine=_engine(2, **changes), replicas=prefill_replicas
            ),
            decode=PoolPlan(
                role=Role.DECODE, engine=_engine(4, **changes), replicas=decode_replicas
            ),
            link=KvLink(gbytes_per_s=50.0, latency_us=20.0),
        )
        return _plan(topology)

    return make
