"""What the simulator needs to know about a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class Evidence(StrEnum):
    """Where a number comes from; every prediction carries one."""

    MEASURED = "measured"
    CALIBRATED = "calibrated"
    ESTIMATED = "estimated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiencies:
    """Fractions of the data-sheet peaks that real kernels reach, and fixed costs.

    Attributes:
        gemm_compute_ratio: share of peak TFLOPS that large GEMMs reach (0-1).
        fp8_compute_ratio: the same for 8-bit GEMMs, quantisation of activations included.
        expert_compute_ratio: rate of the grouped GEMMs of experts by that of plain ones (0-1).
        expert_memory_ratio: the same for reading the weights of experts (0-1).
        gemm_memory_ratio: share of peak bandwidth that weight reads reach (0-1).
        attention_compute_ratio: share of peak TFLOPS of prefill attention (0-1).
        attention_memory_ratio: share of peak bandwidth of decode attention (0-1).
        link_ratio: share of the link bandwidth that all-reduce reaches (0-1).
        kernel_us: fixed cost of one GEMM-like kernel.
        attention_kernel_us: fixed cost of one attention kernel.
        allreduce_us: fixed cost of one all-reduce.
        allreduce_peer_us: additional cost of one all-reduce for each further peer.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    gemm_compute_ratio: float
    fp8_compute_ratio: float
    gemm_memory_ratio: float
    attention_compute_ratio: float
    attention_memory_ratio: float
    link_ratio: float
    kernel_us: float
    attention_kernel_us: float
    allreduce_us: float
    allreduce_peer_us: float
    expert_compute_ratio: float = 1.0
    expert_memory_ratio: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSpec:
    """Data-sheet facts of one GPU SKU plus the efficiencies used with them.

    Bandwidths are per GPU and one direction; TFLOPS are dense. ``fp8_tflops`` is ``None``
    for a GPU without 8-bit floating point, ``fp4_tflops`` likewise.

    Attributes:
        bf16_tflops: 16-bit rate; on GPUs without bfloat16 that of float16.
        error_ratio: expected relative error of a whole step (0-1), two thirds of steps.
        link_domain_gpus: GPUs that the intra-node link joins where it reaches beyond a
            node; ``None`` for those of one node.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    sku: str
    memory_gib: float
    memory_tbytes_per_s: float
    bf16_tflops: float
    fp8_tflops: float | None
    intra_node_gbytes_per_s: float
    inter_node_gbytes_per_s: float
    gpus_per_node: int
    evidence: Evidence
    error_ratio: float
    efficiencies: Efficiencies
    fp4_tflops: float | None = None
    link_domain_gpus: int | None = None

    @property
    def near_gpus(self) -> int:
        """GPUs that reach each other over the intra-node link."""
        return self.link_domain_gpus or self.gpus_per_node
