"""One plot of what several engines do alone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from profiler.dgdr.files import write_bytes

PREFILL_PLOT, DECODE_PLOT = "prefill_performance.png", "decode_performance.png"
PREFILL_AXES = ("TTFT (ms)", "prompt tokens/s per GPU")
DECODE_AXES = ("ITL (ms)", "output tokens/s per GPU")
_TARGET = "#dc2626"


def plot_sweep(
    path: Path,
    lines: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    labels: tuple[str, str],
    target_ms: float,
) -> Path:
    """Lines by engine in one plot, with the target.

    Args:
        path: file to write.
        lines: points ``(ms, tokens/s per GPU)`` by label.
        labels: of the axes.
        target_ms: shown as a vertical line.
    """
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
