"""What the simulator needs to know about a model."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class Dtype(StrEnum):
    """Storage type of weights or KV cache."""

    BF16 = "bf16"
    FP8 = "fp8"

    @property
    def bytes_per_element(self) -> int:
        """Bytes that one element takes."""
        return 2 if self is Dtype.BF16 else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelArchitecture:
    """Shape of a dense decoder-only transformer with grouped-query attention.

    Attributes:
        model_id: Hugging Face id or the name the user gave.
        tied_embeddings: the LM head shares the embedding matrix.
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

    @property
    def weight_elements(self) -> int:
        """Number of parameters (norm weights are left out, they are below 0.1 %)."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        mlp = 3 * self.hidden * self.intermediate
        embeddings = self.vocab * self.hidden * (1 if self.tied_embeddings else 2)
        return self.layers * (attention + mlp) + embeddings

    def kv_bytes_per_token(self, dtype: Dtype) -> int:
        """KV-cache bytes of one token over all layers and KV heads."""
        return 2 * self.layers * self.kv_heads * self.head_dim * dtype.bytes_per_element
