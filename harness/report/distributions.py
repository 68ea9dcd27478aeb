"""Cumulative distributions of latency, all rungs in one chart."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from harness.report.numbers import setting
from harness.report.svg import draw, rung_colour, rung_style, target_line

FloatArray = npt.NDArray[np.float64]
POINTS_MAX = 400


def distribution(
    metric: str, values_by_rung: Mapping[str, FloatArray], slo_ms: float | None
) -> Markup | None:
    """CDF of one metric in milliseconds; ``None`` when no rung has a value.

    Args:
        metric: ``TTFT``, ``ITL`` or ``E2E``.
        values_by_rung: NaN where a request has no value.
        slo_ms: target to mark, if there is one.
    """
    known = {rung: values[~np.isnan(values)] for rung, values in values_by_rung.items()}
    known = {rung: np.sort(values) for rung, values in known.items() if len(values)}
    if not known:
        return None
    title = f"Cumulative distribution of {metric} on {', '.join(known)}"
    return draw(f"cdf-{metric}", title, lambda: _paint(metric, known, slo_ms))


def _paint(metric: str, known: Mapping[str, FloatArray], slo_ms: float | None) -> Figure:
    figure = Figure(figsize=(5.6, 3.1))
    axes = figure.subplots()
    figure.subplots_adjust(left=0.14, right=0.97, top=0.9, bottom=0.16)
    for rung, values in known.items():
        at, below = thin(values)
        axes.step(
            at,
            below,
            where="post",
            color=rung_colour(rung),
            linestyle=rung_style(rung),
            label=f"{rung} ({len(values):,})",
        )
    right = max(float(values[-1]) for values in known.values())
    if slo_ms is not None:
        right = max(right, slo_ms * 1.1)
        target_line(axes, slo_ms, f"SLO {setting(slo_ms, 'ms')}", vertical=True)
    axes.set_xlim(0, right * 1.03)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_yticks([0, 0.25, 0.5, 0.75, 0.95])
    axes.xaxis.set_major_locator(MaxNLocator(7))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.set_xlabel(f"{metric} in ms")
    axes.set_ylabel("share of requests at or below")
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, borderaxespad=0.1)
    return figure


def thin(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Points of the empirical distribution of sorted values, at most ``POINTS_MAX``.

    Returns:
        Values and the share at or below each; the curve starts at a share of zero.
    """
    count = len(values)
    ranks = np.unique(np.linspace(1, count, min(count, POINTS_MAX)).round().astype(np.int64))
    at = np.concatenate(([values[0]], values[ranks - 1]))
    return at, np.concatenate(([0.0], ranks / count))
