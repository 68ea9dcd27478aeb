"""How many KV blocks fit beside the weights."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.engine import Backend
from contracts.errors import InfeasibleError
from contracts.hardware import GpuSpec
from contracts.model import Dtype, ModelArchitecture
from contracts.units import BYTES_PER_GIB

# vLLM's documented default of --gpu-memory-utilization.
GPU_MEMORY_UTILIZATION = 0.9
# CUDA context, NCCL buffers and CUDA graphs of one GPU, GiB.
RUNTIME_RESERVE_GIB = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRequest:
    """One GPU's share of a model, and how the engine will use it.

    Attributes:
        memory_ratio: vLLM: share of the GPU memory for weights, activations and KV cache;
            SGLang: for weights and KV cache; TensorRT-LLM: share of what weights and
            activations leave (0-1).
    """

    model: ModelArchitecture
    gpu: GpuSpec
    tp: int
    pp: int = 1
    dp: int = 1
    weight_dtype: Dtype = Dtype.BF16
    kv_dtype: Dtype = Dtype.BF16
    block_size_tokens: int = 16
    max_num_batched_tokens: int = 8192
    max_num_seqs: int = 256
    backend: Backend = Backend.VLLM
    memory_ratio: float = GPU_MEMORY_UTILIZATION

    @property
    def weights_gib(self) -> float:
        """Weights held by one GPU; attention ranks repeat everything but the experts."""
        experts = self.model.expert_elements
        rest = (self.model.weight_elements - experts) / self.tp
        expert_bytes = (self.model.expert_dtype or self.weight_dtype).bytes_per_element
        total = rest * self.weight_dtype.bytes_per_element
        total += experts / (self.tp * self.dp) * expert_bytes
        return total / self.pp / BYTES_PER_GIB

    @property
    def activations_gib(self) -> float:
        """Peak activations of one step: residual streams, MLP intermediates, fp32 logits."""
        residual = 4 * self.model.hidden * self.max_num_batched_tokens * 2
        model = self.model
        width = max(model.intermediate, model.experts_per_token * model.expert_intermediate)
        mlp = 3 * width / self.tp * self.max_num_batched_tokens * 2
        logits = self.max_num_seqs * self.model.vocab / self.tp * 4
        return (residual + mlp + logits) / BYTES_PER_GIB

    @property
    def kv_bytes_per_token(self) -> float:
        """KV bytes of one token on one GPU; heads are replicated when tp exceeds them.

        The entry of latent attention is the same for all heads and lies on every GPU.
        """
        shards = 1 if self.model.latent else min(self.tp, self.model.kv_heads)
        return self.model.kv_bytes_per_token(self.kv_dtype) / shards / self.pp

    @property
    def kv_room_gib(self) -> float:
        """Memory left for KV cache on one GPU; negative when the model does not fit."""
        whole = self.gpu.memory_gib
        left = whole - self.weights_gib - self.activations_gib - RUNTIME_RESERVE_GIB
        if self.backend is Backend.TRTLLM:
            return left * self.memory_ratio
        if self.backend is Backend.SGLANG:
            return min(whole * self.memory_ratio - self.weights_gib, left)
        return left - whole * (1 - self.memory_ratio)


def kv_blocks_for(request: MemoryRequest) -> int:
    """KV blocks that fit, at least one.

    Raises:
        InfeasibleError: not even one block fits; says by how many GiB.
    """
    block_gib = request.kv_bytes_per_token * request.block_size_tokens / BYTES_PER_GIB
    blocks = int(request.kv_room_gib / block_gib)
    if blocks < 1:
        lacking = block_gib - request.kv_room_gib
        raise InfeasibleError(
            f"{request.model.model_id} with TP {request.tp} does not fit on {request.gpu.sku}: "
            f"{lacking:.1f} GiB too little on each GPU",
            binding_constraint=(
                f"GPU memory {request.gpu.memory_gib:.0f} GiB x {request.memory_ratio} < weights "
                f"{request.weights_gib:.1f} + activations {request.activations_gib:.1f} + runtime "
                f"{RUNTIME_RESERVE_GIB:.1f} GiB + one KV block"
            ),
        )
    return blocks
