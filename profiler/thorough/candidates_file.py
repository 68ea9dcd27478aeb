"""candidates.json of a measured search, in the form of the rapid one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from contracts.hardware import Evidence
from contracts.plan import DeploymentPlan, DisaggPlan, EngineSpec
from profiler.dgdr.candidates_file import CANDIDATES_FILE, VERSION
from profiler.dgdr.files import write_text
from profiler.thorough.candidates import Refused
from profiler.thorough.outputs import OBJECTIVES, judged_options, reason_of, without_figures
from profiler.thorough.pick import Ranked
from profiler.thorough.rows import pareto
from profiler.thorough.sweep import Swept
from profiler.thorough.wish import Wish

_ENGINE = TypeAdapter(EngineSpec)


def write_candidates(
    folder: Path,
    wish: Wish,
    swept: Swept,
    found: tuple[Sequence[Refused], Sequence[Ranked]],
    plan_of: Callable[[Ranked], DeploymentPlan],
) -> Path:
    """candidates.json in the form of the rapid search; latencies are means of what was measured.

    Args:
        folder: of the search.
        wish: what was searched for.
        swept: what was measured.
        found: engines that were refused, and configurations by rank.
        plan_of: the deployment of a configuration.
    """
    refused, ranked = found
    engines: dict[str, Any] = {}
    shown = judged_options(wish, swept, ranked)
    fronts = pareto([each.option for each in shown])
    rows = [
        _row(wish, each, plan_of(each), engines)
        | {"pareto": front, "reason": reason_of(each, ranked)}
        for each, front in zip(shown, fronts, strict=True)
    ]
    others = [{**row, "stage": "rejected"} for row in without_figures(swept, refused)]
    content = {
        "version": VERSION,
        "objective": OBJECTIVES[wish.mode],
        "picked": ranked[0].option.label,
        "sla_met": ranked[0].feasible,
        "binding_constraint": None if ranked[0].feasible else ranked[0].reason,
        "request": {
            "model": wish.model.model_id, "gpu": wish.gpu.sku, "isl": wish.isl, "osl": wish.osl,
            "load": _load(wish), "mode": wish.mode.value, "backends": [wish.backend.value],
        },
        "gpu_budget": wish.total_gpus,
        "sla": asdict(wish.sla),
        "price_per_gpu_hour": None, "startup_s": plan_of(ranked[0]).startup_s,
        "candidates": [*rows, *others],
        "engines": engines,
    }  # fmt: skip
    return write_text(folder / CANDIDATES_FILE, json.dumps(content, allow_nan=False) + "\n")


def _row(
    wish: Wish, shown: Ranked, plan: DeploymentPlan, engines: dict[str, Any]
) -> dict[str, Any]:
    option = shown.option
    keys = {}
    for pool in plan.topology.pools:
        key = f"{pool.role.value}-{option.parts[pool.role.value]}"
        engines[key] = _ENGINE.dump_python(pool.engine, mode="json")
        keys[pool.role.value] = key
    e2e_ms = option.ttft_ms + option.itl_ms * max(wish.osl - 1, 0)
    latencies = {"ttft": option.ttft_ms, "itl": option.itl_ms, "e2e": e2e_ms}
    link = plan.topology.link if isinstance(plan.topology, DisaggPlan) else None
    return {
        "label": option.label, "backend": wish.backend.value, "mode": plan.topology.kind,
        "shapes": dict(option.parts),
        "gpus": shown.gpus, "stage": "measured",
        "replicas": {role: max(1, count) for role, count in shown.replicas.items()},
        "latencies_ms": {
            name: dict.fromkeys(("p50", "p90", "p99"), value) for name, value in latencies.items()
        },
        "attainment_ratio": None, "tokens_per_s_per_gpu": option.tokens_per_s_per_gpu,
        "cost_per_million_tokens": None, "error_ratio": 0.0,
        "evidence": Evidence.MEASURED.value, "feasible": shown.feasible,
        "engines": keys,
        "link": None if link is None else asdict(link),
    }  # fmt: skip


def _load(wish: Wish) -> dict[str, Any] | None:
    if wish.rate_per_s is not None:
        return {"kind": "rate", "requests_per_s": wish.rate_per_s}
    if wish.concurrency is not None:
        return {"kind": "concurrency", "requests": wish.concurrency}
    return None
