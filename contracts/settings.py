"""What the command line of a worker says about its engine; ``None`` is the backend's default."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.engine import Backend, CapacityPolicy, QueuePolicy
from contracts.model import Dtype
from contracts.plan import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Settings of one worker in the words of this project.

    Attributes:
        model: Hugging Face id or path; empty when the arguments do not name it.
        role: part of a disaggregated deployment, or all of it.
        tp: GPUs of one attention rank.
        pp: pipeline stages.
        dp: attention ranks inside the replica.
        expert_parallel: experts are spread over all GPUs instead of being sliced.
        weight_dtype, kv_dtype: ``None`` follows the checkpoint.
        max_num_seqs: of one attention rank.
        max_num_batched_tokens: token budget of one step of one attention rank.
        max_prefill_tokens: prompt tokens that one step may admit (SGLang).
        max_model_len: longest prompt plus output.
        block_size_tokens: tokens of one KV block.
        kv_tokens: KV tokens of one attention rank, whatever the memory would hold.
        memory_ratio: share of the GPU memory, or of what is free, as the backend means it.
        queue: order of the waiting queue.
        conservativeness: of SGLang's admission.
        capacity: admission of TensorRT-LLM.
        overlap: the host prepares the next step while the GPU works.
        adapters: different LoRA adapters that may run at once.
        speculative_tokens: proposed in each step; 0 is no speculation.
    """

    backend: Backend
    model: str = ""
    role: Role = Role.AGG
    tp: int = 1
    pp: int = 1
    dp: int = 1
    expert_parallel: bool = False
    weight_dtype: Dtype | None = None
    kv_dtype: Dtype | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    max_prefill_tokens: int | None = None
    max_model_len: int | None = None
    block_size_tokens: int | None = None
    kv_tokens: int | None = None
    memory_ratio: float | None = None
    chunked_prefill: bool | None = None
    prefix_caching: bool | None = None
    mixed_chunk: bool = False
    queue: QueuePolicy = QueuePolicy.FCFS
    conservativeness: float = 1.0
    capacity: CapacityPolicy = CapacityPolicy.GUARANTEED_NO_EVICT
    overlap: bool = True
    adapters: int | None = None
    speculative_tokens: int = 0
