"""The profiler's candidates: throughput of a GPU against speed for a user."""

from __future__ import annotations

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.svg import INK, MUTED, TARGET, draw
from harness.store import ParetoPoint, ParetoSet

_LABELS_MAX = 8
# Heights of labels above their points, in points of type, taken in turn.
_LEVELS = (6, 20, -16, 34)
_FRONT = "#2563eb"
_PICKED = "#059669"


def pareto_chart(pareto: ParetoSet) -> Markup | None:
    """The chart, ``None`` when no candidate has figures to plot."""
    points = [point for point in pareto.points if _place(point) is not None]
    if not points:
        return None
    title = f"Candidates of the profiler, picked: {pareto.picked}"
    return draw("pareto", title, lambda: _paint(points, pareto.picked))


def _place(point: ParetoPoint) -> tuple[float, float] | None:
    if not point.itl_ms or point.tokens_per_s_per_gpu is None:
        return None
    return 1000.0 / point.itl_ms, point.tokens_per_s_per_gpu


def _paint(points: list[ParetoPoint], picked: str) -> Figure:
    figure = Figure(figsize=(11, 3.6))
    axes = figure.subplots()
    figure.subplots_adjust(left=0.065, right=0.985, top=0.92, bottom=0.14)
    groups = {
        "Pareto front": ([p for p in points if p.feasible and p.pareto], "o", _FRONT),
        "meets the SLA": ([p for p in points if p.feasible and not p.pareto], "o", "#94a3b8"),
        "does not": ([p for p in points if not p.feasible], "x", TARGET),
    }
    for label, (members, marker, colour) in groups.items():
        places = [place for p in members if (place := _place(p))]
        if places:
            xs, ys = zip(*places, strict=True)
            axes.scatter(xs, ys, marker=marker, s=26, c=colour, label=label)
    _mark_picked(axes, points, picked)
    labelled = [p for p in points if p.pareto or p.label == picked][:_LABELS_MAX]
    labelled.sort(key=lambda p: _place(p) or (0.0, 0.0))
    for turn, point in enumerate(labelled):
        text, colour = (point.label, MUTED)
        if point.label == picked:
            text, colour = f"picked: {point.label}", INK
        _write(axes, point, text, (colour, _LEVELS[turn % len(_LEVELS)]))
    axes.margins(x=0.12)
    axes.set_ylim(0, 1.35 * max(place[1] for p in points if (place := _place(p))))
    axes.set_xlabel("output tokens per second for one user (1 / ITL)")
    axes.set_title("output tokens per second and GPU")
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, borderaxespad=0.1)
    return figure


def _mark_picked(axes: Axes, points: list[ParetoPoint], picked: str) -> None:
    for point in points:
        if point.label == picked and (place := _place(point)):
            axes.scatter(
                [place[0]],
                [place[1]],
                marker="o",
                s=120,
                facecolors="none",
                edgecolors=_PICKED,
                linewidths=2,
                label="picked",
            )


def _write(axes: Axes, point: ParetoPoint, text: str, style: tuple[str, int]) -> None:
    """Write a label at a height of its own, so that neighbours do not overlap."""
    place = _place(point)
    colour, level = style
    if place is not None:
        # Text of points in the right half goes to the left, so that it stays inside.
        low, high = axes.dataLim.intervalx
        right = place[0] > (low + high) / 2
        axes.annotate(
            text,
            place,
            xytext=(-8 if right else 8, level),
            textcoords="offset points",
            ha="right" if right else "left",
            fontsize=8,
            color=colour,
        )
