"""Times of single operators on one GPU, from data-sheet rates and fitted efficiencies.

Every operator costs a fixed launch time plus the smooth maximum of its compute and its
memory time (roofline, Williams et al. 2009).
"""

from __future__ import annotations

from contracts.errors import UnsupportedError
from contracts.hardware import GpuSpec
from contracts.model import Dtype
from contracts.plan import EngineSpec, Fabric

# Sharpness of the smooth maximum of compute and memory time.
_SMOOTH_POWER = 4.0
# Between nodes: bandwidth that TCP reaches, and latencies; assumptions.
TCP_GBYTES_PER_S = 3.0
TCP_LATENCY_US = 60.0
RDMA_LATENCY_US = 8.0


def smooth_max(first_s: float, second_s: float) -> float:
    """A maximum without a corner; both times in seconds, not negative."""
    longest, shortest = max(first_s, second_s), min(first_s, second_s)
    if longest == 0.0:
        return 0.0
    ratio: float = (1.0 + (shortest / longest) ** _SMOOTH_POWER) ** (1.0 / _SMOOTH_POWER)
    return longest * ratio


class Operators:
    """Operator times in seconds for one engine.

    Raises:
        UnsupportedError: the GPU has no arithmetic of the weights' or KV cache's type.
    """

    def __init__(self, engine: EngineSpec) -> None:
        gpu = engine.gpu
        self._eff = gpu.efficiencies
        self.weight_bytes = engine.weight_dtype.bytes_per_element
        self.flops = _gemm_flops(engine)
        stored = engine.model.expert_dtype or engine.weight_dtype
        self.expert_bytes = stored.bytes_per_element
        # Experts of a type that the GPU cannot compute with are widened to 16 bits.
        flops = _rate(gpu, stored) or _rate(gpu, Dtype.BF16) or self.flops
        self.expert_flops = flops * self._eff.expert_compute_ratio
        self.memory_rate = gpu.memory_tbytes_per_s * 1e12 * self._eff.gemm_memory_ratio
        self.expert_memory_rate = self.memory_rate * self._eff.expert_memory_ratio
        self._inside = gpu.near_gpus
        self._near_rate = gpu.intra_node_gbytes_per_s * 1e9 * self._eff.link_ratio
        tcp = engine.fabric is Fabric.TCP
        far = TCP_GBYTES_PER_S if tcp else gpu.inter_node_gbytes_per_s * self._eff.link_ratio
        self._far_rate = far * 1e9
        self._far_us = TCP_LATENCY_US if tcp else RDMA_LATENCY_US

    def gemm_s(self, m: int, k: int, n: int) -> float:
        """``m`` rows times a ``k`` by ``n`` weight matrix."""
        compute_s = 2.0 * m * k * n / self.flops
        moved = self.weight_bytes * k * n + 2 * m * (k + n)
        return self._eff.kernel_us * 1e-6 + smooth_max(compute_s, moved / self.memory_rate)

    def elementwise_s(self, tokens: float, width: float) -> float:
        """Norms, activations and the like: ``width`` 16-bit numbers moved for each token."""
        return 2 * tokens * width / self.memory_rate

    def allreduce_s(self, size_bytes: float, gpus: int) -> float:
        """Ring all-reduce (2 (n - 1) / n times the bytes over the link)."""
        if gpus == 1:
            return 0.0
        fixed_us = self._eff.allreduce_us + self._eff.allreduce_peer_us * (gpus - 1)
        rate = self._near_rate
        if gpus > self._inside:
            rate = min(rate, self._far_rate)
            fixed_us += 2 * self._far_us
        return fixed_us * 1e-6 + 2 * (gpus - 1) / gpus * size_bytes / rate

    def all_to_all_s(self, size_bytes: float, gpus: int) -> float:
        """Every GPU sends ``size_bytes`` spread over all others, near ones and far ones."""
        if gpus == 1:
            return 0.0
        near = min(gpus, self._inside)
        near_s = size_bytes * (near - 1) / gpus / self._near_rate
        far_s = size_bytes * (gpus - near) / gpus / self._far_rate
        fixed_us = self._eff.allreduce_us + (self._far_us if gpus > near else 0.0)
        return fixed_us * 1e-6 + max(near_s, far_s)

    def send_s(self, size_bytes: float, *, far: bool) -> float:
        """From one pipeline stage to the next."""
        rate = self._far_rate if far else self._near_rate
        return (self._far_us if far else self._eff.allreduce_us) * 1e-6 + size_bytes / rate


def _gemm_flops(engine: EngineSpec) -> float:
    """Rate that large GEMMs reach."""
    gpu = engine.gpu
    for dtype in (engine.weight_dtype, engine.kv_dtype):
        if _rate(gpu, dtype) is None:
            bits = "8-bit" if dtype is Dtype.FP8 else "4-bit"
            raise UnsupportedError(f"{gpu.sku} has no {bits} floating point")
    return _rate(gpu, engine.weight_dtype) or 0.0


def _rate(gpu: GpuSpec, dtype: Dtype) -> float | None:
    """FLOP/s of large GEMMs; ``None`` for a type that the GPU cannot compute with."""
    ratios = gpu.efficiencies
    rates = {
        Dtype.BF16: (gpu.bf16_tflops, ratios.gemm_compute_ratio),
        Dtype.FP8: (gpu.fp8_tflops, ratios.fp8_compute_ratio),
        Dtype.FP4: (gpu.fp4_tflops, ratios.fp8_compute_ratio),
    }
    tflops, ratio = rates[dtype]
    return None if tflops is None else tflops * 1e12 * ratio
