"""Plots of a profile, drawn from its files: at once, or when somebody wants to see them."""

from __future__ import annotations

import json
from pathlib import Path

from contracts.sla import SlaTarget
from profiler.dgdr.outputs import written_curves
from profiler.dgdr.plots import Candidates, plot_cost, plot_decode, plot_pareto, plot_prefill

PARETO_PLOT = "pareto.png"
_PARETO_FILE, _PLAN_FILE = "pareto.json", "plan.json"


def draw_plots(folder: Path) -> list[Path]:
    """Draw candidates and curves of a profile; returns the files.

    Args:
        folder: with pareto.json, plan.json and the curves that the search has written.
    """
    paths = []
    shown = _candidates(folder)
    if shown is not None:
        paths.append(plot_pareto(folder / PARETO_PLOT, shown))
        if shown.picked["cost_per_million_tokens"] is not None:
            paths.append(plot_cost(folder / "cost.png", shown))
    curves = written_curves(folder)
    if curves is not None:
        paths += plot_prefill(folder / "selected_prefill_interpolation", curves[0])
        paths += plot_decode(folder / "selected_decode_interpolation", curves[1])
    return paths


def draw_missing(folder: Path) -> None:
    """Draw the plots of a profile that was made without them."""
    if not (folder / PARETO_PLOT).exists():
        draw_plots(folder)


def _candidates(folder: Path) -> Candidates | None:
    files = [folder / name for name in (_PARETO_FILE, _PLAN_FILE)]
    if not all(path.exists() for path in files):
        return None
    found, plan = (json.loads(path.read_text(encoding="utf-8")) for path in files)
    rows = [row for row in found["points"] if row["stage"] == "simulated"]
    picked = next(row for row in rows if row["label"] == found["picked"])
    return Candidates(rows=rows, picked=picked, sla=SlaTarget(**plan["sla"]))
