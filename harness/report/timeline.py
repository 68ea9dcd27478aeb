"""The timeline of one run: load, replicas and latencies above one time axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from contracts.plan import Role
from contracts.records import FaultRecord
from contracts.sla import SlaTarget
from harness.report.numbers import setting
from harness.report.svg import INK, MUTED, TARGET, draw, target_line
from harness.report.windows import Replicas, Windows, cut, horizon_s, replicas
from harness.store import RungRun

_ROLE_COLOURS = {Role.AGG: "#059669", Role.PREFILL: "#7c3aed", Role.DECODE: "#0891b2"}
_WIDTH_IN = 11.0
_LOG_FROM_RATIO = 25.0


def timeline(run: RungRun, sla: SlaTarget | None) -> Markup | None:
    """The chart of one rung with one seed; ``None`` when it had no requests."""
    if len(run.record.table) == 0:
        return None
    end_s = horizon_s(run.record)
    windows = cut(run.record.table, end_s)
    pools = replicas(run.record.worker_events, end_s)
    title = f"Load, replicas, TTFT and ITL over time on rung {run.rung}"
    return draw(
        f"timeline-{run.key}",
        title,
        lambda: _paint(windows, pools, run.record.faults, sla, end_s),
    )


def _paint(
    windows: Windows,
    pools: Sequence[Replicas],
    faults: Sequence[FaultRecord],
    sla: SlaTarget | None,
    end_s: float,
) -> Figure:
    heights = [1.5, *(0.75 for _ in pools), 1.7, 1.7]
    figure = Figure(figsize=(_WIDTH_IN, sum(heights) + 0.35 * len(heights) + 0.4))
    panels: list[Axes] = list(
        figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    )
    figure.subplots_adjust(left=0.065, right=0.985, top=0.955, bottom=0.06, hspace=0.42)
    _paint_load(panels[0], windows)
    for axes, pool in zip(panels[1:-2], pools, strict=True):
        _paint_pool(axes, pool)
    e2e_only = sla is None or sla.e2e_ms is not None
    ttft_slo = None if sla is None or e2e_only else sla.ttft_ms
    itl_slo = None if sla is None or e2e_only else sla.itl_ms
    _paint_latency(panels[-2], windows, windows.ttft_ms, "TTFT", ttft_slo)
    _paint_latency(panels[-1], windows, windows.itl_ms, "ITL", itl_slo)
    _mark_faults(panels, faults)
    panels[-1].set_xlim(0, end_s)
    panels[-1].set_xlabel("seconds since the start of the workload")
    return figure


def _paint_load(axes: Axes, windows: Windows) -> None:
    edges = np.append(windows.start_s, windows.start_s[-1] + windows.width_s)
    axes.stairs(windows.offered_per_s, edges, fill=True, color="#cbd5e1", label="offered")
    axes.stairs(windows.completed_per_s, edges, color="#2563eb", linewidth=1.4, label="completed")
    axes.set_ylim(0, None)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.set_title(f"Requests per second, windows of {windows.width_s:g} s")
    _legend(axes, 2)


def _paint_pool(axes: Axes, pool: Replicas) -> None:
    colour = _ROLE_COLOURS[pool.role]
    total = pool.ready + pool.starting
    axes.fill_between(pool.at_s, pool.ready, step="post", color=colour, alpha=0.55, linewidth=0)
    axes.fill_between(
        pool.at_s, pool.ready, total, step="post", color=colour, alpha=0.16, linewidth=0
    )
    axes.step(pool.at_s, pool.ready, where="post", color=colour, linewidth=1.3, label="ready")
    axes.step(
        pool.at_s,
        np.where(pool.starting > 0, total, np.nan),
        where="post",
        color=colour,
        linewidth=1.1,
        linestyle=":",
        label="with starting",
    )
    axes.set_ylim(0, max(float(total.max()), 1.0) * 1.25)
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.set_title(f"Replicas, {pool.role.value}")
    _legend(axes, 2)


def _paint_latency(
    axes: Axes,
    windows: Windows,
    series: dict[str, npt.NDArray[np.float64]],
    name: str,
    slo_ms: float | None,
) -> None:
    axes.set_title(f"{name} in ms, of the requests that arrived in each window")
    known = np.concatenate([values[~np.isnan(values)] for values in series.values()])
    if len(known) == 0:
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", color=MUTED)
        axes.set_yticks([])
        return
    for label, colour, style in (("p95", "#d97706", "-"), ("p50", "#2563eb", "-")):
        axes.plot(
            windows.middle_s,
            series[label],
            style,
            marker=".",
            markersize=4,
            color=colour,
            label=label,
        )
    top = max(float(known.max()), slo_ms or 0.0)
    usual = min(float(np.median(known)), slo_ms or np.inf)
    if known.min() > 0 and top / usual > _LOG_FROM_RATIO:
        axes.set_yscale("log")
        axes.set_title(f"{axes.get_title(loc='left')}, logarithmic")
    else:
        axes.set_ylim(0, top * 1.15)
        axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    if slo_ms is not None:
        target_line(axes, slo_ms, f"SLO {setting(slo_ms, 'ms')}")
    _legend(axes, 2)


def _mark_faults(panels: Sequence[Axes], faults: Sequence[FaultRecord]) -> None:
    for number, fault in enumerate(faults, start=1):
        for axes in panels:
            axes.axvline(fault.at_s, color=TARGET, linewidth=1.0)
            if fault.recovered_at_s is not None:
                axes.axvspan(
                    fault.at_s, fault.recovered_at_s, color=TARGET, alpha=0.08, linewidth=0
                )
        panels[0].annotate(
            _fault_label(number, fault),
            (fault.at_s, 0.97 - 0.16 * ((number - 1) % 4)),
            xycoords=("data", "axes fraction"),
            xytext=(4, 0),
            textcoords="offset points",
            va="top",
            fontsize=8,
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )


def _fault_label(number: int, fault: FaultRecord) -> str:
    what = f"F{number} {fault.kind.replace('_', ' ')}: {fault.target}"
    if fault.recovered_at_s is None:
        return f"{what}, not recovered"
    return f"{what}, over after {fault.recovered_at_s - fault.at_s:.1f} s"


def _legend(axes: Axes, columns: int) -> None:
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=columns,
        borderaxespad=0.1,
        handlelength=1.6,
        columnspacing=1.2,
    )
