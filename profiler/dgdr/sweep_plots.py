"""One plot of what several engines do alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from profiler.dgdr.figures import RED, label_axes, new_figure, save_figure

PREFILL_PLOT, DECODE_PLOT = "prefill_performance.png", "decode_performance.png"
PREFILL_AXES = ("TTFT (ms)", "prompt tokens/s per GPU")
DECODE_AXES = ("ITL (ms)", "output tokens/s per GPU")


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
    figure, (axes,) = new_figure(1)
    for name, points in lines:
        axes.plot(
            [x for x, _ in points], [y for _, y in points], marker="o", markersize=4, label=name
        )
    axes.axvline(target_ms, color=RED, linestyle="--", linewidth=1, label="target")
    label_axes(axes, *labels)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=7)
    return save_figure(figure, path)
