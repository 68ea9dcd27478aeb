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
    Precision,
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
    """Engines of one backend that hold the model and one request, each token budget in turn."""
    good = []
    budgets = request.step_tokens[backend]
    for precision in (request.precision, *request.variants):
        for choice in layouts(request, backend, precision, budgets[0]):
            reason = refusal(request, choice)
            if reason is not None:
                label = f"{backend.value}-{choice.shape}"
                rejections.append(Rejection(label=label, reason=reason, backend=backend))
                continue
            for step_tokens in budgets:
                engine = replace(choice, max_num_batched_tokens=step_tokens)
                reason = no_room(request, estimator, engine)
                if reason is None:
                    good.append(engine)
                else:
                    label = f"{backend.value}-{engine.label}"
                    rejections.append(Rejection(label=label, reason=reason, backend=backend))
    return good


def no_room(request: SearchRequest, estimator: Estimator, choice: EngineChoice) -> str | None:
    """Why an engine cannot hold the model and the longest request, ``None`` when it can."""
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


def in_precision(candidate: Candidate, precision: Precision) -> Candidate:
    """The same layout with other types of weights and KV cache."""
    if isinstance(candidate, AggCandidate):
        return AggCandidate(engine=replace(candidate.engine, precision=precision))
    return DisaggCandidate(
        prefill=replace(candidate.prefill, precision=precision),
        decode=replace(candidate.decode, precision=precision),
    )


def _too_many(request: SearchRequest, pair: DisaggCandidate) -> Rejection:
    gpus = pair.prefill.gpus + pair.decode.gpus
    return Rejection(
        label=pair.label,
        reason=f"needs {gpus} GPUs, {request.total_gpus} allowed",
        backend=pair.backend,
        topology=Topology.DISAGG,
    )
