"""What the simulator needs to know about a model."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

_BITS = {"bf16": 16.0, "fp8": 8.0, "fp4": 4.5}


class Dtype(StrEnum):
    """Storage type of weights or KV cache."""

    BF16 = "bf16"
    FP8 = "fp8"
    FP4 = "fp4"

    @property
    def bytes_per_element(self) -> float:
        """Bytes that one element takes; 4-bit types carry a scale for each block of 16."""
        return _BITS[self.value] / 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelArchitecture:
    """Shape of a decoder-only transformer.

    Attention is grouped-query, or latent (MLA) where ``kv_lora_rank`` is set. The MLP is
    dense, or a mixture of experts in all but the first ``dense_layers`` layers.

    Attributes:
        model_id: Hugging Face id or the name the user gave.
        intermediate: width of the dense MLP.
        head_dim: width of one head; with MLA that of the query's part without position.
        tied_embeddings: the LM head shares the embedding matrix.
        experts: routed experts of a layer, 0 for a dense model.
        experts_per_token: experts that compute one token.
        expert_intermediate: width of one expert.
        expert_dtype: type in which routed experts are stored whatever the type of the other
            weights; ``None`` for the same type.
        shared_experts: experts that compute every token.
        dense_layers: leading layers with a dense MLP.
        sliding_layers: layers that attend to a short window only.
        q_lora_rank: rank of the compressed query (MLA), 0 for none.
        kv_lora_rank: width of the compressed KV entry (MLA), 0 for none.
        rope_head_dim: width of the part with position (MLA).
        v_head_dim: width of one value head (MLA).
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    model_id: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    max_position: int
    tied_embeddings: bool = False
    experts: int = 0
    experts_per_token: int = 0
    expert_intermediate: int = 0
    expert_dtype: Dtype | None = None
    shared_experts: int = 0
    dense_layers: int = 0
    sliding_layers: int = 0
    q_lora_rank: int = 0
    kv_lora_rank: int = 0
    rope_head_dim: int = 0
    v_head_dim: int = 0

    @property
    def latent(self) -> bool:
        """Multi-head latent attention."""
        return self.kv_lora_rank > 0

    @property
    def moe_layers(self) -> int:
        """Layers with routed experts."""
        return self.layers - self.dense_layers if self.experts else 0

    @property
    def attention_elements(self) -> int:
        """Attention weights of one layer."""
        if not self.latent:
            return self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        query = self.heads * (self.head_dim + self.rope_head_dim)
        rank = self.q_lora_rank
        down = self.hidden * rank + rank * query if rank else self.hidden * query
        key_value = self.hidden * (self.kv_lora_rank + self.rope_head_dim)
        up = self.kv_lora_rank * self.heads * (self.head_dim + self.v_head_dim)
        return down + key_value + up + self.heads * self.v_head_dim * self.hidden

    @property
    def expert_elements(self) -> int:
        """Weights of all routed experts of the model."""
        return self.moe_layers * self.experts * 3 * self.hidden * self.expert_intermediate

    @property
    def weight_elements(self) -> int:
        """Number of parameters (norm weights are left out, they are below 0.1 %)."""
        moe = self.moe_layers
        dense_mlp = (self.layers - moe) * 3 * self.hidden * self.intermediate
        shared = 3 * self.hidden * self.expert_intermediate * self.shared_experts
        router = self.hidden * self.experts
        embeddings = self.vocab * self.hidden * (1 if self.tied_embeddings else 2)
        rest = self.layers * self.attention_elements + moe * (shared + router)
        return rest + dense_mlp + self.expert_elements + embeddings

    def kv_bytes_per_token(self, dtype: Dtype) -> int:
        """KV-cache bytes of one token over all layers and KV heads.

        Layers with a sliding window keep a bounded number of tokens and are left out.
        """
        layers = self.layers - self.sliding_layers
        if self.latent:
            width = self.kv_lora_rank + self.rope_head_dim
        else:
            width = 2 * self.kv_heads * self.head_dim
        return round(layers * width * dtype.bytes_per_element)
