"""Measure, fit, write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from contracts.errors import InputError
from contracts.hardware import GpuSpec
from profiler.calibrate.bench import Bench
from profiler.calibrate.clock import Clock
from profiler.calibrate.fit import Rates, errors, fit
from profiler.calibrate.measure import Measured, Progress, measure
from profiler.calibrate.points import LaunchPoint, grid
from profiler.calibrate.sku import compose, sku_name, with_error
from profiler.calibrate.write import write_csv, write_gpu
from profiler.dgdr.gpu_file import Calibration, OperatorError
from simcore.perf import KNOWN_SKUS

LIMIT_S = 240.0
# Operators whose fit says how good a step can be at best.
_STEP_OPERATORS = ("gemm_bf16", "context_attention", "decode_attention", "all_reduce")


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrateOptions:
    """What to write, and how long to measure.

    Attributes:
        out: the GPU file.
        csv: raw measurements; ``None`` writes none.
        sku: name in the file; ``None`` derives it from the device.
        like: bundled SKU whose data sheet holds for this device.
        tiny: sizes for a CPU; what comes out is marked as of no use.
        limit_s: time for all measurements.

    Raises:
        InputError: an unknown SKU, or a limit that is not positive.
    """

    out: Path
    csv: Path | None = None
    sku: str | None = None
    like: str | None = None
    tiny: bool = False
    limit_s: float = LIMIT_S

    def __post_init__(self) -> None:
        if not 0 < self.limit_s < float("inf"):
            raise InputError(
                "is out of range", path="--limit-s", value=str(self.limit_s), allowed="above 0"
            )
        if self.like is not None and self.like not in KNOWN_SKUS:
            raise InputError(
                "is no bundled SKU", path="--like", value=self.like, allowed=", ".join(KNOWN_SKUS)
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrateResult:
    """What was found and written."""

    gpu: GpuSpec
    calibration: Calibration
    rates: Rates


def calibrate(
    bench: Bench, options: CalibrateOptions, clock: Clock, *, at_utc: str, progress: Progress
) -> CalibrateResult:
    """Measure the bench's device and write its facts.

    Args:
        bench: the device.
        options: what to write.
        clock: limits the time.
        at_utc: the present, for the file.
        progress: hears of every measured point: section, done, all.

    Raises:
        UnsupportedError: too little could be measured.
    """
    facts = bench.facts
    sections = grid(fp8=facts.fp8, gpus=facts.gpus, tiny=options.tiny)
    found = measure(bench, sections, clock, limit_s=options.limit_s, progress=progress)
    rates = fit(found.rows)
    composed = compose(rates, facts, sku=options.sku or sku_name(facts.name), like=options.like)
    by_operator = errors(composed.gpu, found.rows, found.planned)
    gpu = with_error(composed.gpu, _worst(by_operator), estimated=options.tiny)
    calibration = Calibration(
        device=facts.name,
        runtime=facts.runtime,
        half_type=facts.half_type,
        measured_at=at_utc,
        seconds=round(found.seconds, 1),
        data_sheet=composed.sheet or "measured",
        raw=None if options.csv is None else options.csv.name,
        operators=by_operator,
        notes=[*composed.notes, *found.notes, *_launches(found), *_tiny(options)],
    )
    if options.csv is not None:
        write_csv(options.csv, gpu, found.rows)
    write_gpu(options.out, gpu, calibration)
    return CalibrateResult(gpu=gpu, calibration=calibration, rates=rates)


def _worst(by_operator: dict[str, OperatorError]) -> float:
    return max(by_operator[name].error_p67 for name in _STEP_OPERATORS if name in by_operator)


def _launches(found: Measured) -> list[str]:
    """What a launch costs; the file has no field for it, host costs go with the backend."""
    return [
        f"one launch {'replayed from a graph' if row.point.graph else 'by the host'}: "
        f"{row.seconds * 1e6:.2f} us"
        for row in found.rows
        if isinstance(row.point, LaunchPoint)
    ]


def _tiny(options: CalibrateOptions) -> list[str]:
    return ["measured with tiny shapes: shows that the command runs, not for use"] * options.tiny
