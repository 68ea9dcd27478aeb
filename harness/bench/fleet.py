"""The deployment that the benchmark scales: Llama-3.1-8B on single L40S GPUs.

One worker serves about one request a second of the standard lengths within the targets, so
a run of hours has few enough requests to be simulated in seconds.
"""

from __future__ import annotations

from functools import cache

from contracts.engine import EngineLimits
from contracts.model import Dtype
from contracts.plan import AggPlan, DeploymentPlan, EngineSpec, PoolPlan, Role, RouterPolicy
from contracts.sla import SlaTarget
from planner.core import AggFleet, CapacityModel, PoolConfig
from profiler.measure.curves import decode_curves, prefill_curves
from simcore.perf import architecture, gpu_spec

GPU_BUDGET = 24
FLEET = AggFleet(pool=PoolConfig(role=Role.AGG, gpus_per_replica=1))
_CONTEXT_TOKENS = 16_384


@cache
def engine() -> EngineSpec:
    """One worker."""
    return EngineSpec(
        model=architecture("meta-llama/Llama-3.1-8B"),
        gpu=gpu_spec("l40s"),
        tp=1,
        weight_dtype=Dtype.BF16,
        kv_dtype=Dtype.BF16,
        limits=EngineLimits(kv_blocks_total=8192, max_num_seqs=128),
    )


@cache
def capacity_model() -> CapacityModel:
    """The profiler's curves of that worker."""
    return CapacityModel(
        prefill=prefill_curves(engine(), _CONTEXT_TOKENS),
        decode=decode_curves(engine(), _CONTEXT_TOKENS),
    )


def deployment(replicas: int, startup_s: float, sla: SlaTarget) -> DeploymentPlan:
    """Some workers behind the least-loaded router."""
    return DeploymentPlan(
        name="bench",
        topology=AggPlan(pool=PoolPlan(role=Role.AGG, engine=engine(), replicas=replicas)),
        router=RouterPolicy.LEAST_LOADED,
        startup_s=startup_s,
        gpu_budget=GPU_BUDGET,
        sla=sla,
    )
