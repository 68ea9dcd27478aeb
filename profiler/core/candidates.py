"""Every candidate that could work, and the reasons of those that cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from contracts.engine import Backend
from contracts.errors import InfeasibleError
from contracts.plan import Role
from profiler.core.ports import Estimator
from profiler.core.request import (
    AggCandidate,
    Candidate,
    DisaggCandidate,
    EngineChoice,
    Rejection,
    SearchRequest,
    Topology,
)
from profiler.core.shapes import layouts, refusal, serves


@dataclass(frozen=True, slots=True, kw_only=True)
class Enumeration:
    """What there is to look at, and what was ruled out."""

    candidates: tuple[Candidate, ...]
    rejections: tuple[Rejection, ...]


def enumerate_candidates(request: SearchRequest, estimator: Estimator) -> Enumeration:
    """All aggregated and disaggregated candidates of all backends."""
    candidates: list[Candidate] = []
    rejections: list[Rejection] = []
    for backend, budgets in request.step_tokens.items():
        good = _engines(request, estimator, backend, rejections)
        if Topology.AGG in request.topologies:
            candidates += [AggCandidate(engine=engine) for engine in good]
        if Topology.DISAGG in request.topologies:
            whole = [e for e in good if e.max_num_batched_tokens == budgets[0]]
            for pair in _pairs(whole):
                if pair.prefill.gpus + pair.decode.gpus <= request.total_gpus:
                    candidates.append(pair)
                else:
                    rejections.append(_too_many(request, pair))
    return Enumeration(candidates=tuple(candidates), rejections=tuple(rejections))


def _engines(
    request: SearchRequest,
    estimator: Estimator,
    backend: Backend,
    rejections: list[Rejection],
) -> list[EngineChoice]:
    """Engines of one backend that hold the model and one request."""
    good = []
    for precision in (request.precision, *request.variants):
        for step_tokens in request.step_tokens[backend]:
            for choice in layouts(request, backend, precision, step_tokens):
                reason = refusal(request, choice) or _no_room(request, estimator, choice)
                if reason is None:
                    good.append(choice)
                else:
                    label = f"{backend.value}-{choice.label}"
                    rejections.append(Rejection(label=label, reason=reason, backend=backend))
    return good


def _no_room(request: SearchRequest, estimator: Estimator, choice: EngineChoice) -> str | None:
    try:
        room = estimator.facts(choice).kv_tokens
    except InfeasibleError as error:
        return str(error)
    if request.longest > room:
        return f"KV cache holds {room} tokens, one request needs {request.longest}"
    return None


def _pairs(engines: list[EngineChoice]) -> Iterator[DisaggCandidate]:
    for prefill in engines:
        if not serves(prefill, Role.PREFILL):
            continue
        # TensorRT-LLM runs prefill workers without its overlap scheduler.
        overlap = prefill.backend is not Backend.TRTLLM
        for decode in engines:
            if serves(decode, Role.DECODE) and decode.precision == prefill.precision:
                yield DisaggCandidate(prefill=replace(prefill, overlap=overlap), decode=decode)


def _too_many(request: SearchRequest, pair: DisaggCandidate) -> Rejection:
    gpus = pair.prefill.gpus + pair.decode.gpus
    return Rejection(
        label=pair.label,
        reason=f"needs {gpus} GPUs, {request.total_gpus} allowed",
        backend=pair.backend,
        topology=Topology.DISAGG,
    )
