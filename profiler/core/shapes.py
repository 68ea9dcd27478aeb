"""Parallel layouts of one engine, and why some of them cannot be.

Dense models: tensor parallelism (TP) and pipeline stages within a node. Mixtures of
experts: TP with sliced experts (grouped-query attention only), TP with spread experts
(TEP), attention ranks with spread experts (DEP), and attention ranks of several GPUs, over
up to four nodes.
"""

from __future__ import annotations

from collections.abc import Iterator

from contracts.engine import Backend
from contracts.model import Dtype
from contracts.plan import Role
from profiler.core.request import EngineChoice, Precision, SearchRequest

HEADS_PER_GPU_MIN = 4
NODES_MAX = 4
# Largest replica of a mixture of experts.
_GPUS_MAX = {Backend.VLLM: 16, Backend.SGLANG: 32, Backend.TRTLLM: 32}
# Weights are quantised in blocks of so many elements along a row.
_QUANT_BLOCK = {Dtype.FP8: 128, Dtype.FP4: 16}
_STAGES = (1, 2, 4)
# PCIe of the fifth generation.
_SLOW_LINK_GBYTES_PER_S = 64.0
# Backends whose pipeline stages can hand KV caches over.
_STAGED_HAND_OFF = {Backend.TRTLLM}


def layouts(
    request: SearchRequest, backend: Backend, precision: Precision, step_tokens: int
) -> Iterator[EngineChoice]:
    """All layouts worth a look, feasible or not."""
    sizes = _of_experts(request, backend) if request.model.experts else _dense(request)
    for tp, pp, dp, ep in sizes:
        yield EngineChoice(
            backend=backend, tp=tp, pp=pp, dp=dp, ep=ep, moe=request.model.experts > 0,
            max_num_batched_tokens=step_tokens, precision=precision,
        )  # fmt: skip


def _dense(request: SearchRequest) -> Iterator[tuple[int, int, int, int]]:
    """TP, pipeline stages, attention ranks and expert parallelism within a node."""
    for tp in _powers(request.gpus_per_node):
        for pp in _STAGES:
            if tp * pp <= request.gpus_per_node:
                yield tp, pp, 1, 1


def _of_experts(request: SearchRequest, backend: Backend) -> Iterator[tuple[int, int, int, int]]:
    """The same for experts, over several nodes."""
    top = min(request.gpus_per_node * NODES_MAX, _GPUS_MAX[backend])
    for tp in _powers(min(request.gpus_per_node, top)):
        for pp in _STAGES:
            if tp * pp > top:
                continue
            if tp == 1 or not request.model.latent:
                yield tp, pp, 1, 1
            if tp > 1:
                yield tp, pp, 1, tp
        # TensorRT-LLM has attention ranks of one GPU only.
        if tp == 1 or backend is not Backend.TRTLLM:
            for dp in _powers(top // tp)[1:]:
                yield tp, 1, dp, tp * dp


def refusal(request: SearchRequest, choice: EngineChoice) -> str | None:
    """Why an engine of this layout cannot be, ``None`` when it can."""
    model, tp = request.model, choice.tp
    if choice.gpus > request.total_gpus:
        return f"needs {choice.gpus} GPUs, {request.total_gpus} allowed"
    if model.heads % tp or (model.kv_heads % tp and tp % model.kv_heads):
        return f"{model.heads} heads and {model.kv_heads} KV heads do not divide by {tp}"
    if model.heads // tp < HEADS_PER_GPU_MIN:
        return f"fewer than {HEADS_PER_GPU_MIN} attention heads on a GPU"
    if choice.pp > model.layers:
        return f"{choice.pp} pipeline stages for {model.layers} layers"
    if choice.pp > 1 and _flattered(request, choice):
        return (
            "pipeline stages are for slow links and for stages of whole nodes: the bubbles between "
            "them are not modelled, which flatters them where TP works"
        )
    if choice.ep > 1 and model.experts % choice.ep:
        return f"{model.experts} experts do not divide by {choice.ep} GPUs"
    if request.longest > model.max_position:
        return f"context is {model.max_position} tokens, one request needs {request.longest}"
    return _broken_block(request, choice)


def _flattered(request: SearchRequest, choice: EngineChoice) -> bool:
    """A larger TP would do over the same fast link."""
    fast = request.gpu.intra_node_gbytes_per_s > _SLOW_LINK_GBYTES_PER_S
    return fast and choice.tp < request.gpus_per_node


def _broken_block(request: SearchRequest, choice: EngineChoice) -> str | None:
    """Slices of a matrix that a checkpoint stores in blocks must hold whole blocks."""
    model, stored = request.model, request.precision.weights
    block = _QUANT_BLOCK.get(stored)
    if block is None or choice.precision.weights is not stored:
        return None
    slices = {}
    if model.layers > model.moe_layers:
        slices["MLP"] = (model.intermediate, choice.tp)
    if model.moe_layers and choice.ep == 1 and model.expert_dtype is None:
        slices["an expert"] = (model.expert_intermediate, choice.tp * choice.dp)
    for name, (width, parts) in slices.items():
        if width % parts or (width // parts) % block:
            return (
                f"{name} of width {width} over {parts} GPUs breaks {stored.value} blocks of {block}"
            )
    return None


def serves(choice: EngineChoice, role: Role) -> bool:
    """Whether an engine can take a role: not every backend hands KV over between stages."""
    return role is Role.AGG or choice.pp == 1 or choice.backend in _STAGED_HAND_OFF


def _powers(most: int) -> list[int]:
    """Powers of two up to ``most``."""
    return [1 << bit for bit in range(most.bit_length())] if most > 0 else []
