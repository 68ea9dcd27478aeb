"""The step-time model's price of a measured point.

GEMM, copy and all-reduce are priced by :class:`simcore.perf.operators.Operators` itself.
Attention stands inside the step timer there, so its two lines are written once more here;
a test holds them equal.
"""

from __future__ import annotations

from contracts.engine import EngineLimits
from contracts.errors import InvariantError
from contracts.hardware import GpuSpec
from contracts.model import Dtype, ModelArchitecture
from contracts.plan import EngineSpec
from profiler.calibrate.points import (
    AllReducePoint,
    ContextPoint,
    CopyPoint,
    DecodePoint,
    GemmPoint,
    LaunchPoint,
    Point,
)
from simcore.perf.operators import Operators

_HALF_BYTES = 2
# Operators ask an engine for its GPU and the types of its weights; the model is not used.
_MODEL = ModelArchitecture(
    model_id="none", layers=1, hidden=1, intermediate=1, heads=1, kv_heads=1, head_dim=1,
    vocab=1, max_position=1,
)  # fmt: skip


class Prices:
    """Seconds of points on one GPU."""

    def __init__(self, gpu: GpuSpec) -> None:
        self._gpu = gpu
        self._operators: dict[Dtype, Operators] = {}

    def seconds(self, point: Point) -> float:
        """One call.

        Raises:
            InvariantError: the model has no price for this operator, see :func:`has_price`.
        """
        match point:
            case GemmPoint(m=m, k=k, n=n, dtype=dtype):
                return self._ops(dtype).gemm_s(m, k, n)
            case ContextPoint():
                return self._context_s(point)
            case DecodePoint(requests=requests, context=context):
                return self._launch_s() + requests * context * self._token_s(point)
            case CopyPoint(size_bytes=size):
                return self._ops(Dtype.BF16).elementwise_s(size / _HALF_BYTES, 1)
            case AllReducePoint(size_bytes=size, gpus=gpus):
                return self._ops(Dtype.BF16).allreduce_s(size, gpus)
            case LaunchPoint():
                raise InvariantError("a bare launch has no price")

    def _context_s(self, point: ContextPoint) -> float:
        gpu, new, past = self._gpu, point.new, point.past
        pairs = new * past if past else new * new / 2
        rate = gpu.bf16_tflops * 1e12 * gpu.efficiencies.attention_compute_ratio
        compute_s = 4 * point.heads * point.head_dim * pairs / rate
        return self._launch_s() + max(compute_s, (past or new) * self._token_s(point))

    def _token_s(self, point: ContextPoint | DecodePoint) -> float:
        """Reading keys and values of one token."""
        gpu = self._gpu
        rate = gpu.memory_tbytes_per_s * 1e12 * gpu.efficiencies.attention_memory_ratio
        return 2 * point.heads * point.head_dim * _HALF_BYTES / rate

    def _launch_s(self) -> float:
        return self._gpu.efficiencies.attention_kernel_us * 1e-6

    def _ops(self, dtype: Dtype) -> Operators:
        if dtype not in self._operators:
            self._operators[dtype] = Operators(
                EngineSpec(
                    model=_MODEL,
                    gpu=self._gpu,
                    tp=1,
                    weight_dtype=dtype,
                    kv_dtype=Dtype.BF16,
                    limits=EngineLimits(),
                )
            )
        return self._operators[dtype]


def has_price(point: Point) -> bool:
    """Whether the step-time model knows this operator."""
    return not isinstance(point, LaunchPoint)
