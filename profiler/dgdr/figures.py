"""Figures of one row of panels, and their PNG files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from profiler.dgdr.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, GREY, RED = "#2563eb", "#9ca3af", "#dc2626"
_WIDTH_IN, _HEIGHT_IN = 5.2, 3.6
# Room for labels, in inches. A layout engine finds it by drawing everything twice.
_LEFT_IN, _RIGHT_IN, _BOTTOM_IN, _TOP_IN = 0.85, 0.25, 0.6, 0.2


def new_figure(columns: int) -> tuple[Figure, Sequence[Axes]]:
    """A figure and its panels, side by side."""
    # Most who import the profiler draw nothing, and matplotlib is large.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    width = _WIDTH_IN * columns
    panel = _WIDTH_IN - _LEFT_IN - _RIGHT_IN
    figure = Figure(figsize=(width, _HEIGHT_IN), dpi=110)
    FigureCanvasAgg(figure)
    figure.subplots_adjust(
        left=_LEFT_IN / width,
        right=1 - _RIGHT_IN / width,
        bottom=_BOTTOM_IN / _HEIGHT_IN,
        top=1 - _TOP_IN / _HEIGHT_IN,
        wspace=(_LEFT_IN + _RIGHT_IN) / panel,
    )
    return figure, [figure.add_subplot(1, columns, at + 1) for at in range(columns)]


def label_axes(axes: Axes, x: str, y: str) -> None:
    """Name both axes and draw a grid."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return write_bytes(path, buffer.getvalue())
