"""From ``candidates.json`` of a search to what a user may choose among."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contracts.errors import InputError, RehearsalError
from contracts.hardware import Evidence
from contracts.plan import DeploymentPlan, Role, RouterPolicy
from contracts.ports import TimerFactory
from contracts.sla import SlaTarget
from dgdr import Dgdr, build_dgd, dump_documents
from profiler.dgdr.candidates_file import CANDIDATES_FILE, plan_from_candidates
from profiler.dgdr.outputs import planner_config
from profiler.dgdr.rapid import with_backend
from profiler.measure.curves import curves_of
from profiler.page.render import write_page
from profiler.page.selection import (
    Percentiles,
    RoleShape,
    RuledOut,
    Selection,
    SelectionCandidate,
    write_selection,
)
from profiler.page.sweeps import write_sweeps
from simcore.perf import roofline

_SHOWN = ("simulated", "measured")
_QUANTILES = ("p50", "p90", "p99")
Row = Mapping[str, Any]


def write_choice(folder: Path, dgdr: Dgdr, timer_for: TimerFactory = roofline) -> list[Path]:
    """Write ``selection.json``, ``report.html`` and the plots of a finished search's engines.

    Args:
        folder: where the search wrote its files.
        dgdr: the request.
        timer_for: step times of the search, for the curves that planners read.

    Raises:
        InputError: the folder holds no candidates.
    """
    content = read_candidates(folder)
    plots = write_sweeps(folder, content, timer_for)
    selection = build_selection(dgdr, content, timer_for)
    return [*plots, write_selection(folder, selection), write_page(folder, selection)]


def read_candidates(folder: Path) -> dict[str, Any]:
    """Content of ``candidates.json``.

    Raises:
        InputError: it is missing or damaged.
    """
    path = folder / CANDIDATES_FILE
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}; is this a folder that the profiler wrote?",
            source=str(path),
        ) from error
    except ValueError as error:
        raise InputError(f"is no JSON: {error}", source=str(path)) from error
    return dict(content)


def build_selection(
    dgdr: Dgdr, content: Mapping[str, Any], timer_for: TimerFactory = roofline
) -> Selection:
    """Every candidate with figures and its deployment; the others with their reasons."""
    request = content["request"]
    shown: list[SelectionCandidate] = []
    ruled_out: list[RuledOut] = []
    for row in content["candidates"]:
        found = row["reason"]
        if row["stage"] in _SHOWN:
            found = _candidate(dgdr, content, row, timer_for)
        if isinstance(found, str):
            ruled_out.append(RuledOut(label=row["label"], reason=found))
        else:
            shown.append(found)
    picked = next(row for row in content["candidates"] if row["label"] == content["picked"])
    return Selection(
        name=dgdr.metadata.name,
        model=request["model"],
        gpu=request["gpu"],
        gpu_budget=content["gpu_budget"],
        isl=request["isl"],
        osl=request["osl"],
        sla=SlaTarget(**content["sla"]),
        load=_load(request["load"]),
        objective=content["objective"],
        picked=_identifier(content["picked"]),
        met=content["sla_met"],
        shortfall=picked["reason"].removeprefix("picked: "),
        measured=picked["stage"] == "measured",
        candidates=tuple(shown),
        ruled_out=tuple(ruled_out),
    )


def _candidate(
    dgdr: Dgdr, content: Row, row: Row, timer_for: TimerFactory
) -> SelectionCandidate | str:
    """The candidate, or why it cannot be shown."""
    latencies = {name: _percentiles(row["latencies_ms"][name]) for name in ("ttft", "itl", "e2e")}
    ttft, itl, e2e = (latencies[name] for name in ("ttft", "itl", "e2e"))
    if ttft is None or itl is None or e2e is None:
        return f"no latencies: {row['reason']}"
    try:
        plan = plan_from_candidates(
            content,
            row["label"],
            name=dgdr.metadata.name,
            startup_s=content["startup_s"],
            router=RouterPolicy.LEAST_LOADED,
        )
        text = _deployment(dgdr, plan, timer_for)
    except RehearsalError as error:
        return f"cannot be deployed: {error}"
    return SelectionCandidate(
        id=_identifier(row["label"]),
        label=row["label"],
        mode=row["mode"],
        backend=row["backend"],
        gpus=row["gpus"],
        roles=_roles(row, plan),
        ttft_ms=ttft,
        itl_ms=itl,
        e2e_ms=e2e,
        attainment_ratio=row["attainment_ratio"],
        tokens_per_s_per_gpu=row["tokens_per_s_per_gpu"],
        cost_per_million_tokens=row["cost_per_million_tokens"],
        error_ratio=row["error_ratio"],
        evidence=Evidence(row["evidence"]),
        pareto=row["pareto"],
        reason=row["reason"],
        dgd_yaml=text,
    )


def _deployment(dgdr: Dgdr, plan: DeploymentPlan, timer_for: TimerFactory) -> str:
    chosen = with_backend(dgdr, plan)
    workload = dgdr.spec.workload
    curves = curves_of(plan, workload.isl, workload.osl, timer_for)
    config = planner_config(chosen, plan)
    return dump_documents(build_dgd(chosen, plan, planner_config=config, curves=curves))


def _roles(row: Row, plan: DeploymentPlan) -> tuple[RoleShape, ...]:
    return tuple(
        RoleShape(
            role=role,
            replicas=row["replicas"][role],
            gpus=plan.pool(Role(role)).engine.gpus,
            engine=row["shapes"][role],
        )
        for role in row["engines"]
    )


def _percentiles(values: Mapping[str, float | None]) -> Percentiles | None:
    found: Sequence[float | None] = [values[name] for name in _QUANTILES]
    if any(value is None for value in found):
        return None
    return Percentiles(**{name: float(values[name] or 0.0) for name in _QUANTILES})


def _identifier(label: str) -> str:
    """A label as a file name."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", label)


def _load(load: Mapping[str, Any] | None) -> str | None:
    if load is None:
        return None
    if load["kind"] == "concurrency":
        return f"{load['requests']:g} requests in flight"
    if load["kind"] == "trace":
        return f"{load['requests']} recorded requests at {load['requests_per_s']:.3g} a second"
    return f"{load['requests_per_s']:g} requests a second"
