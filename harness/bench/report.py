"""Files of a benchmark: Parquet, tables in Markdown, targets in JSON, a plot."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from harness.bench.analysis import (
    TargetResult,
    against_oracle,
    attainment_target,
    cheapest,
    curves,
    paired,
    targets,
    upstream_reductions,
    with_regret,
)
from harness.bench.lineup import ENTRANTS

_COLUMNS = {
    "attainment": "attainment",
    "gpu_hours": "GPU-hours",
    "goodput_per_gpu_hour": "good requests per GPU-hour",
    "regret_gpu_hours": "regret (GPU-hours)",
    "scaling_events": "scaling events",
    "direction_changes_per_h": "direction changes/h",
    "violation_minutes": "violation minutes",
    "recover_s": "longest violation (s)",
}
_MARKERS = "osD^v<>Pd"
# Misses below this are drawn there, so that the axis ends.
_MISS_MIN = 1e-4


def write_results(folder: Path, frame: pd.DataFrame) -> list[TargetResult]:
    """Write all files of a benchmark into a folder and return the targets.

    The plot is of runs without a fault and is left out when there are none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(folder / "cells.parquet", index=False)
    found = targets(frame)
    text = json.dumps([asdict(each) for each in found], indent=2)
    (folder / "targets.json").write_text(text + "\n", encoding="utf-8")
    (folder / "summary.md").write_text(summary(frame, found), encoding="utf-8")
    if (frame["fault"] == "none").any():
        plot(frame, folder / "pareto.png")
    return found


def summary(frame: pd.DataFrame, found: Sequence[TargetResult]) -> str:
    """Targets, then one table for each place."""
    points = curves(frame)
    parts = ["# Planner benchmark\n", target_table(found)]
    calm = points[points["fault"] == "none"]
    ours = calm[(calm["entrant"] == "sla") & calm["default"]]
    if len(ours):
        parts += ["\n## Ours beside the oracle\n", _markdown(against_oracle(calm, ours))]
        parts += ["\n## Ours beside upstream\n", _markdown(upstream_reductions(calm, ours))]
    for column, title in (("attainment", "Attainment"), ("gpu_hours", "GPU-hours")):
        table = paired(frame, column)
        if len(table):
            parts += [f"\n## {title}: ours minus the others, paired\n", _markdown(table)]
    rated = with_regret(points)
    for (workload, fault, startup_s), group in points.groupby(["workload", "fault", "startup_s"]):
        here = rated[
            (rated["workload"] == workload)
            & (rated["fault"] == fault)
            & (rated["startup_s"] == startup_s)
            & ~rated["entrant"].isin(["static", "oracle"])
        ]
        parts.append(f"\n## {workload}, start-up {startup_s:g} s, fault {fault}\n")
        if fault == "none":
            parts.append(_best_line(group, str(workload)))
        parts.append(_markdown(here[["entrant", *_COLUMNS]].rename(columns=_COLUMNS)))
    return "\n".join(parts) + "\n"


def target_table(found: Sequence[TargetResult]) -> str:
    """The targets as a Markdown table."""
    lines = ["| target | bound | measured | met |", "|---|---|---|---|"]
    words = {True: "yes", False: "**no**", None: "no data"}
    lines += [f"| {t.name} | {t.bound} | {t.measured} | {words[t.met]} |" for t in found]
    return "\n".join(lines)


def plot(frame: pd.DataFrame, path: Path) -> None:
    """One panel for each workload and start-up time: misses over GPU-hours."""
    points = curves(frame)
    points = points[points["fault"] == "none"]
    workloads, startups = sorted(set(points["workload"])), sorted(set(points["startup_s"]))
    with mpl.rc_context({"font.size": 8}):
        figure = Figure(figsize=(3.2 * len(startups) + 1.5, 2.6 * len(workloads)))
        axes = figure.subplots(len(workloads), len(startups), squeeze=False)
        for row, workload in enumerate(workloads):
            for column, startup_s in enumerate(startups):
                axis = axes[row][column]
                here = points[(points["workload"] == workload) & (points["startup_s"] == startup_s)]
                for marker, name in zip(_MARKERS, ENTRANTS, strict=False):
                    line = here[here["entrant"] == name].sort_values("gpu_hours")
                    misses = (1.0 - line["attainment"]).clip(lower=_MISS_MIN)
                    axis.plot(line["gpu_hours"], misses, marker=marker, ms=3.5, lw=1, label=name)
                axis.axhline(1.0 - attainment_target(workload), color="grey", lw=0.6, ls=":")
                axis.set_yscale("log")
                axis.set_title(f"{workload}, start-up {startup_s:g} s")
        axes[-1][0].set_xlabel("GPU-hours")
        axes[0][0].set_ylabel("share of requests that miss")
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center")
        figure.set_layout_engine("constrained")
        figure.savefig(path, dpi=110)


def _best_line(group: pd.DataFrame, workload: str) -> str:
    wanted = attainment_target(workload)
    parts = []
    for name in ("static", "oracle"):
        found = cheapest(group[group["entrant"] == name], wanted)
        parts.append(f"{name} {'none' if found is None else f'{found:.2f} GPU-hours'}")
    return f"Cheapest at {wanted:.0%}: {', '.join(parts)}.\n"


def _markdown(table: pd.DataFrame) -> str:
    lines = ["| " + " | ".join(map(str, table.columns)) + " |"]
    lines.append("|" + "---|" * len(table.columns))
    rows = table.itertuples(index=False)
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "-"
    return f"{value:.4f}" if abs(value) < 1.0 else f"{value:.2f}"
