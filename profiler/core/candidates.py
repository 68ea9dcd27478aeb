"""Every layout that could work, and the reasons of those that cannot."""

from __future__ import annotations

from contracts.errors import InfeasibleError
from profiler.core.ports import Estimator
from profiler.core.request import (
    AggCandidate,
    Candidate,
    DisaggCandidate,
    EngineChoice,
    Rejection,
    SearchRequest,
)

# vLLM's default step budget, and a smaller one that favours ITL in aggregated workers.
STEP_TOKENS = 8192
SMALL_STEP_TOKENS = 2048
HEADS_PER_GPU_MIN = 4


def enumerate_candidates(
    request: SearchRequest, estimator: Estimator
) -> tuple[list[Candidate], list[Rejection]]:
    """All aggregated and disaggregated layouts with TP up to one node."""
    sizes: list[int] = []
    rejections: list[Rejection] = []
    tp = 1
    while tp <= request.gpus_per_node:
        reason = _refusal(request, estimator, tp)
        if reason is None:
            sizes.append(tp)
        else:
            rejections.append(Rejection(label=f"tp{tp}", reason=reason))
        tp *= 2
    candidates: list[Candidate] = [
        AggCandidate(engine=EngineChoice(tp=size, max_num_batched_tokens=tokens))
        for size in sizes
        for tokens in (STEP_TOKENS, SMALL_STEP_TOKENS)
    ]
    for prefill in sizes:
        for decode in sizes:
            candidate = DisaggCandidate(
                prefill=EngineChoice(tp=prefill, max_num_batched_tokens=STEP_TOKENS),
                decode=EngineChoice(tp=decode, max_num_batched_tokens=STEP_TOKENS),
            )
            if prefill + decode > request.total_gpus:
                reason = f"needs {prefill + decode} GPUs, {request.total_gpus} allowed"
                rejections.append(Rejection(label=candidate.label, reason=reason))
            else:
                candidates.append(candidate)
    return candidates, rejections


def _refusal(request: SearchRequest, estimator: Estimator, tp: int) -> str | None:
    model = request.model
    if tp > request.total_gpus:
        return f"needs {tp} GPUs, {request.total_gpus} allowed"
    if model.heads % tp or (model.kv_heads % tp and tp % model.kv_heads):
        return f"{model.heads} heads and {model.kv_heads} KV heads do not divide by {tp}"
    if model.heads // tp < HEADS_PER_GPU_MIN:
        return f"fewer than {HEADS_PER_GPU_MIN} attention heads on a GPU"
    try:
        room = estimator.kv_tokens(EngineChoice(tp=tp, max_num_batched_tokens=STEP_TOKENS))
    except InfeasibleError as error:
        return str(error)
    longest = request.isl + request.osl
    if longest > room:
        return f"KV cache holds {room} tokens, one request needs {longest}"
    if longest > model.max_position:
        return f"context is {model.max_position} tokens, one request needs {longest}"
    return None
