"""Plots of the sweeps."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from profiler.dgdr.files import write_bytes
from profiler.thorough.rows import DecodeRow, PrefillRow

_TARGET = "#dc2626"


def plot_prefill_rows(path: Path, rows: Sequence[PrefillRow], target_ms: float) -> Path:
    """TTFT against prompt tokens/s for each GPU, one point for each engine."""
    points = [(r.label, [(r.ttft_ms, r.tokens_per_s_per_gpu)]) for r in rows]
    return _plot(path, points, ("TTFT (ms)", "prompt tokens/s per GPU"), target_ms)


def plot_decode_rows(path: Path, rows: Sequence[DecodeRow], target_ms: float) -> Path:
    """ITL against output tokens/s for each GPU, one line for each engine."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        lines.setdefault(row.label, []).append((row.itl_ms, row.tokens_per_s_per_gpu))
    return _plot(path, list(lines.items()), ("ITL (ms)", "output tokens/s per GPU"), target_ms)


def _plot(
    path: Path,
    lines: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    labels: tuple[str, str],
    target_ms: float,
) -> Path:
    figure = Figure(figsize=(5.6, 3.8), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, points in lines:
        axes.plot(
            [x for x, _ in points], [y for _, y in points], marker="o", markersize=4, label=name
        )
    axes.axvline(target_ms, color=_TARGET, linestyle="--", linewidth=1, label="target")
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return write_bytes(path, buffer.getvalue())
