"""Vocabulary of one engine replica."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """Scheduler and KV-cache limits, under the names vLLM gives them.

    Attributes:
        max_num_seqs: requests that may run at once.
        max_num_batched_tokens: token budget of one step.
        block_size_tokens: tokens in one KV block.
        kv_blocks_total: KV blocks of one replica.
        max_model_len: longest prompt plus output that is accepted, in tokens.
        chunked_prefill: a prompt may be split over several steps.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    block_size_tokens: int = 16
    kv_blocks_total: int = 16384
    max_model_len: int = 131_072
    chunked_prefill: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLoad:
    """What a router or planner may see of an engine; counts are exact at the instant."""

    running_requests: int
    waiting_requests: int
    waiting_prefill_tokens: int
    kv_blocks_used: int
    kv_blocks_total: int

    @property
    def requests(self) -> int:
        """Requests held by the engine."""
        return self.running_requests + self.waiting_requests

    @property
    def kv_usage_ratio(self) -> float:
        """Share of KV blocks in use (0-1)."""
        return self.kv_blocks_used / self.kv_blocks_total
