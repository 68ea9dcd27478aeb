"""The deployments that the benchmark scales: Llama-3.1-8B on single L40S GPUs.

One worker serves about one request a second of the standard lengths within the targets, so
a run of hours has few enough requests to be simulated in seconds. Most workloads run on one
aggregated pool, some on a prefill and a decode pool that share the budget.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from contracts.engine import EngineLimits
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
from planner.core import AggFleet, CapacityModel, DisaggFleet, PoolConfig
from profiler.measure.curves import decode_curves, prefill_curves
from simcore.perf import architecture, gpu_spec

GPU_BUDGET = 24
CONTEXT_TOKENS = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchFleet:
    """Pools that are scaled, each of single GPUs, and the deployment that they are."""

    pools: AggFleet | DisaggFleet

    @property
    def roles(self) -> tuple[Role, ...]:
        """Of the pools, entry pool first."""
        return tuple(pool.role for pool in self.pools.pools)

    def deployment(
        self, replicas: tuple[int, ...], startup_s: float, sla: SlaTarget
    ) -> DeploymentPlan:
        """So many workers of each pool behind the least-loaded router."""
        plans = [
            PoolPlan(role=role, engine=engine(), replicas=count)
            for role, count in zip(self.roles, replicas, strict=True)
        ]
        topology: AggPlan | DisaggPlan = AggPlan(pool=plans[0])
        if isinstance(self.pools, DisaggFleet):
            topology = DisaggPlan(prefill=plans[0], decode=plans[1], link=KV_LINKS["rdma"])
        return DeploymentPlan(
            name="bench",
            topology=topology,
            router=RouterPolicy.LEAST_LOADED,
            startup_s=startup_s,
            gpu_budget=GPU_BUDGET,
            sla=sla,
        )


AGG = BenchFleet(pools=AggFleet(pool=PoolConfig(role=Role.AGG, gpus_per_replica=1)))
DISAGG = BenchFleet(
    pools=DisaggFleet(
        prefill=PoolConfig(role=Role.PREFILL, gpus_per_replica=1),
        decode=PoolConfig(role=Role.DECODE, gpus_per_replica=1),
    )
)


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
        prefill=prefill_curves(engine(), CONTEXT_TOKENS),
        decode=decode_curves(engine(), CONTEXT_TOKENS),
    )
