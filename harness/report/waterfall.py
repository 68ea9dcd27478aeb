"""The slowest requests of one run as bars: waiting and prefill, then decode."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.figure import Figure

from contracts.records import RequestTable
from contracts.units import NS_PER_S
from harness.report.svg import INK, TARGET, draw
from harness.store import RungRun

SHOWN_MAX = 20
_WAIT, _DECODE = "#f59e0b", "#2563eb"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One request; times in seconds since the start of the workload.

    Attributes:
        first_s: first token, ``None`` when there was none.
        end_s: last token, or the end of the run when it did not complete.
    """

    label: str
    arrival_s: float
    first_s: float | None
    end_s: float
    completed: bool


def slowest(run: RungRun, count: int = SHOWN_MAX) -> list[Bar]:
    """Requests that did not complete, then those that took longest, slowest first."""
    table = run.record.table
    last_s = max(run.record.duration_s, float(table.finish_ns.max(initial=0)) / NS_PER_S)
    taken_ms = np.where(table.completed, table.e2e_ms, np.inf)
    order: npt.NDArray[np.int64] = np.argsort(-taken_ms, kind="stable")[:count]
    return [_bar(table, int(index), last_s) for index in order]


def _bar(table: RequestTable, index: int, last_s: float) -> Bar:
    first_ns, finish_ns = int(table.first_token_ns[index]), int(table.finish_ns[index])
    arrival_s = int(table.arrival_ns[index]) / NS_PER_S
    notes = [f"{int(table.isl[index]):,} in, {int(table.osl[index]):,} out"]
    for column, word in ((table.retries, "retried"), (table.preemptions, "preempted")):
        if column[index] > 0:
            notes.append(f"{word} {int(column[index])} x")
    completed = bool(table.completed[index])
    if not completed:
        notes.append(str(table.status[index]))
    return Bar(
        label=f"{index} at {arrival_s:.1f} s: {', '.join(notes)}",
        arrival_s=arrival_s,
        first_s=first_ns / NS_PER_S if first_ns >= 0 else None,
        end_s=finish_ns / NS_PER_S if finish_ns >= 0 else last_s,
        completed=completed,
    )


def waterfall(run: RungRun) -> Markup | None:
    """The chart of one rung with one seed; ``None`` when it had no requests."""
    if len(run.record.table) == 0:
        return None
    bars = slowest(run)
    title = f"Slowest requests on rung {run.rung}: waiting and prefill, then decode"
    return draw(f"waterfall-{run.key}", title, lambda: _paint(bars))


def _paint(bars: list[Bar]) -> Figure:
    figure = Figure(figsize=(11.0, 0.24 * len(bars) + 0.9))
    axes = figure.subplots()
    figure.subplots_adjust(
        left=0.27, right=0.985, top=1 - 0.3 / figure.get_figheight(), bottom=0.12
    )
    for row, bar in enumerate(bars):
        end_s = bar.end_s - bar.arrival_s
        switch_s = end_s if bar.first_s is None else bar.first_s - bar.arrival_s
        axes.barh(row, switch_s, color=_WAIT, height=0.66)
        axes.barh(row, end_s - switch_s, left=switch_s, color=_DECODE, height=0.66)
        if not bar.completed:
            axes.plot([end_s], [row], marker="x", color=TARGET, markersize=7)
        axes.annotate(
            f"{end_s:.2f} s",
            (end_s, row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=INK,
        )
    axes.set_yticks(range(len(bars)), [bar.label for bar in bars])
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlim(0, 1.08 * max(bar.end_s - bar.arrival_s for bar in bars))
    axes.grid(visible=False, axis="y")
    axes.set_title("orange: until the first token, blue: from there to the last")
    axes.set_xlabel("seconds since the arrival of the request")
    return figure
