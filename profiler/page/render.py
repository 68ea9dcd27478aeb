"""``report.html``: one file with tables, sliders and a chart; no network, no other file."""

from __future__ import annotations

import base64
import difflib
import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pydantic import TypeAdapter

from contracts.hardware import Evidence
from profiler.dgdr.files import write_text
from profiler.page.selection import Percentiles, Selection, SelectionCandidate

REPORT_FILE = "report.html"
_HERE = Path(__file__).parent
_SELECTION = TypeAdapter(Selection)
_IMAGES = {
    "Engines alone: TTFT and prefill throughput": "prefill_performance.png",
    "Engines alone: ITL and decode throughput": "decode_performance.png",
    "TTFT of a lone prompt": "selected_prefill_interpolation/prefill_ttft_interpolation.png",
    "Prefill throughput": "selected_prefill_interpolation/prefill_throughput_interpolation.png",
    "ITL by KV usage and context": "selected_decode_interpolation/decode_itl_interpolation.png",
    "Decode throughput": "selected_decode_interpolation/decode_throughput_interpolation.png",
}
_EVIDENCE = {
    Evidence.MEASURED: "measured on running engines",
    Evidence.CALIBRATED: "calibrated with measured serving benchmarks",
    Evidence.ESTIMATED: "estimated from data sheets: no measured point stands behind them",
}


def write_page(folder: Path, selection: Selection) -> Path:
    """Render ``report.html`` of a profile and return its path."""
    return write_text(folder / REPORT_FILE, render_page(selection, folder))


def render_page(selection: Selection, folder: Path, *, live: dict[str, str] | None = None) -> str:
    """The page as text.

    Args:
        selection: what to show.
        folder: the profile's folder; its plots are put into the page.
        live: ``cluster`` and ``token`` when a server stands behind the page that can apply.
    """
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja").render(
        {
            "selection": selection,
            "subtitle": _subtitle(selection),
            "banner": _banner(selection),
            "objective": selection.objective[:1].upper() + selection.objective[1:],
            "verb": "measured" if selection.measured else "simulated",
            "spread": "mean" if selection.measured else "p50 / p99",
            "evidence": _evidence(selection),
            "rows": _rows(selection),
            "ruled_out": selection.ruled_out,
            "images": _images(folder),
            "data": _data(selection, live),
            "base_css": _asset("base.css"),
            "page_css": _asset("page.css"),
            "script": _asset("page.js"),
        }
    )


def base_css() -> str:
    """Colours, type, tables and banners that all reports of the project share."""
    return str(_asset("base.css"))


def _asset(name: str) -> Markup:
    return Markup((_HERE / name).read_text(encoding="utf-8"))


def _subtitle(selection: Selection) -> str:
    load = selection.load or "as much as fits"
    return (
        f"{selection.model} on at most {selection.gpu_budget} {selection.gpu}, "
        f"ISL {selection.isl}, OSL {selection.osl}, {load}; {_targets(selection)}"
    )


def _targets(selection: Selection) -> str:
    sla = selection.sla
    if sla.e2e_ms is not None:
        return f"E2E at most {sla.e2e_ms:g} ms"
    return f"TTFT at most {sla.ttft_ms:g} ms, ITL at most {sla.itl_ms:g} ms"


def _banner(selection: Selection) -> tuple[str, str, str]:
    """CSS class, headline and a line below it."""
    label = selection.candidate(selection.picked).label
    if selection.met:
        return "pass", f"Picked: {label}", selection.shortfall
    return "fail", f"SLA not met. Closest: {label}", selection.shortfall


def _evidence(selection: Selection) -> str:
    kinds = {entry.evidence: entry.error_ratio for entry in selection.candidates}
    parts = [
        f"{_EVIDENCE[kind]} (off by ±{ratio:.0%} for two thirds of steps)"
        for kind, ratio in sorted(kinds.items())
    ]
    return f"Step times are {' or '.join(parts)}." if parts else ""


def _rows(selection: Selection) -> list[dict[str, Any]]:
    def order(entry: SelectionCandidate) -> tuple[bool, bool, float]:
        return entry.id != selection.picked, not entry.pareto, -entry.tokens_per_s_per_gpu

    return [
        {
            "label": entry.label,
            "picked": entry.id == selection.picked,
            "replicas": ", ".join(f"{role.replicas} {role.role}" for role in entry.roles),
            "gpus": entry.gpus,
            "throughput": f"{entry.tokens_per_s_per_gpu:,.0f}",
            "ttft": _span(entry.ttft_ms, measured=selection.measured),
            "itl": _span(entry.itl_ms, measured=selection.measured),
            "attainment": "unknown"
            if entry.attainment_ratio is None
            else f"{entry.attainment_ratio:.1%}",
            "reason": entry.reason,
        }
        for entry in sorted(selection.candidates, key=order)
    ]


def _span(values: Percentiles, *, measured: bool) -> str:
    if measured:
        return f"{_ms(values.p50)} ms"
    return f"{_ms(values.p50)} / {_ms(values.p99)} ms"


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _images(folder: Path) -> list[tuple[str, str]]:
    found = []
    for title, name in _IMAGES.items():
        path = folder / name
        if path.is_file():
            text = base64.b64encode(path.read_bytes()).decode()
            found.append((title, f"data:image/png;base64,{text}"))
    return found


def _data(selection: Selection, live: dict[str, str] | None) -> Markup:
    """JSON for the script; ``<`` is escaped so that no text can end the element."""
    content = _SELECTION.dump_python(selection, mode="json")
    pick = selection.candidate(selection.picked)
    for entry, candidate in zip(content["candidates"], selection.candidates, strict=True):
        entry["diff"] = _difference(pick, candidate)
    content["has_load"] = selection.load is not None
    content["live"] = live
    return Markup(json.dumps(content).replace("<", "\\u003c"))


def _difference(pick: SelectionCandidate, candidate: SelectionCandidate) -> str:
    lines = difflib.unified_diff(
        pick.dgd_yaml.splitlines(), candidate.dgd_yaml.splitlines(), pick.id, candidate.id,
        n=2, lineterm="",
    )  # fmt: skip
    return "\n".join(lines)
