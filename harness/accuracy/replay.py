"""Replays one measured point with the protocol of its benchmark."""

from __future__ import annotations

import numpy as np

from contracts.engine import EngineLimits
from contracts.plan import AggPlan, DeploymentPlan, EngineSpec, PoolPlan, Role, RouterPolicy
from contracts.records import RequestTable
from contracts.sla import SlaTarget
from contracts.streams import RandomStreams
from harness.accuracy.points import Point
from simcore.closed_loop import simulate_closed_loop
from simcore.perf import MemoryRequest, gpu_spec, kv_blocks_for
from simcore.simulation import simulate
from simcore.workload import Lengths, PoissonArrivals, synthesize

# Benchmark clients send a multiple of the concurrency; sources rarely say which.
ROUNDS = 5
REQUESTS_MAX = 1000
OPEN_LOOP_REQUESTS = 600
_SEED = 1


def replay(point: Point) -> dict[str, float]:
    """Simulated figures under the names of the measured ones.

    Closed-loop points start all their requests at once, as the measured clients did, so
    TTFT contains that burst. Backends other than vLLM are simulated with its scheduler.

    Raises:
        InfeasibleError: the model does not fit on the GPU.
    """
    plan = _plan(point)
    if point.concurrency is not None:
        count = min(REQUESTS_MAX, ROUNDS * point.concurrency)
        table = simulate_closed_loop(
            plan,
            isl=np.full(max(count, point.concurrency), point.isl, dtype=np.int64),
            osl=np.full(max(count, point.concurrency), point.osl, dtype=np.int64),
            concurrency=point.concurrency,
        ).table
    else:
        rate = point.rate_per_s or 1.0
        workload = synthesize(
            PoissonArrivals(rate_per_s=rate),
            duration_s=OPEN_LOOP_REQUESTS / rate,
            isl=Lengths(mean=point.isl),
            osl=Lengths(mean=point.osl),
            streams=RandomStreams(_SEED),
        )
        table = simulate(plan, workload).table
    return {
        name: _statistic(table, name, median=figure.median)
        for name, figure in point.figures.items()
    }


def _plan(point: Point) -> DeploymentPlan:
    gpu = gpu_spec(point.gpu_sku)
    budget = point.options.get("max_num_batched_tokens", 8192)
    seqs = min(point.options.get("max_num_seqs", 256), budget)
    request = MemoryRequest(
        model=point.model,
        gpu=gpu,
        tp=point.tp,
        weight_dtype=point.weight_dtype,
        max_num_batched_tokens=budget,
        max_num_seqs=seqs,
    )
    longest = point.isl + point.osl
    engine = EngineSpec(
        model=point.model,
        gpu=gpu,
        tp=point.tp,
        weight_dtype=point.weight_dtype,
        kv_dtype=request.kv_dtype,
        limits=EngineLimits(
            max_num_seqs=seqs,
            max_num_batched_tokens=budget,
            kv_blocks_total=kv_blocks_for(request),
            max_model_len=max(longest, point.options.get("max_model_len", longest)),
        ),
    )
    return DeploymentPlan(
        name=point.config_id,
        topology=AggPlan(pool=PoolPlan(role=Role.AGG, engine=engine, replicas=1)),
        router=RouterPolicy.ROUND_ROBIN,
        startup_s=0.0,
        gpu_budget=point.tp,
        sla=SlaTarget(ttft_ms=1.0, itl_ms=1.0),
    )


def _statistic(table: RequestTable, name: str, *, median: bool) -> float:
    values = getattr(table, name)
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return float("nan")
    return float(np.median(known) if median else known.mean())
