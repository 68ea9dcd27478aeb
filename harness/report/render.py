"""Puts tables and charts into the page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from contracts.sla import SlaTarget
from harness.report import views
from harness.report.distributions import distribution
from harness.report.numbers import instant, quantity
from harness.report.pareto import pareto_chart
from harness.report.timeline import timeline
from harness.report.waterfall import waterfall
from harness.store import LoadedRun, Outcome, ParetoSet, RungRun, RunStatus, load_run
from harness.store.files import write_text
from harness.store.in_words import NO_DATA, check_row
from profiler.page.render import base_css

_HERE = Path(__file__).parent
TICKS_SHOWN_MAX = 300
TICKS_OPEN_MAX = 20
CANDIDATES_SHOWN_MAX = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class RungSection:
    """One rung of the report; charts and decisions are of its first seed."""

    name: str
    seed: int
    timeline: Markup | None
    waterfall: Markup | None
    ticks: int
    changes: list[views.DecisionRow]
    all_ticks: list[views.DecisionRow]


def render_report(run: LoadedRun) -> str:
    """Return one HTML page that needs nothing else: no network, no other file, no script."""
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["instant"] = instant
    return environment.get_template("report.html.jinja").render(_context(run))


def write_report(folder: Path) -> Path:
    """Render ``report.html`` of a run folder, replace an older one and return its path.

    Raises:
        InputError: not a run folder, or a file in it is damaged.
    """
    path = folder / "report.html"
    write_text(path, render_report(load_run(folder)))
    return path


def _context(run: LoadedRun) -> dict[str, Any]:
    sla = run.setup.plan.sla if run.setup else None
    verdict = run.verdict
    return {
        "css": Markup(base_css()),
        "no_data": NO_DATA,
        "run": run,
        "banner": _banner(run),
        "reasons": verdict.reasons if verdict else (),
        "checks": [check_row(check) for check in verdict.checks] if verdict else [],
        "setup": views.setup_rows(run),
        "rungs": run.rungs(),
        "summary": views.summary_rows(run),
        "sections": [_section(run.of_rung(rung)[0], sla) for rung in run.rungs()],
        "distributions": _distributions(run, sla),
        "differences": views.difference_rows(run),
        "causes": views.cause_rows(run),
        "faults": views.fault_rows(run),
        "pareto": run.pareto,
        "pareto_chart": pareto_chart(run.pareto) if run.pareto else None,
        "candidates": _candidates(run.pareto) if run.pareto else [],
        "candidates_max": CANDIDATES_SHOWN_MAX,
        "manifest": views.manifest_rows(run.manifest, run.runs),
        "ticks_open_max": TICKS_OPEN_MAX,
        "ticks_shown_max": TICKS_SHOWN_MAX,
        "several_seeds": len(run.manifest.seeds) > 1,
    }


def _banner(run: LoadedRun) -> tuple[str, str]:
    """CSS class and headline: the verdict, unless the run did not get that far."""
    status = run.manifest.status
    if run.verdict is None or status in (RunStatus.INCOMPLETE, RunStatus.FAILED):
        return Outcome.INCONCLUSIVE.value, f"No verdict: the run is {status.value}"
    headlines = {
        Outcome.PASS: "Pass: every expectation held",
        Outcome.FAIL: "Fail: an expectation was missed",
        Outcome.INCONCLUSIVE: "Inconclusive: the data does not allow a verdict",
    }
    return run.verdict.outcome.value, headlines[run.verdict.outcome]


def _section(run: RungRun, sla: SlaTarget | None) -> RungSection:
    rows = views.decision_rows(run)
    return RungSection(
        name=run.rung,
        seed=run.seed,
        timeline=timeline(run, sla),
        waterfall=waterfall(run),
        ticks=len(rows),
        changes=[row for row in rows if row.changed][:TICKS_SHOWN_MAX],
        all_ticks=rows[:TICKS_SHOWN_MAX],
    )


def _distributions(run: LoadedRun, sla: SlaTarget | None) -> list[tuple[str, Markup | None]]:
    e2e_only = sla is not None and sla.e2e_ms is not None
    targets = {
        "TTFT": ("ttft_ms", None if sla is None or e2e_only else sla.ttft_ms),
        "ITL": ("itl_ms", None if sla is None or e2e_only else sla.itl_ms),
    }
    if sla is not None and e2e_only:
        targets["E2E"] = ("e2e_ms", sla.e2e_ms)
    charts = []
    for label, (metric, slo_ms) in targets.items():
        values = {
            rung: np.concatenate([getattr(r.record.table, metric) for r in run.of_rung(rung)])
            for rung in run.rungs()
        }
        charts.append((label, distribution(label, values, slo_ms)))
    return charts


def _candidates(pareto: ParetoSet) -> list[dict[str, str]]:
    order = sorted(
        pareto.points,
        key=lambda p: (p.label != pareto.picked, not p.feasible, -(p.tokens_per_s_per_gpu or 0.0)),
    )
    return [
        {
            "label": point.label,
            "picked": "picked" if point.label == pareto.picked else "",
            "mode": point.mode,
            "gpus": str(point.gpus),
            "replicas": ", ".join(f"{k} {v}" for k, v in point.replicas.items())
            if isinstance(point.replicas, dict)
            else str(point.replicas),
            "throughput": quantity(point.tokens_per_s_per_gpu),
            "ttft": quantity(point.ttft_ms, "ms"),
            "itl": quantity(point.itl_ms, "ms"),
            "feasible": "yes" if point.feasible else "no",
            "reason": point.reason,
        }
        for point in order[:CANDIDATES_SHOWN_MAX]
    ]
