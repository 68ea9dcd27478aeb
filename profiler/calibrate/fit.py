"""Fits the coefficients of the step-time model to measured operator times.

Least squares on the logarithm of predicted over measured time, soft-L1 so that single
outliers count little. Inside the fit every data-sheet value stands for the rate that was
reached and every ratio is 1; :mod:`profiler.calibrate.sku` relates them to a data sheet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from contracts.errors import UnsupportedError
from contracts.hardware import Efficiencies, Evidence, GpuSpec
from contracts.model import Dtype
from profiler.calibrate.formulas import Prices, has_price
from profiler.calibrate.points import (
    AllReducePoint,
    ContextPoint,
    DecodePoint,
    GemmPoint,
    Measurement,
    operator_of,
)
from profiler.dgdr.gpu_file import OperatorError

FloatArray = npt.NDArray[np.float64]
# Fewer points than this say nothing about the coefficients of an operator.
POINTS_MIN = 4
_SOFT = 0.1
_GPUS_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What the GPU reached: rates in FLOP/s and bytes/s, fixed costs in microseconds.

    Attributes:
        fp8_flops: ``None`` when no 8-bit GEMM was measured.
        link_bytes: ``None`` when no all-reduce was measured.
        allreduce_peer_us: ``None`` when groups of one size only were measured.
    """

    kernel_us: float
    half_flops: float
    gemm_bytes: float
    attention_kernel_us: float
    attention_flops: float
    attention_bytes: float
    fp8_flops: float | None = None
    link_bytes: float | None = None
    allreduce_us: float | None = None
    allreduce_peer_us: float | None = None

    def spec(self) -> GpuSpec:
        """A GPU whose data sheet is what was reached."""
        return GpuSpec(
            sku="measured",
            memory_gib=1.0,
            memory_tbytes_per_s=self.gemm_bytes / 1e12,
            bf16_tflops=self.half_flops / 1e12,
            fp8_tflops=None if self.fp8_flops is None else self.fp8_flops / 1e12,
            intra_node_gbytes_per_s=(self.link_bytes or 1.0) / 1e9,
            inter_node_gbytes_per_s=1.0,
            gpus_per_node=_GPUS_MAX,
            evidence=Evidence.MEASURED,
            error_ratio=0.0,
            efficiencies=Efficiencies(
                gemm_compute_ratio=1.0,
                fp8_compute_ratio=1.0,
                gemm_memory_ratio=1.0,
                attention_compute_ratio=self.attention_flops / self.half_flops,
                attention_memory_ratio=self.attention_bytes / self.gemm_bytes,
                link_ratio=1.0,
                kernel_us=self.kernel_us,
                attention_kernel_us=self.attention_kernel_us,
                allreduce_us=self.allreduce_us or 0.0,
                allreduce_peer_us=self.allreduce_peer_us or 0.0,
            ),
        )


def fit(rows: Sequence[Measurement]) -> Rates:
    """Coefficients of all operators that were measured.

    Raises:
        UnsupportedError: fewer than four points of GEMM or of one kind of attention.
    """
    half = [row for row in rows if _is_gemm(row, Dtype.BF16)]
    fp8 = [row for row in rows if _is_gemm(row, Dtype.FP8)]
    context = [row for row in rows if isinstance(row.point, ContextPoint)]
    decode = [row for row in rows if isinstance(row.point, DecodePoint)]
    for name, some in (("GEMM", half), ("prompt", context), ("decode", decode)):
        if len(some) < POINTS_MIN:
            raise UnsupportedError(
                f"only {len(some)} of at least {POINTS_MIN} {name} points were measured, "
                "that is too few for a fit; give more time with --limit-s"
            )
    use_fp8 = len(fp8) >= POINTS_MIN
    rates = Rates(
        kernel_us=_fastest_us(half),
        half_flops=_reached(half, _gemm_flops),
        gemm_bytes=_reached(half, _gemm_bytes),
        attention_kernel_us=_fastest_us(context + decode),
        attention_flops=_reached(context, _context_flops),
        attention_bytes=_reached(decode, _decode_bytes),
        fp8_flops=_reached(fp8, _gemm_flops) if use_fp8 else None,
    )
    names = ["kernel_us", "half_flops", "gemm_bytes"] + (["fp8_flops"] if use_fp8 else [])
    rates = _solve(rates, names, half + (fp8 if use_fp8 else []))
    names = ["attention_kernel_us", "attention_flops", "attention_bytes"]
    rates = _solve(rates, names, context + decode)
    return _fit_links(rates, [row for row in rows if isinstance(row.point, AllReducePoint)])


def errors(
    gpu: GpuSpec, rows: Sequence[Measurement], planned: Mapping[str, int]
) -> dict[str, OperatorError]:
    """Percentiles of |predicted / measured - 1| by operator."""
    prices = Prices(gpu)
    found: dict[str, list[float]] = {}
    for row in rows:
        if has_price(row.point) and not (_is_gemm(row, Dtype.FP8) and gpu.fp8_tflops is None):
            error = abs(prices.seconds(row.point) / row.seconds - 1.0)
            found.setdefault(operator_of(row.point), []).append(error)
    return {
        name: OperatorError(
            points=len(values),
            planned=planned.get(name, len(values)),
            error_p50=_rounded(values, 50),
            error_p67=_rounded(values, 67),
            error_p90=_rounded(values, 90),
        )
        for name, values in found.items()
    }


def _fit_links(rates: Rates, rows: Sequence[Measurement]) -> Rates:
    """Link rate and fixed costs; the cost of a further peer needs groups of two sizes."""
    if len(rows) < POINTS_MIN:
        return rates
    groups = {row.point.gpus for row in rows if isinstance(row.point, AllReducePoint)}
    start_us = _fastest_us(rows)
    many = len(groups) > 1
    rates = replace(
        rates,
        link_bytes=_reached(rows, _link_bytes),
        allreduce_us=start_us / 2 if many else start_us,
        allreduce_peer_us=start_us / 10 if many else None,
    )
    names = ["link_bytes", "allreduce_us"] + (["allreduce_peer_us"] if many else [])
    return _solve(rates, names, rows)


def _solve(start: Rates, names: Sequence[str], rows: Sequence[Measurement]) -> Rates:
    """Move some rates, all within a factor of 100 of their start, until the rows fit best."""
    measured = np.log([row.seconds for row in rows])

    def at(logs: FloatArray) -> Rates:
        values = np.exp(logs).tolist()
        return replace(start, **dict(zip(names, values, strict=True)))

    def residuals(logs: FloatArray) -> FloatArray:
        prices = Prices(at(logs).spec())
        return np.log([prices.seconds(row.point) for row in rows]) - measured

    first = np.log([getattr(start, name) for name in names])
    solution = least_squares(
        residuals,
        first,
        bounds=(first - np.log(100.0), first + np.log(100.0)),
        loss="soft_l1",
        f_scale=_SOFT,
        x_scale=1.0,
    )
    return at(solution.x)


def _is_gemm(row: Measurement, dtype: Dtype) -> bool:
    return isinstance(row.point, GemmPoint) and row.point.dtype is dtype


def _fastest_us(rows: Sequence[Measurement]) -> float:
    return min(row.seconds for row in rows) * 1e6


def _reached(rows: Sequence[Measurement], work: Callable[[Measurement], float]) -> float:
    """The highest rate of any row."""
    return max(work(row) / row.seconds for row in rows)


def _gemm_flops(row: Measurement) -> float:
    point = row.point
    return 2.0 * point.m * point.k * point.n if isinstance(point, GemmPoint) else 0.0


def _gemm_bytes(row: Measurement) -> float:
    point = row.point
    if not isinstance(point, GemmPoint):
        return 0.0
    return point.dtype.bytes_per_element * point.k * point.n + 2 * point.m * (point.k + point.n)


def _context_flops(row: Measurement) -> float:
    point = row.point
    if not isinstance(point, ContextPoint):
        return 0.0
    pairs = point.new * point.past if point.past else point.new * point.new / 2
    return 4 * point.heads * point.head_dim * pairs


def _decode_bytes(row: Measurement) -> float:
    point = row.point
    if not isinstance(point, DecodePoint):
        return 0.0
    return 4.0 * point.requests * point.context * point.heads * point.head_dim


def _link_bytes(row: Measurement) -> float:
    point = row.point
    if not isinstance(point, AllReducePoint):
        return 0.0
    return 2 * (point.gpus - 1) / point.gpus * point.size_bytes


def _rounded(values: Sequence[float], percent: float) -> float:
    return round(float(np.percentile(values, percent)), 4)
