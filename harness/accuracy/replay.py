"""Replays one measured point with the protocol of its benchmark."""

from __future__ import annotations

import numpy as np

from contracts.engine import (
    EngineLimits,
    Scheduling,
    SglangScheduling,
    TrtllmScheduling,
    VllmScheduling,
)
from contracts.model import Dtype
from contracts.plan import AggPlan, DeploymentPlan, EngineSpec, PoolPlan, Role, RouterPolicy
from contracts.records import RequestTable
from contracts.sla import SlaTarget
from contracts.streams import RandomStreams
from contracts.units import NS_PER_MS
from contracts.workload import IntArray
from harness.accuracy.points import Point
from simcore.closed_loop import ClosedLoopWindow, simulate_closed_loop
from simcore.perf import MemoryRequest, gpu_spec, kv_blocks_for
from simcore.simulation import simulate
from simcore.workload import Lengths, PoissonArrivals, synthesize

# Where a source does not say how many requests it sent: a multiple of the concurrency.
ROUNDS = 10
REQUESTS_MAX = 3000
OPEN_LOOP_REQUESTS = 600
_SEED = 1
# Clients of a closed loop are not one and the same: each takes a little time of its own.
CLIENT_DELAY_MS = 2.0
SCHEDULINGS: dict[str, Scheduling] = {
    "vllm": VllmScheduling(),
    "sglang": SglangScheduling(),
    "trtllm": TrtllmScheduling(),
}


def replay(point: Point) -> dict[str, float]:
    """Simulated figures under the names of the measured ones.

    Closed-loop points start all their requests at once, as the measured clients did, so
    TTFT contains that burst. Backends other than vLLM are simulated with its scheduler.

    Raises:
        InfeasibleError: the model does not fit on the GPU.
    """
    plan = _plan(point)
    if point.concurrency is not None:
        count = max(point.concurrency, min(REQUESTS_MAX, ROUNDS * point.concurrency))
        if point.prompts is not None:
            count = min(REQUESTS_MAX, max(point.prompts, point.concurrency))
        table = simulate_closed_loop(
            plan,
            isl=np.full(count, point.isl, dtype=np.int64),
            osl=np.full(count, point.osl, dtype=np.int64),
            concurrency=point.concurrency,
            window=ClosedLoopWindow(client_delays_ns=_delays(count)),
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


def default_limits(backend: str, gpu_sku: str) -> tuple[int, int]:
    """Requests that may run at once and tokens of one step, where a source names neither.

    The documented defaults of the servers: vLLM has smaller ones on GPUs before Hopper.
    """
    if backend == "vllm" and gpu_sku.startswith(("a100", "l40", "a30", "l4")):
        return 256, 2048
    return {"vllm": (1024, 2048), "sglang": (4096, 16_384), "trtllm": (2048, 8192)}[backend]


def _delays(count: int) -> IntArray:
    drawn = RandomStreams(_SEED).stream("accuracy.clients").exponential(CLIENT_DELAY_MS, count)
    return np.asarray(np.round(drawn * NS_PER_MS), dtype=np.int64)


def _plan(point: Point) -> DeploymentPlan:
    gpu = gpu_spec(point.gpu_sku)
    seqs_default, budget_default = default_limits(point.backend, point.gpu_sku)
    budget = point.options.get("max_num_batched_tokens", budget_default)
    seqs = min(point.options.get("max_num_seqs", seqs_default), budget)
    # TensorRT-LLM's 8-bit checkpoints come with an 8-bit KV cache.
    small_kv = point.backend == "trtllm" and point.weight_dtype is Dtype.FP8
    request = MemoryRequest(
        model=point.model,
        gpu=gpu,
        tp=point.tp,
        weight_dtype=point.weight_dtype,
        kv_dtype=Dtype.FP8 if small_kv else Dtype.BF16,
        max_num_batched_tokens=budget,
        max_num_seqs=min(seqs, 1024),
    )
    longest = point.isl + point.osl
    if point.backend == "trtllm":
        budget = max(budget, longest)
    engine = EngineSpec(
        model=point.model,
        gpu=gpu,
        tp=point.tp,
        weight_dtype=point.weight_dtype,
        kv_dtype=request.kv_dtype,
        scheduling=SCHEDULINGS[point.backend],
        limits=EngineLimits(
            max_num_seqs=seqs,
            max_num_batched_tokens=budget,
            chunked_prefill=point.backend != "trtllm",
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
