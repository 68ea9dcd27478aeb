"""Engines that are worth deploying, and why the others are not.

Sizes, families and rules of section 8.2 of the DGDR reference: dense models with tensor
parallelism on one node; mixtures of experts with TEP (attention sliced, experts spread), DEP
(attention repeated, experts spread) or TP (both sliced, grouped-query attention only), on at
most four nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from contracts.engine import Backend
from contracts.errors import InfeasibleError
from contracts.model import Dtype
from contracts.plan import EngineSpec
from contracts.settings import EngineSettings
from contracts.units import BYTES_PER_GIB
from profiler.thorough.wish import Wish
from simcore.perf import engine_from_settings

HEADS_PER_GPU_MIN = 4
NODES_MAX = 4
# Elements that share a scale in an FP8 checkpoint.
QUANT_BLOCK = 128
_DENSE_SIZES = (1, 2, 4, 8)
_LARGE_NODE_SKUS = ("gb200", "gb300")
_MOE_SIZES = (2, 4, 8, 16)
_WIDE_SIZES = {Backend.TRTLLM: (4, 8, 16, 32), Backend.SGLANG: (8, 16, 32)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Parallel sizes of one replica, with the family they belong to."""

    family: str
    tp: int
    dp: int = 1
    moe_tp: int = 1
    moe_ep: int = 1

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return max(self.tp * self.dp, self.moe_tp * self.moe_ep)

    @property
    def label(self) -> str:
        """Injective name."""
        sizes = (("dp", self.dp), ("moetp", self.moe_tp), ("moeep", self.moe_ep))
        return f"tp{self.tp}" + "".join(f"-{name}{size}" for name, size in sizes if size > 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCandidate:
    """An engine to be measured."""

    shape: Shape
    engine: EngineSpec

    @property
    def label(self) -> str:
        """Name among the candidates of one search."""
        return self.shape.label


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A shape that is not deployed, and why."""

    label: str
    reason: str


def engine_candidates(wish: Wish) -> tuple[list[EngineCandidate], list[Refused]]:
    """All engines that fit, smallest first."""
    found: list[EngineCandidate] = []
    refused: list[Refused] = []
    for shape in sorted(_shapes(wish), key=lambda s: (s.gpus, s.label)):
        reason = _misfit(wish, shape)
        if reason is None:
            try:
                engine = _engine(wish, shape)
                reason = _no_room(wish, engine)
            except InfeasibleError as error:
                reason = str(error)
        if reason is None:
            found.append(EngineCandidate(shape=shape, engine=engine))
        else:
            refused.append(Refused(label=shape.label, reason=reason))
    return found, refused


def kv_tokens_of(engine: EngineSpec) -> int:
    """KV tokens that one replica is planned to hold, over all attention ranks."""
    return engine.limits.kv_blocks_total * engine.limits.block_size_tokens * engine.dp


def _shapes(wish: Wish) -> Iterator[Shape]:
    model = wish.model
    if not model.experts:
        sizes: tuple[int, ...] = _DENSE_SIZES
        if wish.gpu.sku.startswith(_LARGE_NODE_SKUS):
            sizes = (*sizes, 16)
        for size in sizes:
            yield Shape(family="tp", tp=size)
        return
    for size in _moe_sizes(wish):
        yield Shape(family="tep", tp=size, moe_ep=size)
        yield Shape(family="dep", tp=1, dp=size, moe_ep=size)
        if not model.latent:
            yield Shape(family="moe-tp", tp=size, moe_tp=size)


def _moe_sizes(wish: Wish) -> tuple[int, ...]:
    """Wide lists when a node cannot hold the weights twice."""
    weights = wish.model.weight_elements * wish.weight_dtype.bytes_per_element
    node = wish.gpu.memory_gib * BYTES_PER_GIB * wish.gpus_per_node
    wide = _WIDE_SIZES.get(wish.backend)
    return wide if wide is not None and node < 2 * weights else _MOE_SIZES


def _misfit(wish: Wish, shape: Shape) -> str | None:
    """What forbids a shape, ``None`` when nothing does."""
    model, tp = wish.model, shape.tp
    nodes = -(-shape.gpus // wish.gpus_per_node)
    if shape.gpus > wish.total_gpus:
        return f"needs {shape.gpus} GPUs, {wish.total_gpus} allowed"
    if nodes > (NODES_MAX if model.experts else 1):
        return f"needs {nodes} nodes, {NODES_MAX if model.experts else 1} allowed"
    if model.heads % tp or (not model.latent and model.kv_heads % tp and tp % model.kv_heads):
        return f"{model.heads} heads and {model.kv_heads} KV heads do not divide by {tp}"
    if model.heads // tp < HEADS_PER_GPU_MIN:
        return f"fewer than {HEADS_PER_GPU_MIN} attention heads on a GPU"
    if not model.experts:
        return None if model.intermediate % tp == 0 else f"the MLP does not divide by {tp}"
    if model.experts % shape.moe_ep:
        return f"{model.experts} experts do not divide by {shape.moe_ep}"
    if wish.backend is Backend.TRTLLM and shape.tp > 1 and shape.dp > 1:
        return "TensorRT-LLM has no tensor parallelism inside attention ranks"
    return _cut_experts(wish, shape.moe_tp)


def _cut_experts(wish: Wish, moe_tp: int) -> str | None:
    width = wish.model.expert_intermediate
    block = QUANT_BLOCK if wish.weight_dtype is not Dtype.BF16 else 1
    if width % (moe_tp * block):
        return f"experts of width {width} do not divide by {moe_tp} in blocks of {block}"
    return None


def _engine(wish: Wish, shape: Shape) -> EngineSpec:
    settings = EngineSettings(
        backend=wish.backend,
        model=wish.model.model_id,
        tp=shape.tp,
        dp=shape.dp,
        expert_parallel=shape.moe_ep > 1,
        kv_dtype=wish.kv_dtype,
    )
    return engine_from_settings(
        settings, model=wish.model, gpu=wish.gpu, weight_dtype=wish.weight_dtype
    )


def _no_room(wish: Wish, engine: EngineSpec) -> str | None:
    longest = wish.isl + wish.osl
    room = engine.limits.kv_blocks_total * engine.limits.block_size_tokens
    if longest > room:
        return f"KV cache holds {room} tokens, one request needs {longest}"
    if longest > wish.model.max_position:
        return f"context is {wish.model.max_position} tokens, one request needs {longest}"
    return None
