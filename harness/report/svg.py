"""From a matplotlib figure to SVG that can stand inside an HTML page, always the same bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK = "#1f2937"
MUTED = "#6b7280"
GRID = "#e5e7eb"
TARGET = "#b91c1c"
_RUNG_COLOURS = {"sim": "#2563eb", "vmock": "#7c3aed", "mock": "#d97706", "kube": "#059669"}
_RUNG_STYLES = {"sim": "-", "vmock": "-.", "mock": "--", "kube": ":"}
# A plain dict: matplotlib types the keys as one long literal.
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#9ca3af",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.5,
    "path.simplify": True,
}


def rung_colour(rung: str) -> str:
    """The colour of a rung, the same in every chart."""
    return _RUNG_COLOURS.get(rung, MUTED)


def rung_style(rung: str) -> str:
    """The line style of a rung, so that curves on top of each other stay visible."""
    return _RUNG_STYLES.get(rung, "-")


def draw(name: str, title: str, paint: Callable[[], Figure]) -> Markup:
    """Run ``paint`` under the report's style and return its figure as inline SVG.

    Args:
        name: unique within a report; keeps the ids of two charts apart.
        title: what a screen reader says.
        paint: builds the figure without pyplot.
    """
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = paint()
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(buffer, metadata=nothing)
    return Markup(_inline(buffer.getvalue(), title))


def target_line(axes: Axes, value: float, label: str, *, vertical: bool = False) -> None:
    """A dashed line at an SLO with its label inside the axes."""
    if vertical:
        axes.axvline(value, color=TARGET, linestyle=(0, (4, 3)), linewidth=1.1)
        axes.annotate(
            label,
            (value, 0.03),
            xycoords=("data", "axes fraction"),
            xytext=(4, 0),
            textcoords="offset points",
            color=TARGET,
            fontsize=8,
        )
        return
    axes.axhline(value, color=TARGET, linestyle=(0, (4, 3)), linewidth=1.1)
    axes.annotate(
        label,
        (1.0, value),
        xycoords=("axes fraction", "data"),
        xytext=(-2, 2),
        textcoords="offset points",
        ha="right",
        color=TARGET,
        fontsize=8,
    )


def _inline(text: str, title: str) -> str:
    svg = text[text.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    # Namespaces are implied inside HTML; without them the page holds no address at all.
    svg = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'<svg([^>]*?) (?:width|height)="[^"]*"', r"<svg\1", svg)
    svg = re.sub(r'<svg([^>]*?) (?:width|height)="[^"]*"', r"<svg\1", svg)
    svg = svg.replace("xlink:href=", "href=")
    used = set(re.findall(r'(?:url\(#|href="#)([\w.-]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda m: m[0] if m[1] in used else "", svg)
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", svg)
    svg = re.sub(r"(\d\.\d\d)\d+", r"\1", svg)
    svg = re.sub(r"\s*\n\s*", "\n", svg)
    label = str(Markup.escape(title))
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
