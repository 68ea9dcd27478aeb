"""Documented defaults of the serving engines, and engines from what a command line says.

vLLM V1 engine arguments, SGLang server arguments and TensorRT-LLM's LLM arguments, as their
documentation gives them for a server; some depend on the memory of the GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts.engine import (
    Backend,
    EngineLimits,
    Scheduling,
    SglangScheduling,
    Speculation,
    TrtllmScheduling,
    VllmScheduling,
)
from contracts.errors import InputError
from contracts.hardware import GpuSpec
from contracts.model import Dtype, ModelArchitecture
from contracts.plan import EngineSpec, Fabric
from contracts.settings import EngineSettings
from simcore.perf.memory import MemoryRequest, kv_blocks_for

_LARGE_GPU_GIB = 70
_SGLANG_CHUNKS = ((35, 2048), (60, 4096), (160, 8192))


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendDefaults:
    """What a server does when nobody says anything.

    Attributes:
        memory_ratio: vLLM: share of the GPU memory for everything; SGLang: for weights and
            KV cache; TensorRT-LLM: share of what is left after weights and activations.
    """

    max_num_seqs: int
    max_num_batched_tokens: int
    block_size_tokens: int
    memory_ratio: float
    chunked_prefill: bool


def backend_defaults(backend: Backend, gpu: GpuSpec) -> BackendDefaults:
    """Defaults of a backend on a GPU."""
    if backend is Backend.VLLM:
        large = gpu.memory_gib >= _LARGE_GPU_GIB and not gpu.sku.startswith("a100")
        return BackendDefaults(
            max_num_seqs=1024 if large else 256,
            max_num_batched_tokens=8192 if large else 2048,
            block_size_tokens=16,
            memory_ratio=0.9,
            chunked_prefill=True,
        )
    if backend is Backend.SGLANG:
        chunk = next((c for limit, c in _SGLANG_CHUNKS if gpu.memory_gib < limit), 16_384)
        return BackendDefaults(
            max_num_seqs=2048,
            max_num_batched_tokens=chunk,
            block_size_tokens=1,
            memory_ratio=0.88,
            chunked_prefill=True,
        )
    return BackendDefaults(
        max_num_seqs=2048,
        max_num_batched_tokens=8192,
        block_size_tokens=32,
        memory_ratio=0.9,
        chunked_prefill=False,
    )


def engine_from_settings(
    settings: EngineSettings,
    *,
    model: ModelArchitecture,
    gpu: GpuSpec,
    weight_dtype: Dtype = Dtype.BF16,
    acceptance_ratios: tuple[float, ...] = (),
    fabric: Fabric = Fabric.RDMA,
) -> EngineSpec:
    """The engine that a worker with these settings would be.

    Args:
        settings: what the command line says.
        model: architecture of the model that it names.
        gpu: where the worker runs.
        fabric: what joins the nodes of a replica larger than one.
        weight_dtype: type of the checkpoint, where the settings follow it.
        acceptance_ratios: of proposed tokens, first to last; no command line says them.

    Raises:
        InputError: speculation without acceptance ratios for all its tokens.
        InfeasibleError: the model does not fit.
    """
    defaults = backend_defaults(settings.backend, gpu)
    weights = settings.weight_dtype or weight_dtype
    kv = settings.kv_dtype or Dtype.BF16
    budget = settings.max_num_batched_tokens or defaults.max_num_batched_tokens
    stated = settings.chunked_prefill
    chunked = defaults.chunked_prefill if stated is None else stated
    longest = settings.max_model_len or model.max_position
    if not chunked and settings.backend is not Backend.TRTLLM:
        budget = max(budget, longest)
    request = MemoryRequest(
        model=model,
        gpu=gpu,
        tp=settings.tp,
        pp=settings.pp,
        dp=settings.dp,
        weight_dtype=weights,
        kv_dtype=kv,
        block_size_tokens=settings.block_size_tokens or defaults.block_size_tokens,
        max_num_batched_tokens=budget,
        max_num_seqs=min(settings.max_num_seqs or defaults.max_num_seqs, budget),
        backend=settings.backend,
        memory_ratio=settings.memory_ratio or defaults.memory_ratio,
    )
    return EngineSpec(
        model=model,
        gpu=gpu,
        tp=settings.tp,
        pp=settings.pp,
        dp=settings.dp,
        ep=settings.tp * settings.dp if settings.expert_parallel else 1,
        weight_dtype=weights,
        kv_dtype=kv,
        limits=_limits(settings, request, longest, chunked=chunked),
        scheduling=_scheduling(settings, budget),
        speculation=_speculation(settings.speculative_tokens, acceptance_ratios),
        fabric=fabric,
    )


def _limits(
    settings: EngineSettings, request: MemoryRequest, longest: int, *, chunked: bool
) -> EngineLimits:
    block, tokens = request.block_size_tokens, settings.kv_tokens
    return EngineLimits(
        max_num_seqs=request.max_num_seqs,
        max_num_batched_tokens=request.max_num_batched_tokens,
        block_size_tokens=block,
        kv_blocks_total=kv_blocks_for(request) if tokens is None else max(1, tokens // block),
        max_model_len=longest,
        chunked_prefill=chunked,
        prefix_caching=settings.prefix_caching is not False,
        max_adapters=settings.adapters or 1,
    )


def _scheduling(settings: EngineSettings, budget: int) -> Scheduling:
    if settings.backend is Backend.VLLM:
        return VllmScheduling(queue=settings.queue, async_scheduling=settings.overlap)
    if settings.backend is Backend.TRTLLM:
        return TrtllmScheduling(capacity=settings.capacity, overlap=settings.overlap)
    return SglangScheduling(
        queue=settings.queue,
        chunked_prefill_tokens=budget,
        max_prefill_tokens=settings.max_prefill_tokens or 16_384,
        conservativeness=settings.conservativeness,
        mixed_chunk=settings.mixed_chunk,
        overlap=settings.overlap,
    )


def _speculation(tokens: int, acceptance_ratios: tuple[float, ...]) -> Speculation | None:
    if tokens == 0:
        return None
    if len(acceptance_ratios) < tokens:
        raise InputError(
            "speculation needs the acceptance ratio of every proposed token",
            path="acceptance_ratios",
            value=str(list(acceptance_ratios)),
            allowed=f"{tokens} numbers",
        )
    return Speculation(acceptance_ratios=acceptance_ratios[:tokens])
