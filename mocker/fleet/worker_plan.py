"""The deployment of one worker, by its role."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from contracts.hardware import Evidence
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
from contracts.ports import DecodeCost, PrefillChunk, RatedStepTimer, TimerFactory
from contracts.sla import SlaTarget
from simcore.perf import roofline

_REMOTE = "remote-prefill"
_REMOTE_BLOCKS = 1_000_000
_STEP_FS = 1_000_000  # one nanosecond, the shortest time there is


def plan_of_worker(engine: EngineSpec, role: Role) -> DeploymentPlan:
    """The deployment that one worker process runs.

    A prefill worker is an engine like any other: the frontend asks it for one token. In front
    of a decode worker's engine stands a prefill that takes no time, because the frontend has
    already waited for the real one; the transfer of the KV cache is part of the decode worker.
    """
    topology: AggPlan | DisaggPlan
    if role is Role.DECODE:
        topology = DisaggPlan(
            prefill=PoolPlan(role=Role.PREFILL, engine=_remote(engine), replicas=1),
            decode=PoolPlan(role=Role.DECODE, engine=engine, replicas=1),
            link=KV_LINKS["rdma"],
        )
    else:
        topology = AggPlan(pool=PoolPlan(role=Role.AGG, engine=engine, replicas=1))
    gpus = sum(pool.gpus for pool in topology.pools)
    return DeploymentPlan(
        name=engine.model.model_id,
        topology=topology,
        router=RouterPolicy.ROUND_ROBIN,
        startup_s=0.0,
        gpu_budget=gpus,
        sla=SlaTarget(ttft_ms=2000.0, itl_ms=30.0),  # nothing here looks at them
    )


def _remote(engine: EngineSpec) -> EngineSpec:
    limits = replace(
        engine.limits,
        kv_blocks_total=_REMOTE_BLOCKS,
        max_num_batched_tokens=max(
            engine.limits.max_num_batched_tokens, engine.limits.max_model_len
        ),
    )
    return replace(engine, gpu=replace(engine.gpu, sku=_REMOTE), limits=limits)


class _NoTime:
    """Steps that somebody else has already spent the time of."""

    evidence = Evidence.MEASURED
    error_ratio = 0.0

    def decode_cost(self, requests: int) -> DecodeCost:  # noqa: ARG002  # the port's names
        """One nanosecond."""
        return DecodeCost(_STEP_FS, 0)

    def mixed_step_fs(
        self,
        requests: int,  # noqa: ARG002
        context_tokens: int,  # noqa: ARG002
        chunks: Sequence[PrefillChunk],  # noqa: ARG002
    ) -> int:
        """One nanosecond."""
        return _STEP_FS


def worker_times(engine: EngineSpec) -> RatedStepTimer:
    """The roofline, except for the prefill in front of a decode worker."""
    return _NoTime() if engine.gpu.sku == _REMOTE else roofline(engine)


def times_of_worker(timer_for: TimerFactory) -> TimerFactory:
    """Other step times, with the same exception."""

    def times(engine: EngineSpec) -> RatedStepTimer:
        return _NoTime() if engine.gpu.sku == _REMOTE else timer_for(engine)

    return times
