"""Files of a measured search besides those that a rapid search writes too."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from contracts.curves import DecodeCurves, PrefillCurves
from contracts.plan import Role
from dgdr.deployment.profile_data import profile_files
from profiler.core.request import PickMode
from profiler.dgdr.files import write_text
from profiler.thorough.candidates import Refused
from profiler.thorough.journal import Outcome
from profiler.thorough.pick import Ranked, judged
from profiler.thorough.rows import Option, options, pareto, within
from profiler.thorough.sweep import Swept
from profiler.thorough.wish import Wish

OBJECTIVES = {
    PickMode.DEFAULT: "highest throughput of all GPUs within the SLA",
    PickMode.LOAD_MATCH: "serve the declared load with the fewest GPUs within the SLA",
    PickMode.AUTOSCALE: "engines of each role within the SLA, for a planner that scales them",
}


def write_pareto(
    folder: Path, wish: Wish, swept: Swept, refused: Sequence[Refused], ranked: Sequence[Ranked]
) -> Path:
    """pareto.json: every measured configuration, and every engine without one, with a reason."""
    content = {
        "objective": OBJECTIVES[wish.mode],
        "picked": ranked[0].option.label,
        "measured": True,
        "sla_met": ranked[0].feasible,
        "points": [*_points(wish, swept, ranked), *without_figures(swept, refused)],
    }
    return write_text(folder / "pareto.json", json.dumps(content, indent=2) + "\n")


def write_rows(folder: Path, swept: Swept) -> Path:
    """rows.json: what was measured of each engine, and what became of it."""
    rows: dict[str, Any] = {
        "prefill": [
            {"label": r.label, "gpus": r.gpus, "dp": r.dp, "isl": r.isl, "ttft_ms": r.ttft_ms,
             "tokens_per_s_per_gpu": r.tokens_per_s_per_gpu}
            for r in swept.prefill
        ],
        "decode": [
            {"label": r.label, "gpus": r.gpus, "osl": r.osl, "concurrency": r.concurrency,
             "itl_ms": r.itl_ms, "tokens_per_s_per_gpu": r.tokens_per_s_per_gpu}
            for r in swept.decode
        ],
        "agg": [
            {"label": r.label, "gpus": r.gpus, "osl": r.osl, "concurrency": r.concurrency,
             "ttft_ms": r.ttft_ms, "itl_ms": r.itl_ms,
             "tokens_per_s_per_gpu": r.tokens_per_s_per_gpu}
            for r in swept.agg
        ],
        "engines": [
            {"role": v.role.value, "label": v.label, "gpus": v.gpus,
             "outcome": v.outcome.value if v.outcome else "not measured", "reason": v.reason}
            for v in swept.verdicts
        ],
        "capped": swept.capped,
    }  # fmt: skip
    return write_text(folder / "rows.json", json.dumps(rows, indent=2) + "\n")


def write_raw_data(folder: Path, prefill: PrefillCurves, decode: DecodeCurves) -> list[Path]:
    """The curves as JSON under the keys of the npz files; the KV tokens are one number."""
    files = profile_files((prefill, decode))
    return [write_text(folder / name, text) for name, text in files.items()]


def _points(wish: Wish, swept: Swept, ranked: Sequence[Ranked]) -> Iterator[dict[str, object]]:
    """The best load of each configuration, ranked ones first."""
    shown = judged_options(wish, swept, ranked)
    for each, front in zip(shown, pareto([one.option for one in shown]), strict=True):
        option = each.option
        yield {
            "label": option.label,
            "mode": "agg" if Role.AGG in option.parts else "disagg",
            "tokens_per_s_per_gpu": option.tokens_per_s_per_gpu,
            "ttft_ms": option.ttft_ms,
            "itl_ms": option.itl_ms,
            "gpus": each.gpus,
            "replicas": each.replicas,
            "concurrency": option.concurrency,
            "feasible": each.feasible,
            "reason": reason_of(each, ranked),
            "pareto": front,
        }


def judged_options(wish: Wish, swept: Swept, ranked: Sequence[Ranked]) -> list[Ranked]:
    """Every configuration at one load: the ranked one, else its best."""
    first = {r.option.key: r for r in reversed(ranked)}
    found = options(swept.prefill, swept.decode, swept.agg, wish.total_gpus)
    shown = _one_of_each(wish, found, first)
    return [first.get(option.key) or judged(wish, option) for option in shown]


def _one_of_each(wish: Wish, found: Sequence[Option], first: dict[str, Ranked]) -> list[Option]:
    """For each configuration the load that was ranked, else its best one."""

    def order(option: Option) -> tuple[bool, float]:
        good = within(option, wish.sla)
        return not good, -option.tokens_per_s_per_gpu if good else option.latency_ms

    chosen: dict[str, Option] = {r.option.label: r.option for r in reversed(first.values())}
    for option in sorted(found, key=order):
        chosen.setdefault(option.label, option)
    return list(chosen.values())


def reason_of(shown: Ranked, ranked: Sequence[Ranked]) -> str:
    """Why a configuration stands where it stands."""
    if shown is ranked[0]:
        return f"picked: {shown.reason}"
    return f"ranked lower: {shown.reason}" if shown in ranked else shown.reason


def without_figures(swept: Swept, refused: Sequence[Refused]) -> Iterator[dict[str, object]]:
    """Engines that have no row, with the reason."""
    for verdict in swept.verdicts:
        if verdict.outcome is not Outcome.DONE:
            yield _without(f"{verdict.role.value}-{verdict.label}", verdict.reason, verdict.gpus)
    for shape in refused:
        yield _without(shape.label, shape.reason, 0)


def _without(label: str, reason: str, gpus: int) -> dict[str, object]:
    return {
        "label": label,
        "mode": "agg" if label.startswith("agg") else "disagg",
        "tokens_per_s_per_gpu": None,
        "ttft_ms": None,
        "itl_ms": None,
        "gpus": gpus,
        "replicas": {},
        "feasible": False,
        "reason": reason,
        "pareto": False,
    }
