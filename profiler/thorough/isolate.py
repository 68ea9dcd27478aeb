"""Deployment plans of one engine alone, for the simulator and the local mocker."""

from __future__ import annotations

from dataclasses import replace

from contracts.hardware import Efficiencies
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
from profiler.thorough.ports import Order

_ENDLESS_BLOCKS = 10_000_000
_ENDLESS = 1e12
# Fixed costs of zero and full efficiencies: a prompt takes next to no time.
_PERFECT = Efficiencies(
    gemm_compute_ratio=1.0,
    fp8_compute_ratio=1.0,
    gemm_memory_ratio=1.0,
    attention_compute_ratio=1.0,
    attention_memory_ratio=1.0,
    link_ratio=1.0,
    kernel_us=0.0,
    attention_kernel_us=0.0,
    allreduce_us=0.0,
    allreduce_peer_us=0.0,
)


def isolated_plan(order: Order) -> DeploymentPlan:
    """One replica of the engine of an order.

    In front of an engine whose decoding is measured stands a prefill that takes next to no
    time, on a GPU as fast as no GPU is: on real hardware that is the warm prefix cache.
    """
    engine = order.engine
    topology: AggPlan | DisaggPlan
    if order.role is Role.DECODE:
        topology = DisaggPlan(
            prefill=PoolPlan(role=Role.PREFILL, engine=_instant(engine), replicas=1),
            decode=PoolPlan(role=Role.DECODE, engine=engine, replicas=1),
            link=KvLink(gbytes_per_s=_ENDLESS, latency_us=0.0),
        )
    else:
        topology = AggPlan(pool=PoolPlan(role=Role.AGG, engine=engine, replicas=1))
    return DeploymentPlan(
        name=order.label,
        topology=topology,
        router=RouterPolicy.ROUND_ROBIN,
        startup_s=0.0,
        gpu_budget=sum(pool.gpus for pool in topology.pools),
        sla=SlaTarget(ttft_ms=2000.0, itl_ms=30.0),  # nothing here looks at them
    )


def role_engine(engine: EngineSpec, role: Role) -> EngineSpec:
    """The engine as a role is measured: prompts are never cached in a prefill sweep."""
    if role is not Role.PREFILL:
        return engine
    return replace(engine, limits=replace(engine.limits, prefix_caching=False))


def _instant(engine: EngineSpec) -> EngineSpec:
    """A single GPU that computes any prompt at once."""
    gpu = replace(
        engine.gpu,
        memory_gib=_ENDLESS,
        memory_tbytes_per_s=_ENDLESS,
        bf16_tflops=_ENDLESS,
        fp8_tflops=_ENDLESS,
        fp4_tflops=_ENDLESS,
        intra_node_gbytes_per_s=_ENDLESS,
        inter_node_gbytes_per_s=_ENDLESS,
        efficiencies=_PERFECT,
    )
    limits = replace(
        engine.limits,
        kv_blocks_total=_ENDLESS_BLOCKS,
        max_num_batched_tokens=max(
            engine.limits.max_num_batched_tokens, engine.limits.max_model_len
        ),
    )
    return replace(engine, gpu=gpu, tp=1, dp=1, pp=1, ep=1, limits=limits)
