"""Shared builders: small real plans and workloads."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import settings

from contracts.engine import EngineLimits
from contracts.model import Dtype
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
from contracts.workload import Workload
from simcore.perf import architecture, gpu_spec
from tools.compile_engine import stale

# Time decides nothing: machines that run tests are busy. A gate gives the same answer twice;
# 'make explore' looks for new cases.
settings.register_profile("gate", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))

if stale():
    pytest.exit("the compiled engine is older than its source: run 'make fast' or 'make slow'", 4)


def engine_spec(
    model_id: str = "meta-llama/Llama-3.1-8B",
    sku: str = "h200_sxm",
    tp: int = 1,
    limits: EngineLimits | None = None,
) -> EngineSpec:
    return EngineSpec(
        model=architecture(model_id),
        gpu=gpu_spec(sku),
        tp=tp,
        weight_dtype=Dtype.BF16,
        kv_dtype=Dtype.BF16,
        limits=limits or EngineLimits(),
    )


def agg_plan(
    replicas: int = 2,
    *,
    engine: EngineSpec | None = None,
    router: RouterPolicy = RouterPolicy.LEAST_LOADED,
    startup_s: float = 5.0,
    gpu_budget: int = 16,
) -> DeploymentPlan:
    engine = engine or engine_spec()
    return DeploymentPlan(
        name="agg",
        topology=AggPlan(pool=PoolPlan(role=Role.AGG, engine=engine, replicas=replicas)),
        router=router,
        startup_s=startup_s,
        gpu_budget=gpu_budget,
        sla=SlaTarget(ttft_ms=500.0, itl_ms=50.0),
    )


def disagg_plan(
    prefill: int = 2,
    decode: int = 2,
    *,
    engine: EngineSpec | None = None,
    router: RouterPolicy = RouterPolicy.LEAST_LOADED,
    startup_s: float = 5.0,
) -> DeploymentPlan:
    engine = engine or engine_spec()
    return DeploymentPlan(
        name="disagg",
        topology=DisaggPlan(
            prefill=PoolPlan(role=Role.PREFILL, engine=engine, replicas=prefill),
            decode=PoolPlan(role=Role.DECODE, engine=engine, replicas=decode),
            link=KvLink(gbytes_per_s=50.0, latency_us=50.0),
        ),
        router=router,
        startup_s=startup_s,
        gpu_budget=16,
        sla=SlaTarget(ttft_ms=500.0, itl_ms=50.0),
    )


def fixed_workload(count: int, gap_ns: int, isl: int = 1000, osl: int = 50) -> Workload:
    return Workload(
        arrival_ns=np.arange(count, dtype=np.int64) * gap_ns,
        isl=np.full(count, isl, dtype=np.int64),
        osl=np.full(count, osl, dtype=np.int64),
        source="test",
    )


@pytest.fixture(scope="session")
def make_agg_plan() -> Callable[..., DeploymentPlan]:
    return agg_plan


@pytest.fixture(scope="session")
def make_disagg_plan() -> Callable[..., DeploymentPlan]:
    return disagg_plan


@pytest.fixture(scope="session")
def make_engine_spec() -> Callable[..., EngineSpec]:
    return engine_spec


@pytest.fixture(scope="session")
def make_workload() -> Callable[..., Workload]:
    return fixed_workload
