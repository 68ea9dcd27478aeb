"""Writes the facts of a calibrated GPU and the raw measurements."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from contracts.hardware import GpuSpec
from profiler.calibrate.formulas import Prices, has_price
from profiler.calibrate.points import GemmPoint, Measurement, operator_of, shape_of
from profiler.dgdr.files import write_text
from profiler.dgdr.gpu_file import Calibration, dump_gpu, load_gpu

_SHAPE = ("dtype", "m", "k", "n", "heads", "head_dim", "new", "past", "requests", "context",
          "size_bytes", "gpus", "graph")  # fmt: skip
COLUMNS = ("operator", *_SHAPE, "measured_us", "predicted_us")
_COMMENT = """GPU facts measured by: python -m profiler calibrate
Use it: python -m profiler --gpu-file THIS_FILE, or deploy.gpu_file in a scenario.
Kernels were measured, whole engines were not: error_ratio covers a whole step,
calibration.operators how well the formulas fit the kernels (docs/calibrate.md)."""


def write_gpu(path: Path, gpu: GpuSpec, calibration: Calibration) -> Path:
    """The GPU file; read back before it is stored, so that it is one that loads."""
    text = dump_gpu(gpu, calibration, comment=_COMMENT)
    load_gpu(text, source=str(path))
    return write_text(path, text)


def write_csv(path: Path, gpu: GpuSpec, rows: Sequence[Measurement]) -> Path:
    """One row for each measured point; columns that a point has not are empty."""
    prices = Prices(gpu)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        line = {"operator": operator_of(row.point), **shape_of(row.point)}
        line["measured_us"] = f"{row.seconds * 1e6:.4f}"
        if _priced(gpu, row):
            line["predicted_us"] = f"{prices.seconds(row.point) * 1e6:.4f}"
        writer.writerow(line)
    return write_text(path, buffer.getvalue())


def _priced(gpu: GpuSpec, row: Measurement) -> bool:
    eight = isinstance(row.point, GemmPoint) and row.point.dtype == "fp8"
    return has_price(row.point) and not (eight and gpu.fp8_tflops is None)
