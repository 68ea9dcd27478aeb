"""As much of PyTorch as the bench calls: shapes instead of numbers, a virtual GPU clock.

Kernels take the time of a known GPU; the host takes ``HOST_S`` to launch one, which a
recorded graph saves. Nothing of the library itself is tested by this.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from types import SimpleNamespace

from contracts.model import Dtype
from profiler.calibrate.formulas import Prices
from profiler.calibrate.points import (
    AllReducePoint,
    ContextPoint,
    CopyPoint,
    DecodePoint,
    GemmPoint,
)

HOST_S = 8e-6
_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4, "float8_e4m3fn": 1}


class Tensor:
    def __init__(self, torch, shape, dtype="bfloat16") -> None:
        self.torch, self.shape, self.dtype = torch, tuple(shape), dtype
        if math.prod(shape) * _BYTES[dtype] > torch.memory:
            raise RuntimeError("CUDA out of memory. Tried to allocate too much\nmore lines")

    def t(self):
        return Tensor(self.torch, self.shape[::-1], self.dtype)

    def to(self, dtype):
        return Tensor(self.torch, self.shape, dtype)

    def add_(self, _):
        self.torch.kernel(1e-6)

    def copy_(self, source):
        self.torch.price(CopyPoint(size_bytes=2 * 2 * math.prod(source.shape)))


class Graph:
    def __init__(self) -> None:
        self.seconds = 0.0
        self.torch = None

    def replay(self) -> None:
        self.torch.now_s += self.seconds


class FakeTorch:
    """The module."""

    __version__ = "9.9"
    bfloat16, float16, float32, float8_e4m3fn = "bfloat16", "float16", "float32", "float8_e4m3fn"

    def __init__(
        self, gpu, *, gpus=1, capability=(9, 0), memory=140 << 30, graphs=True, fp8=True
    ) -> None:
        self.prices = Prices(gpu)
        self.now_s, self.memory, self.graphs, self.fp8 = 0.0, memory, graphs, fp8
        self.recording: Graph | None = None
        self.version = SimpleNamespace(cuda="12.9", hip=None)
        self.nn = SimpleNamespace(
            functional=SimpleNamespace(scaled_dot_product_attention=self._attention)
        )
        stream = SimpleNamespace(wait_stream=lambda _: None)
        self.cuda = SimpleNamespace(
            is_available=lambda: gpus > 0,
            device_count=lambda: gpus,
            get_device_capability=lambda _: capability,
            get_device_properties=lambda _: SimpleNamespace(
                name="NVIDIA H200", total_memory=memory
            ),
            empty_cache=lambda: None,
            synchronize=lambda *_: None,
            Stream=lambda: stream,
            current_stream=lambda: stream,
            stream=self._context,
            CUDAGraph=Graph,
            graph=self._record,
            Event=self._event,
            nccl=SimpleNamespace(all_reduce=self._all_reduce),
        )

    def kernel(self, seconds: float) -> None:
        if self.recording is not None:
            self.recording.seconds += seconds
        else:
            self.now_s += max(seconds, HOST_S)

    def price(self, point) -> None:
        self.kernel(self.prices.seconds(point))

    @contextmanager
    def inference_mode(self):
        yield

    @contextmanager
    def _context(self, _):
        yield

    @contextmanager
    def _record(self, graph):
        if not self.graphs:
            raise RuntimeError("capture failed")
        self.recording, graph.torch = graph, self
        yield
        self.recording = None

    def _event(self, enable_timing):
        event = SimpleNamespace(at_s=0.0, synchronize=lambda: None)
        event.record = lambda: setattr(event, "at_s", self.now_s)
        event.elapsed_time = lambda other: (other.at_s - event.at_s) * 1e3
        return event

    def randn(self, *shape, device, dtype):
        return Tensor(self, shape, dtype)

    zeros = ones = lambda self, *shape, device, dtype: Tensor(
        self, shape if isinstance(shape[0], int) else shape[0], dtype
    ) if shape != ((),) else Tensor(self, (), dtype)  # fmt: skip

    def mm(self, a, b, out):
        (m, k), n = a.shape, b.shape[1]
        assert b.shape == (k, n)
        assert out.shape == (m, n)
        self.price(GemmPoint(m=m, k=k, n=n, dtype=Dtype.BF16))

    def _scaled_mm(self, a, b, *, scale_a, scale_b, out_dtype):
        if not self.fp8:
            raise RuntimeError("no 8-bit kernels on this GPU")
        assert a.dtype == b.dtype == "float8_e4m3fn"
        self.price(GemmPoint(m=a.shape[0], k=a.shape[1], n=b.shape[1], dtype=Dtype.FP8))

    def _attention(self, query, key, value, *, is_causal):
        batch, heads, new, dim = query.shape
        keys = key.shape[2]
        if new == 1:
            self.price(DecodePoint(requests=batch, context=keys, heads=heads, head_dim=dim))
        else:
            past = 0 if is_causal else keys
            self.price(ContextPoint(heads=heads, head_dim=dim, new=new, past=past))

    def _all_reduce(self, parts):
        size = 2 * parts[0].shape[0]
        self.price(AllReducePoint(size_bytes=size, gpus=len(parts)))
