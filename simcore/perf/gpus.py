"""GPU facts and kernel efficiencies by SKU.

Data-sheet numbers and the starting values of the efficiencies derive from the
system files and kernel tables of NVIDIA AIConfigurator 0.12.0 (Apache-2.0, see
NOTICE): memory and link efficiencies and launch costs are rounded fits to those
tables. The compute efficiencies of l40s are borrowed and therefore ``estimated``.
"""

from __future__ import annotations

from contracts.errors import InputError
from contracts.hardware import Efficiencies, Evidence, GpuSpec

_SXM_COMMON = {
    "kernel_us": 2.6,
    "attention_kernel_us": 14.0,
    "allreduce_us": 4.0,
    "allreduce_peer_us": 0.2,
    "host_step_us": 400.0,
}

_GPUS = (
    GpuSpec(
        sku="a100_sxm",
        memory_gib=80.0,
        memory_tbytes_per_s=2.039,
        bf16_tflops=312.0,
        fp8_tflops=None,
        intra_node_gbytes_per_s=300.0,
        inter_node_gbytes_per_s=25.0,
        gpus_per_node=8,
        evidence=Evidence.CALIBRATED,
        efficiencies=Efficiencies(
            gemm_compute_ratio=0.75,
            gemm_memory_ratio=0.80,
            attention_compute_ratio=0.55,
            attention_memory_ratio=0.70,
            link_ratio=0.63,
            **_SXM_COMMON,
        ),
    ),
    GpuSpec(
        sku="h100_sxm",
        memory_gib=80.0,
        memory_tbytes_per_s=3.35,
        bf16_tflops=989.0,
        fp8_tflops=1978.0,
        intra_node_gbytes_per_s=450.0,
        inter_node_gbytes_per_s=50.0,
        gpus_per_node=8,
        evidence=Evidence.CALIBRATED,
        efficiencies=Efficiencies(
            gemm_compute_ratio=0.70,
            gemm_memory_ratio=0.85,
            attention_compute_ratio=0.50,
            attention_memory_ratio=0.90,
            link_ratio=0.70,
            **_SXM_COMMON,
        ),
    ),
    GpuSpec(
        sku="h200_sxm",
        memory_gib=141.0,
        memory_tbytes_per_s=4.8,
        bf16_tflops=989.0,
        fp8_tflops=1978.0,
        intra_node_gbytes_per_s=450.0,
        inter_node_gbytes_per_s=50.0,
        gpus_per_node=8,
        evidence=Evidence.CALIBRATED,
        efficiencies=Efficiencies(
            gemm_compute_ratio=0.70,
            gemm_memory_ratio=0.83,
            attention_compute_ratio=0.50,
            attention_memory_ratio=0.87,
            link_ratio=0.70,
            **_SXM_COMMON,
        ),
    ),
    GpuSpec(
        sku="l40s",
        memory_gib=45.0,
        memory_tbytes_per_s=0.864,
        bf16_tflops=362.05,
        fp8_tflops=733.0,
        intra_node_gbytes_per_s=32.0,
        inter_node_gbytes_per_s=50.0,
        gpus_per_node=8,
        evidence=Evidence.ESTIMATED,
        efficiencies=Efficiencies(
            gemm_compute_ratio=0.58,
            gemm_memory_ratio=0.83,
            attention_compute_ratio=0.50,
            attention_memory_ratio=0.80,
            link_ratio=0.60,
            kernel_us=2.6,
            attention_kernel_us=14.0,
            allreduce_us=12.0,
            allreduce_peer_us=2.0,
            host_step_us=400.0,
        ),
    ),
)

_BY_SKU = {gpu.sku: gpu for gpu in _GPUS}
KNOWN_SKUS: tuple[str, ...] = tuple(_BY_SKU)


def gpu_spec(sku: str) -> GpuSpec:
    """Facts of one GPU SKU.

    Raises:
        InputError: the SKU has no facts; lists those that do.
    """
    try:
        return _BY_SKU[sku]
    except KeyError:
        raise InputError(
            "no performance facts for this GPU", value=sku, allowed=", ".join(KNOWN_SKUS)
        ) from None
