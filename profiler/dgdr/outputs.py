"""Writes what the profiler found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from contracts.curves import DecodeCurves, PrefillCurves
from contracts.plan import DeploymentPlan
from dgdr import Dgdr, build_dgd, build_picked, derive_planner_config, dump_documents
from profiler.core.explain import backend_notes, objective
from profiler.core.search import SearchResult
from profiler.dgdr.candidates_file import point_row, rejection_row
from profiler.dgdr.files import write_npz, write_text
from simcore.perf.profile import DECODE_FILE, PREFILL_FILE, parse_curves

_PLAN = TypeAdapter(DeploymentPlan)
# Ticks of the planner when the DGDR does not say otherwise.
PLANNER_INTERVAL_S = 5.0


def write_plan(folder: Path, plan: DeploymentPlan) -> Path:
    """plan.json: what mocker and simulator run."""
    return write_text(folder / "plan.json", _PLAN.dump_json(plan, indent=2).decode() + "\n")


def write_pareto(
    folder: Path, result: SearchResult, price_per_gpu_hour: float | None = None
) -> Path:
    """pareto.json: simulated candidates with figures, and the layouts that cannot be.

    Candidates that were estimated only are in candidates.json.
    """
    points = [
        point_row(result, point, pareto, price_per_gpu_hour)
        for point, pareto in zip(result.points, result.pareto, strict=True)
    ]
    content = {
        "objective": objective(result),
        "picked": result.picked.sized.candidate.label,
        "sla_met": result.sla_met,
        "binding_constraint": result.binding or None,
        "backends": backend_notes(result),
        "points": points
        + [rejection_row(each) for each in result.rejections if each.topology is None],
    }
    return write_text(folder / "pareto.json", json.dumps(content, indent=2, allow_nan=False) + "\n")


def planner_config(dgdr: Dgdr, plan: DeploymentPlan) -> dict[str, object] | None:
    """Content of planner_config.json, when the DGDR asks for a planner."""
    if dgdr.spec.planner is None:
        return None
    defaults: dict[str, object] = {
        "optimization_target": "sla",
        "ttft_ms": plan.sla.ttft_ms,
        "itl_ms": plan.sla.itl_ms,
        "throughput_adjustment_interval_seconds": PLANNER_INTERVAL_S,
        "min_endpoint": 1,
        "profile_results_dir": ".",
        "startup_s": plan.startup_s,
        "expected_isl": float(dgdr.spec.workload.isl),
        "expected_osl": float(dgdr.spec.workload.osl),
    }
    return {**defaults, **derive_planner_config(dgdr, plan)}


def write_planner_config(
    folder: Path, dgdr: Dgdr, plan: DeploymentPlan
) -> dict[str, object] | None:
    """planner_config.json, when the DGDR asks for a planner; returns its content."""
    config = planner_config(dgdr, plan)
    if config is not None:
        text = json.dumps(config, indent=2, sort_keys=True) + "\n"
        write_text(folder / "planner_config.json", text)
    return config


def write_final_config(
    folder: Path,
    dgdr: Dgdr,
    plan: DeploymentPlan,
    planner_config: dict[str, object] | None,
    *,
    model_config: Mapping[str, object] | None = None,
) -> Path:
    """final_config.yaml: side ConfigMaps first, the deployment last.

    With a planner or mockers, picked_dgd_config.yaml keeps the deployment without them. The
    curves that :func:`write_curves` left in the folder go with the deployment.
    ``model_config`` is the model's ``config.json``, if it was read.
    """
    if planner_config is not None or dgdr.spec.mocker:
        picked = dump_documents([build_picked(dgdr, plan)])
        write_text(folder / "picked_dgd_config.yaml", picked)
    documents = build_dgd(
        dgdr,
        plan,
        planner_config=planner_config,
        curves=written_curves(folder),
        model_config=model_config,
    )
    return write_text(folder / "final_config.yaml", dump_documents(documents))


def write_no_config(folder: Path) -> Path:
    """final_config.yaml of a run that was not to search."""
    return write_text(folder / "final_config.yaml", "null\n")


def write_curves(folder: Path, prefill: PrefillCurves, decode: DecodeCurves) -> list[Path]:
    """The npz files under their documented names and keys."""
    return [
        write_npz(
            folder / PREFILL_FILE,
            {
                "prefill_isl": prefill.prefill_isl,
                "prefill_ttft": prefill.prefill_ttft,
                "prefill_thpt_per_gpu": prefill.prefill_thpt_per_gpu,
            },
        ),
        write_npz(
            folder / DECODE_FILE,
            {
                "x_kv_usage": decode.x_kv_usage,
                "y_context_length": decode.y_context_length,
                "z_itl": decode.z_itl,
                "z_thpt_per_gpu": decode.z_thpt_per_gpu,
                "max_kv_tokens": np.array([float(decode.max_kv_tokens)]),
            },
        ),
    ]


def written_curves(folder: Path) -> tuple[PrefillCurves, DecodeCurves] | None:
    """The curves in a folder, ``None`` when it has none."""
    files = [folder / name for name in (PREFILL_FILE, DECODE_FILE)]
    if not all(file.exists() for file in files):
        return None
    prefill, decode = (file.read_bytes() for file in files)
    return parse_curves(prefill, decode, source=str(folder))
