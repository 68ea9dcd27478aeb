"""A GPU with known coefficients that answers as a bench, without any library."""

from __future__ import annotations

import math
from dataclasses import replace

from contracts.errors import UnsupportedError
from contracts.hardware import GpuSpec
from contracts.streams import RandomStreams
from profiler.calibrate.bench import DeviceFacts
from profiler.calibrate.formulas import Prices
from profiler.calibrate.points import GemmPoint, LaunchPoint, Point
from simcore.perf import gpu_spec

TRUE = replace(
    gpu_spec("h200_sxm"),
    efficiencies=replace(
        gpu_spec("h200_sxm").efficiencies,
        gemm_compute_ratio=0.71, fp8_compute_ratio=0.63, gemm_memory_ratio=0.82,
        attention_compute_ratio=0.55, attention_memory_ratio=0.77, link_ratio=0.64,
        kernel_us=2.9, attention_kernel_us=9.0, allreduce_us=5.0, allreduce_peer_us=0.6,
    ),
)  # fmt: skip


class FakeClock:
    def __init__(self) -> None:
        self.at_s = 0.0

    def now_s(self) -> float:
        return self.at_s


class FakeBench:
    """Prices of a known GPU with lognormal noise; each point takes a second of the clock."""

    notes: tuple[str, ...] = ()

    def __init__(
        self,
        gpu: GpuSpec = TRUE,
        *,
        name: str = "NVIDIA H200",
        noise: float = 0.05,
        gpus: int = 8,
        fp8: bool = True,
        refuse_rows: int | None = None,
    ) -> None:
        self.facts = DeviceFacts(
            name=name, memory_gib=139.8, gpus=gpus, fp8=fp8, half_type="bf16", runtime="fake 1",
        )  # fmt: skip
        self.clock = FakeClock()
        self._prices = Prices(gpu)
        self._noise = noise
        self._random = RandomStreams(7).stream("bench")
        self._refuse_rows = refuse_rows

    def seconds(self, point: Point) -> float:
        self.clock.at_s += 1.0
        if isinstance(point, GemmPoint) and point.m == self._refuse_rows:
            raise UnsupportedError(f"{point}: out of memory")
        factor = math.exp(self._noise * self._random.standard_normal())
        if isinstance(point, LaunchPoint):
            return (2e-6 if point.graph else 7e-6) * factor
        return self._prices.seconds(point) * factor
