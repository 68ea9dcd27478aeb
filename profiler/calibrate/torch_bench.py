"""Times operators with PyTorch on CUDA or ROCm; on a CPU the same code runs for tests.

On a GPU a batch of calls is recorded as a graph and replayed, as engines do in decode
steps, so the host's launches do not count. Weights and KV caches take turns, so that they
come from memory and not from the cache. PyTorch is imported when the bench is made.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from contracts.errors import InputError, UnsupportedError
from contracts.model import Dtype
from contracts.units import BYTES_PER_GIB
from profiler.calibrate.bench import DeviceFacts
from profiler.calibrate.clock import Clock
from profiler.calibrate.points import (
    AllReducePoint,
    ContextPoint,
    CopyPoint,
    DecodePoint,
    GemmPoint,
    LaunchPoint,
    Point,
)

# Copies of the operand that take turns: together at least so many bytes.
_ROTATE_BYTES = 512 << 20
_COPIES_MAX = 128
# One timed batch lasts about so long, at least two calls.
_BATCH_S = 3e-3
_CALLS_MAX = 256
_SAMPLES = 5
_CPU_NOTE = "cpu: times of this machine's processor, of no use for a GPU"
Call = Callable[[int], object]


def torch_bench(device: str, clock: Clock) -> TorchBench:
    """A bench on ``cuda`` (NVIDIA or AMD) or ``cpu``.

    Raises:
        UnsupportedError: PyTorch is not installed, or it sees no GPU.
        InputError: an unknown device.
    """
    if device not in ("cuda", "cpu"):
        raise InputError("is unknown", path="--device", value=device, allowed="cuda or cpu")
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise UnsupportedError(
            "calibrate needs PyTorch, which is not installed: install the extra 'gpu', "
            "python -m pip install -e '.[gpu]', or PyTorch's own build for your GPU "
            f"(ROCm has its own); {error}"
        ) from error
    if device == "cuda" and not torch.cuda.is_available():
        raise UnsupportedError(
            f"PyTorch {torch.__version__} sees no GPU: check the driver, and that this build of "
            "PyTorch is for your GPU; --device cpu --tiny only shows that the command runs"
        )
    return TorchBench(torch, device, clock)


class TorchBench:
    """Answers :class:`profiler.calibrate.bench.Bench`.

    Args:
        torch: the imported module.
        device: ``cuda`` or ``cpu``.
        clock: times the CPU; GPUs are timed by their own events.
    """

    def __init__(self, torch: Any, device: str, clock: Clock) -> None:  # noqa: ANN401
        self._torch = torch
        self._device = device
        self._gpu = device == "cuda"
        self._clock = clock
        self._notes: list[str] = []
        bf16 = not self._gpu or _has_bf16(torch)
        self._half = torch.bfloat16 if bf16 else torch.float16
        self._fp8: Any = None
        if self._gpu:
            self._fp8 = self._working_fp8()
        self._facts = self._read_facts("bf16" if bf16 else "fp16")

    @property
    def facts(self) -> DeviceFacts:
        """See the port."""
        return self._facts

    @property
    def notes(self) -> tuple[str, ...]:
        """See the port."""
        return tuple(self._notes)

    def seconds(self, point: Point) -> float:
        """See the port."""
        try:
            with self._torch.inference_mode():
                return self._time(point)
        except (RuntimeError, NotImplementedError) as error:
            # Out of memory and missing kernels are RuntimeErrors of PyTorch.
            if self._gpu:
                self._torch.cuda.empty_cache()
            line = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UnsupportedError(f"{point}: {line}") from error

    def _time(self, point: Point) -> float:
        match point:
            case GemmPoint(dtype=Dtype.FP8):
                return self._fp8_gemm_s(point)
            case GemmPoint():
                return self._gemm_s(point)
            case ContextPoint() | DecodePoint():
                return self._attention_s(point)
            case CopyPoint(size_bytes=size):
                return self._copy_s(size)
            case LaunchPoint(graph=graph):
                one = self._zeros((1,))
                return self._measure(lambda _: one.add_(1.0), graph=graph)
            case AllReducePoint():
                return self._all_reduce_s(point)

    def _gemm_s(self, point: GemmPoint) -> float:
        m, k, n = point.m, point.k, point.n
        rows, out = self._random((m, k)), self._zeros((m, n))
        weights = [self._random((n, k)).t() for _ in range(_copies(2 * n * k))]
        mm = self._torch.mm
        return self._measure(lambda i: mm(rows, weights[i % len(weights)], out=out))

    def _fp8_gemm_s(self, point: GemmPoint) -> float:
        """The cast of the activations to 8 bits belongs to it."""
        if self._fp8 is None:
            raise UnsupportedError("no 8-bit GEMM")
        rows = self._random((point.m, point.k))
        one = self._torch.ones((), device=self._device, dtype=self._torch.float32)
        weights = [
            self._random((point.n, point.k)).to(self._fp8).t()
            for _ in range(_copies(point.n * point.k))
        ]
        multiply, kind = self._torch._scaled_mm, self._fp8

        def call(index: int) -> object:
            return multiply(
                rows.to(kind),
                weights[index % len(weights)],
                scale_a=one,
                scale_b=one,
                out_dtype=self._half,
            )

        return self._measure(call)

    def _attention_s(self, point: ContextPoint | DecodePoint) -> float:
        if isinstance(point, DecodePoint):
            batch, queries, keys = point.requests, 1, point.context
        else:
            batch, queries, keys = 1, point.new, point.past or point.new
        causal = isinstance(point, ContextPoint) and not point.past
        shape = (batch, point.heads, keys, point.head_dim)
        query = self._random((batch, point.heads, queries, point.head_dim))
        caches = [
            (self._random(shape), self._random(shape)) for _ in range(_copies(4 * math.prod(shape)))
        ]
        attend = self._torch.nn.functional.scaled_dot_product_attention

        def call(index: int) -> object:
            key, value = caches[index % len(caches)]
            return attend(query, key, value, is_causal=causal)

        return self._measure(call)

    def _copy_s(self, size: int) -> float:
        elements = size // 4
        pairs = [(self._zeros((elements,)), self._zeros((elements,))) for _ in range(_copies(size))]

        def call(index: int) -> object:
            source, target = pairs[index % len(pairs)]
            return target.copy_(source)

        return self._measure(call)

    def _all_reduce_s(self, point: AllReducePoint) -> float:
        """Launched by this process on all GPUs, call after call."""
        torch = self._torch
        elements = point.size_bytes // 2
        parts = [
            torch.zeros(elements, device=f"cuda:{gpu}", dtype=self._half)
            for gpu in range(point.gpus)
        ]
        reduce = torch.cuda.nccl.all_reduce

        def wait() -> None:
            for gpu in range(point.gpus):
                torch.cuda.synchronize(gpu)

        def batch(calls: int) -> float:
            begin_s = self._clock.now_s()
            for _ in range(calls):
                reduce(parts)
            wait()
            return self._clock.now_s() - begin_s

        batch(3)
        calls = _calls(batch(4) / 4)
        return median(batch(calls) / calls for _ in range(_SAMPLES))

    def _measure(self, call: Call, *, graph: bool = True) -> float:
        """Median seconds of one call; the argument counts the calls, to take turns."""
        if not self._gpu:
            return self._measure_cpu(call)
        torch = self._torch
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for index in range(3):
                call(index)
        torch.cuda.current_stream().wait_stream(side)
        calls = _calls(self._events_s(lambda: _repeat(call, 4)) / 4)
        if not graph:
            return self._samples(lambda: _repeat(call, calls), calls)
        recorded = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(recorded):
                _repeat(call, calls)
        except RuntimeError as error:
            self._note(f"not recorded as a graph, host launches count: {str(error)[:80]}")
            torch.cuda.synchronize()
            return self._samples(lambda: _repeat(call, calls), calls)
        recorded.replay()
        return self._samples(recorded.replay, calls)

    def _samples(self, batch: Callable[[], object], calls: int) -> float:
        return median(self._events_s(batch) / calls for _ in range(_SAMPLES))

    def _events_s(self, batch: Callable[[], object]) -> float:
        cuda = self._torch.cuda
        begin, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
        cuda.synchronize()
        begin.record()
        batch()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3

    def _measure_cpu(self, call: Call) -> float:
        call(0)

        def batch(calls: int) -> float:
            begin_s = self._clock.now_s()
            _repeat(call, calls)
            return self._clock.now_s() - begin_s

        calls = _calls(batch(2) / 2)
        return median(batch(calls) / calls for _ in range(_SAMPLES))

    def _working_fp8(self) -> Any:  # noqa: ANN401  # a type of a library without stubs
        """The 8-bit type whose GEMM works here; AMD's older one has another zero."""
        reason = "this PyTorch has no 8-bit types"
        for name in ("float8_e4m3fn", "float8_e4m3fnuz"):
            self._fp8 = getattr(self._torch, name, None)
            if self._fp8 is None or not hasattr(self._torch, "_scaled_mm"):
                continue
            try:
                self._fp8_gemm_s(GemmPoint(m=32, k=64, n=64, dtype=Dtype.FP8))
            except (RuntimeError, NotImplementedError, TypeError) as error:
                reason = str(error).splitlines()[0][:100]
            else:
                return self._fp8
        self._note(f"no 8-bit GEMM: {reason}")
        return None

    def _read_facts(self, half_type: str) -> DeviceFacts:
        torch = self._torch
        if not self._gpu:
            self._note(_CPU_NOTE)
            return DeviceFacts(
                name="cpu", memory_gib=1.0, gpus=1, fp8=False, half_type=half_type,
                runtime=f"torch {torch.__version__}",
            )  # fmt: skip
        version = torch.version
        driver = f"hip {version.hip}" if getattr(version, "hip", None) else f"cuda {version.cuda}"
        properties = torch.cuda.get_device_properties(0)
        return DeviceFacts(
            name=str(properties.name),
            memory_gib=properties.total_memory / BYTES_PER_GIB,
            gpus=int(torch.cuda.device_count()),
            fp8=self._fp8 is not None,
            half_type=half_type,
            runtime=f"torch {torch.__version__}, {driver}",
        )

    def _random(self, shape: Sequence[int]) -> Any:  # noqa: ANN401
        return self._torch.randn(*shape, device=self._device, dtype=self._half)

    def _zeros(self, shape: Sequence[int]) -> Any:  # noqa: ANN401
        return self._torch.zeros(*shape, device=self._device, dtype=self._half)

    def _note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.append(text)


def _has_bf16(torch: Any) -> bool:  # noqa: ANN401
    """Arithmetic in bfloat16, not its emulation on NVIDIA GPUs before Ampere."""
    if getattr(torch.version, "hip", None):
        return True
    return bool(torch.cuda.get_device_capability(0)[0] >= 8)


def _copies(size_bytes: int) -> int:
    """Operands that take turns."""
    return max(1, min(_COPIES_MAX, -(-_ROTATE_BYTES // size_bytes)))


def _calls(one_s: float) -> int:
    """Calls of one timed batch; each operand has its turn where calls are short."""
    return max(2, min(_CALLS_MAX, round(_BATCH_S / max(one_s, 1e-9))))


def _repeat(call: Call, calls: int) -> None:
    for index in range(calls):
        call(index)
