"""Vocabulary of one engine replica."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Literal

_STRICT = {"extra": "forbid"}


class Backend(StrEnum):
    """Inference engines whose scheduling is modelled."""

    VLLM = "vllm"
    SGLANG = "sglang"
    TRTLLM = "trtllm"


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
        prefix_caching: keep the KV blocks of texts that later requests may begin with.
        max_adapters: different LoRA adapters among the running requests.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    block_size_tokens: int = 16
    kv_blocks_total: int = 16384
    max_model_len: int = 131_072
    chunked_prefill: bool = True
    prefix_caching: bool = True
    max_adapters: int = 1


class PreemptionOrder(StrEnum):
    """Which running request loses its KV blocks first."""

    LIFO = "lifo"
    FIFO = "fifo"


class QueuePolicy(StrEnum):
    """Order of the waiting queue; ties go to the earlier arrival."""

    FCFS = "fcfs"
    PRIORITY = "priority"
    LONGEST_PREFIX = "lpm"


class CapacityPolicy(StrEnum):
    """When TensorRT-LLM lets a request in."""

    GUARANTEED_NO_EVICT = "guaranteed_no_evict"
    MAX_UTILIZATION = "max_utilization"


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmScheduling:
    """One token budget for decodes and prompt chunks; preempts by recomputation."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    queue: QueuePolicy = QueuePolicy.FCFS
    preemption: PreemptionOrder = PreemptionOrder.LIFO
    async_scheduling: bool = True
    kind: Literal[Backend.VLLM] = Backend.VLLM

    @property
    def overlaps_host(self) -> bool:
        """The host prepares the next step while the GPU works."""
        return self.async_scheduling


@dataclass(frozen=True, slots=True, kw_only=True)
class SglangScheduling:
    """Prompt work goes before decodes; retracts requests when decodes run out of room.

    Attributes:
        queue: ``fcfs``, ``lpm`` or ``priority``.
        chunked_prefill_tokens: prompt tokens of one step; a longer prompt is split.
        max_prefill_tokens: prompt tokens that one step may admit.
        conservativeness: scales the share of future output that admission reserves.
        clip_max_new_tokens: future output of one request counts at most so much.
        mixed_chunk: decodes run beside a prompt chunk.
        overlap: the host prepares the next step while the GPU works.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    queue: QueuePolicy = QueuePolicy.FCFS
    chunked_prefill_tokens: int = 8192
    max_prefill_tokens: int = 16_384
    conservativeness: float = 1.0
    clip_max_new_tokens: int = 4096
    mixed_chunk: bool = False
    overlap: bool = True
    kind: Literal[Backend.SGLANG] = Backend.SGLANG

    @property
    def overlaps_host(self) -> bool:
        """The host prepares the next step while the GPU works."""
        return self.overlap


@dataclass(frozen=True, slots=True, kw_only=True)
class TrtllmScheduling:
    """In-flight batching; by default a running request is never evicted."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    capacity: CapacityPolicy = CapacityPolicy.GUARANTEED_NO_EVICT
    overlap: bool = True
    kind: Literal[Backend.TRTLLM] = Backend.TRTLLM

    @property
    def overlaps_host(self) -> bool:
        """The host prepares the next step while the GPU works."""
        return self.overlap


Scheduling = VllmScheduling | SglangScheduling | TrtllmScheduling


@dataclass(frozen=True, slots=True, kw_only=True)
class Speculation:
    """A draft model or extra heads propose tokens that one pass of the model verifies.

    Attributes:
        acceptance_ratios: chance that the n-th proposed token is accepted, given that the
            ones before it were; one entry for each proposed token (0-1).
        draft_ratio: cost of proposing one token, as a share of a decode step.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    acceptance_ratios: tuple[float, ...]
    draft_ratio: float = 0.05

    @property
    def tokens_per_step(self) -> float:
        """Mean tokens that one verified step yields, at least one."""
        total, chance = 1.0, 1.0
        for ratio in self.acceptance_ratios:
            chance *= ratio
            total += chance
        return total


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
