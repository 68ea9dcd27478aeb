"""Replays one measured point with the protocol of its benchmark."""

from __future__ import annotations

import numpy as np

from contracts.engine import (
    Backend,
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
from contracts.units import NS_PER_MS, NS_PER_S
from contracts.workload import IntArray
from harness.accuracy.points import Point
from harness.accuracy.sources import Spread
from simcore.closed_loop import ClosedLoopWindow, simulate_closed_loop
from simcore.perf import MemoryRequest, gpu_spec, kv_blocks_for
from simcore.perf.host import host_cost
from simcore.simulation import simulate
from simcore.workload import Lengths, PoissonArrivals, synthesize
from simcore.workload.lengths import draw_lengths

# Where a source does not say how many requests it sent: a multiple of the concurrency.
ROUNDS = 10
REQUESTS_MAX = 3000
OPEN_LOOP_REQUESTS = 600
# Coefficient of variation of lengths in chat data sets, of which only means are known.
CHAT_CV = 1.1
_SEED = 1
# Clients of a closed loop are not one and the same: each takes a little time of its own.
CLIENT_DELAY_MS = 8.0


def replay(point: Point) -> dict[str, float]:
    """Simulated figures under the names of the measured ones.

    Closed-loop points start all their requests at once, as the measured clients did, so
    TTFT contains that burst.

    Raises:
        InfeasibleError: the model does not fit on the GPU.
    """
    plan = _plan(point)
    if point.trace is not None:
        table = simulate(plan, point.trace).table
    elif point.concurrency is not None:
        count = _count(point)
        isl, osl = _lengths(point, count)
        table = simulate_closed_loop(
            plan,
            isl=isl,
            osl=osl,
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
    figures = {
        name: _statistic(table, name, median=figure.median)
        for name, figure in point.figures.items()
    }
    if point.served:
        for name in figures.keys() & {"ttft_ms", "e2e_ms"}:
            figures[name] += host_cost(Backend(point.backend)).frontend_ms
    return figures


def _count(point: Point) -> int:
    """Requests of the benchmark."""
    concurrency = point.concurrency or 1
    if point.prompts is not None:
        return min(REQUESTS_MAX, max(point.prompts, concurrency))
    return max(concurrency, min(REQUESTS_MAX, ROUNDS * concurrency))


def _lengths(point: Point, count: int) -> tuple[IntArray, IntArray]:
    """Prompt and output tokens of each request, spread as the benchmark drew them."""
    rng = RandomStreams(_SEED).stream("accuracy.lengths")
    drawn = []
    for nominal in (point.isl, point.osl):
        if point.spread is Spread.UPPER_FIFTH:
            tokens = rng.integers(round(0.8 * nominal), nominal, size=count, endpoint=True)
        elif point.spread is Spread.UNIFORM:
            tokens = rng.integers(1, 2 * nominal, size=count)
        elif point.spread is Spread.CHAT:
            tokens = draw_lengths("tokens", Lengths(mean=nominal, cv=CHAT_CV), count, rng)
        else:
            tokens = np.full(count, nominal, dtype=np.int64)
        drawn.append(np.maximum(np.asarray(tokens, dtype=np.int64), 1))
    return drawn[0], drawn[1]


def _scheduling(point: Point) -> Scheduling:
    if point.backend == "vllm":
        return VllmScheduling(async_scheduling=point.overlap)
    if point.backend == "sglang":
        if point.stated is None:
            return SglangScheduling(overlap=point.overlap)
        return SglangScheduling(
            overlap=point.overlap,
            chunked_prefill_tokens=point.stated.budget,
            max_prefill_tokens=point.stated.prefill_tokens,
            mixed_chunk=point.stated.mixed,
        )
    return TrtllmScheduling(overlap=point.overlap)


def default_limits(backend: str, gpu_sku: str, *, served: bool = True) -> tuple[int, int]:
    """Requests that may run at once and tokens of one step, where a source names neither.

    Requests are the documented defaults. The token budgets of vLLM and TensorRT-LLM are
    not, which are 8192 on large GPUs: measured TTFTs of prompts that arrive together are
    those of one or two prompts in a step, about half of what larger steps would give.
    Offline benchmarks, which fill the engine, keep the documented ones.
    """
    if backend == "vllm" and gpu_sku.startswith(("a100", "l40", "a30", "l4")):
        return 256, 2048
    budget = 2048 if served else 8192
    return {"vllm": (1024, budget), "sglang": (4096, 16_384), "trtllm": (2048, budget)}[backend]


def _delays(count: int) -> IntArray:
    drawn = RandomStreams(_SEED).stream("accuracy.clients").exponential(CLIENT_DELAY_MS, count)
    return np.asarray(np.round(drawn * NS_PER_MS), dtype=np.int64)


def _plan(point: Point) -> DeploymentPlan:
    gpu = gpu_spec(point.gpu_sku)
    seqs_default, budget_default = default_limits(point.backend, point.gpu_sku, served=point.served)
    if point.stated is not None and point.backend != "sglang":
        budget_default = point.stated.budget
    budget = point.options.get("max_num_batched_tokens", budget_default)
    seqs = min(point.options.get("max_num_seqs", seqs_default), budget)
    # TensorRT-LLM's 8-bit checkpoints come with an 8-bit KV cache.
    small_kv = point.backend == "trtllm" and point.weight_dtype is not Dtype.BF16
    request = MemoryRequest(
        model=point.model,
        gpu=gpu,
        tp=point.tp,
        dp=point.dp,
        weight_dtype=point.weight_dtype,
        kv_dtype=Dtype.FP8 if small_kv else Dtype.BF16,
        max_num_batched_tokens=budget,
        max_num_seqs=min(seqs, 1024),
    )
    longest = point.isl + point.osl
    if point.trace is not None:
        longest = int((point.trace.isl + point.trace.osl).max())
    elif point.spread in (Spread.UNIFORM, Spread.CHAT):
        longest = int(sum(lengths.max() for lengths in _lengths(point, _count(point))))
    blocks = point.options.get("kv_blocks_total", 0) or kv_blocks_for(request)
    engine = EngineSpec(
        model=point.model,
        gpu=gpu,
        tp=point.tp,
        dp=point.dp,
        ep=point.ep,
        weight_dtype=point.weight_dtype,
        kv_dtype=request.kv_dtype,
        scheduling=_scheduling(point),
        limits=EngineLimits(
            max_num_seqs=seqs,
            max_num_batched_tokens=budget,
            chunked_prefill=True,
            kv_blocks_total=blocks,
            max_model_len=max(longest, point.options.get("max_model_len", longest)),
        ),
    )
    return DeploymentPlan(
        name=point.config_id,
        topology=AggPlan(pool=PoolPlan(role=Role.AGG, engine=engine, replicas=1)),
        router=RouterPolicy.ROUND_ROBIN,
        startup_s=0.0,
        gpu_budget=engine.gpus,
        sla=SlaTarget(ttft_ms=1.0, itl_ms=1.0),
    )


def _statistic(table: RequestTable, name: str, *, median: bool) -> float:
    if name == "tokens_per_s":
        done = table.completed
        if not done.any():
            return float("nan")
        span_ns = int(table.finish_ns[done].max() - table.arrival_ns.min())
        return float(table.osl[done].sum()) * NS_PER_S / span_ns
    values = getattr(table, name)
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return float("nan")
    return float(np.median(known) if median else known.mean())
