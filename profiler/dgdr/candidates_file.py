"""candidates.json: every candidate of a search, with what it takes to deploy it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from contracts.errors import InfeasibleError, InputError
from contracts.plan import (
    AggPlan,
    DeploymentPlan,
    DisaggPlan,
    EngineSpec,
    KvLink,
    PoolPlan,
    Role,
    RouterPolicy,
)
from contracts.sla import SlaTarget
from profiler.core.explain import explain, explain_screened, load_served_pct, objective
from profiler.core.pick import meets
from profiler.core.request import (
    Candidate,
    ConcurrencyLoad,
    DisaggCandidate,
    EngineChoice,
    RateLoad,
    Rejection,
    SearchRequest,
    TraceLoad,
)
from profiler.core.results import Measured, Quantiles, Screened
from profiler.core.search import SearchResult
from profiler.dgdr.files import write_text
from profiler.dgdr.prices import cost_per_million_tokens
from profiler.measure import EngineFactory

CANDIDATES_FILE = "candidates.json"
VERSION = 1
_ENGINE = TypeAdapter(EngineSpec)
_LINK = TypeAdapter(KvLink)
_SLA = TypeAdapter(SlaTarget)
Row = dict[str, Any]


def write_candidates(
    folder: Path,
    result: SearchResult,
    engines: EngineFactory,
    price_per_gpu_hour: float | None,
    startup_s: float,
) -> Path:
    """Write the file; rows refer to entries of ``engines`` by key."""
    writer = _Writer(result, engines, price_per_gpu_hour)
    request = result.request
    content = {
        "version": VERSION,
        "objective": objective(result),
        "picked": result.picked.sized.candidate.label,
        "sla_met": result.sla_met,
        "binding_constraint": result.binding or None,
        "request": _request(request),
        "gpu_budget": request.total_gpus,
        "sla": asdict(request.sla),
        "price_per_gpu_hour": price_per_gpu_hour,
        "startup_s": startup_s,
        "candidates": list(writer.rows()),
        "engines": writer.specs,
    }
    return write_text(folder / CANDIDATES_FILE, json.dumps(content, allow_nan=False) + "\n")


def plan_from_candidates(
    content: Mapping[str, Any], label: str, *, name: str, startup_s: float, router: RouterPolicy
) -> DeploymentPlan:
    """The deployment plan of one candidate, at the replicas that the file gives.

    Raises:
        InputError: there is no such candidate, or the content is not that of the file.
        InfeasibleError: the candidate cannot be deployed; its reason.
    """
    rows = {row["label"]: row for row in content.get("candidates", ())}
    if label not in rows:
        raise InputError(
            "no such candidate", source=CANDIDATES_FILE, path="candidates", value=label
        )
    row = rows[label]
    if not row["engines"]:
        raise InfeasibleError(f"{label} cannot be deployed", binding_constraint=row["reason"])
    try:
        pools = {
            Role(role): PoolPlan(
                role=Role(role),
                engine=_ENGINE.validate_python(content["engines"][key]),
                replicas=row["replicas"][role],
            )
            for role, key in row["engines"].items()
        }
        topology: AggPlan | DisaggPlan
        if Role.AGG in pools:
            topology = AggPlan(pool=pools[Role.AGG])
        else:
            topology = DisaggPlan(
                prefill=pools[Role.PREFILL],
                decode=pools[Role.DECODE],
                link=_LINK.validate_python(row["link"]),
            )
        return DeploymentPlan(
            name=name, topology=topology, router=router, startup_s=startup_s,
            gpu_budget=content["gpu_budget"], sla=_SLA.validate_python(content["sla"]),
        )  # fmt: skip
    except (KeyError, ValidationError) as error:
        raise InputError(f"is broken: {error}", source=CANDIDATES_FILE, value=label) from error


def point_row(result: SearchResult, point: Measured, pareto: bool, price: float | None) -> Row:
    """A simulated candidate."""
    cost = None
    if price is not None:
        cost = cost_per_million_tokens(price, point.tokens_per_s_per_gpu)
    sized = point.sized
    return {
        **_head(sized.candidate, sized.replicas, sized.gpus),
        "stage": "simulated",
        "rate_per_s": sized.rate_per_s,
        "tokens_per_s_per_gpu": point.tokens_per_s_per_gpu,
        "tokens_per_s": point.tokens_per_s,
        "ttft_ms": point.ttft_ms,
        "itl_ms": point.itl_ms,
        "e2e_ms": point.e2e_ms,
        "latencies_ms": {
            "ttft": _quantiles(point.ttft), "itl": _quantiles(point.itl),
            "e2e": _quantiles(point.e2e),
        },
        "attainment_ratio": point.attainment_ratio,
        "attainment_error": point.attainment_error,
        "requests": point.requests,
        "load_served_pct": load_served_pct(result, point),
        "cost_per_million_tokens": cost,
        "evidence": point.evidence.value,
        "error_ratio": point.error_ratio,
        "feasible": meets(point),
        "reason": explain(result, point),
        "pareto": pareto,
    }  # fmt: skip


def rejection_row(rejection: Rejection) -> Row:
    """A candidate, or a layout that any candidate could have had, that cannot be."""
    topology = rejection.topology
    return {
        **_without_figures(),
        "label": rejection.label,
        "backend": rejection.backend.value,
        "mode": "agg" if topology is None else topology.value,
        "gpus": 0,
        "replicas": {},
        "stage": "rejected",
        "reason": rejection.reason,
    }


class _Writer:
    """Rows of candidates, and the engines that they refer to."""

    def __init__(self, result: SearchResult, engines: EngineFactory, price: float | None) -> None:
        self._result = result
        self._engines = engines
        self._price = price
        self.specs: dict[str, Any] = {}

    def rows(self) -> Iterator[Row]:
        """Simulated candidates first, then screened and rejected ones, then alternatives."""
        result = self._result
        for point, pareto in zip(result.points, result.pareto, strict=True):
            row = point_row(result, point, pareto, self._price)
            yield row | self._parts(point.sized.candidate)
        simulated = {point.sized.candidate.label for point in result.points}
        for entry in result.screened:
            if entry.sized.candidate.label not in simulated:
                yield self._screened(entry, "screened", explain_screened(result, entry))
        for rejection in result.rejections:
            yield rejection_row(rejection) | {"engines": {}, "link": None}
        for entry in result.alternatives:
            reason = (
                "not searched: computes with other types than the checkpoint stores; "
                "--allow-quantization searches it"
            )
            yield self._screened(entry, "alternative", reason)

    def _screened(self, entry: Screened, stage: str, reason: str) -> Row:
        sized = entry.sized
        timers = [self._engines.timer(engine) for engine in sized.candidate.engines.values()]
        return {
            **_without_figures(),
            **_head(sized.candidate, sized.replicas, sized.gpus),
            **self._parts(sized.candidate),
            "stage": stage,
            "rate_per_s": sized.rate_per_s if math.isfinite(sized.rate_per_s) else None,
            "ttft_ms": entry.ttft_ms if math.isfinite(entry.ttft_ms) else None,
            "itl_ms": entry.itl_ms if math.isfinite(entry.itl_ms) else None,
            "error_ratio": max(timer.error_ratio for timer in timers),
            "reason": reason,
        }

    def _parts(self, candidate: Candidate) -> Row:
        keys = {}
        for role, choice in candidate.engines.items():
            key = _key(choice)
            if key not in self.specs:
                spec = self._engines.spec(choice)
                self.specs[key] = _ENGINE.dump_python(spec, mode="json")
            keys[role.value] = key
        link = None
        if isinstance(candidate, DisaggCandidate):
            link = asdict(self._engines.link(candidate))
        return {"engines": keys, "link": link}


def _key(choice: EngineChoice) -> str:
    plain = "" if choice.overlap else "-no-overlap"
    return f"{choice.backend.value}-{choice.label}{plain}"


def _head(candidate: Candidate, replicas: Mapping[Role, int], gpus: int) -> Row:
    return {
        "label": candidate.label,
        "backend": candidate.backend.value,
        "mode": candidate.topology.value,
        "shapes": {role.value: choice.shape for role, choice in candidate.engines.items()},
        "gpus": gpus,
        "replicas": {role.value: count for role, count in replicas.items()},
    }


def _without_figures() -> Row:
    names = (
        "rate_per_s", "tokens_per_s_per_gpu", "tokens_per_s", "ttft_ms", "itl_ms", "e2e_ms",
        "latencies_ms", "attainment_ratio", "attainment_error", "cost_per_million_tokens",
        "error_ratio", "load_served_pct",
    )  # fmt: skip
    nothing: Row = dict.fromkeys(names)
    return nothing | {
        "shapes": {}, "requests": 0, "evidence": "estimated", "feasible": False, "pareto": False,
    }  # fmt: skip


def _quantiles(values: Quantiles) -> dict[str, float | None]:
    known = asdict(values)
    return {name: value if math.isfinite(value) else None for name, value in known.items()}


def _request(request: SearchRequest) -> Row:
    load: Row | None = None
    match request.load:
        case RateLoad(requests_per_s=rate):
            load = {"kind": "rate", "requests_per_s": rate}
        case ConcurrencyLoad(requests=count):
            load = {"kind": "concurrency", "requests": count}
        case TraceLoad(workload=trace):
            load = {"kind": "trace", "source": trace.source, "requests": len(trace),
                    "requests_per_s": trace.rate_per_s}  # fmt: skip
        case None:
            load = None
    return {
        "model": request.model.model_id,
        "gpu": request.gpu.sku,
        "gpus_per_node": request.gpus_per_node,
        "isl": request.isl,
        "osl": request.osl,
        "load": load,
        "mode": request.mode.value,
        "preference": request.preference.value,
        "backends": [backend.value for backend in request.step_tokens],
        "weights": request.precision.weights.value,
        "when_infeasible": request.when_infeasible.value,
    }
