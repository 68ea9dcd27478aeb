"""Pareto set and pick among simulated candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from contracts.errors import InfeasibleError
from contracts.sla import OptimizationType, SlaTarget
from profiler.core.request import PickMode, Rejection, SearchRequest, Sized, Topology
from profiler.core.results import Measured, Screened

# Share of simulated requests that must be within the targets.
ATTAINMENT_MIN = 0.9
# Candidates whose figures differ by less are equally good; the order of the screen, which
# does not depend on the seed, decides among them.
_TIE_RATIO = 0.05
_CLOSEST = 3


def meets(measured: Measured) -> bool:
    """Enough requests were within all targets, sampling error allowed for."""
    return measured.attainment_ratio - measured.attainment_error >= ATTAINMENT_MIN


def distance(measured: Measured, sla: SlaTarget) -> float:
    """How the 90th percentiles relate to the targets, the worst of them; 1 just meets them."""
    if sla.e2e_ms is not None:
        return measured.e2e.p90 / sla.e2e_ms
    return max(measured.ttft.p90 / sla.ttft_ms, measured.itl.p90 / sla.itl_ms)


def pareto_front(points: Sequence[Measured]) -> list[bool]:
    """Which points no other one beats in throughput per GPU, TTFT and ITL together.

    With one GPU type the cost of a token is the price over the throughput of a GPU, so it
    adds no further axis.
    """
    keys = [(-p.tokens_per_s_per_gpu, p.ttft_ms, p.itl_ms) for p in points]
    return [
        not any(
            other != key and all(o <= k for o, k in zip(other, key, strict=True)) for other in keys
        )
        for key in keys
    ]


def pick(request: SearchRequest, found: Sequence[tuple[Screened, Measured]]) -> Measured | None:
    """The best point within the targets, ``None`` when there is none.

    A declared load takes the fewest GPUs, ``autoscale`` then the fewest for each request a
    second. Among those the lowest latency wins when that is preferred, else the highest
    throughput (``default``) or the most headroom, which is estimated: figures of the simulation
    that decide between candidates that all meet the targets would hang on the seed.

    Args:
        request: what is wanted.
        found: candidates in the order of the screen.
    """
    good = [(entry, point) for entry, point in found if meets(point)]
    if not good:
        return None
    if request.load is not None:
        fewest = min(point.sized.gpus for _, point in good)
        good = [(entry, point) for entry, point in good if point.sized.gpus == fewest]
    if request.mode is PickMode.AUTOSCALE:
        cheapest = min(entry.unit_cost for entry, _ in good)
        good = [(e, p) for e, p in good if e.unit_cost <= cheapest * (1 + _TIE_RATIO)]
    if request.preference is OptimizationType.LATENCY:
        return _first(good, lambda _, p: p.e2e.p50)
    if request.mode is PickMode.DEFAULT:
        return _first(good, lambda _, p: -p.tokens_per_s)
    if request.load is None:
        return _first(good, lambda *_: 0.0)
    return _first(good, lambda e, p: -headroom(e, p.sized))


def headroom(entry: Screened, sized: Sized) -> float:
    """How many times its load a sized candidate sustains within the targets, by the screen."""
    rates = entry.capacity_per_s
    return min(rates[role] * count for role, count in sized.replicas.items()) / sized.rate_per_s


def closest(request: SearchRequest, found: Sequence[tuple[Screened, Measured]]) -> list[Measured]:
    """Points that miss the targets, the nearest first.

    Where none can serve the load within the budget, those that serve most of it come first.
    """
    served = [headroom(entry, point.sized) for entry, point in found]
    if request.load is not None and served and max(served) < 1:
        ordered = sorted(zip(served, found, strict=True), key=lambda each: -each[0])
        return [point for _, (_, point) in ordered]
    return sorted((point for _, point in found), key=lambda p: distance(p, request.sla))


def _first(
    found: Sequence[tuple[Screened, Measured]], score: Callable[[Screened, Measured], float]
) -> Measured:
    """The first of those whose score is about the lowest, an aggregated one if there is any."""
    scores = [score(entry, point) for entry, point in found]
    limit = min(scores) + abs(min(scores)) * _TIE_RATIO
    equal = [point for (_, point), own in zip(found, scores, strict=True) if own <= limit]
    return min(equal, key=lambda p: p.sized.candidate.topology is Topology.DISAGG)


def shortfall(measured: Measured, sla: SlaTarget) -> str:
    """How a simulated point stands to the targets, in words."""
    parts = [f"{measured.attainment_ratio:.0%} of requests within the targets"]
    if sla.e2e_ms is not None:
        parts.append(f"E2E p90 {measured.e2e.p90:.0f} ms (target {sla.e2e_ms:g})")
    else:
        parts.append(f"TTFT p90 {measured.ttft.p90:.0f} ms (target {sla.ttft_ms:g})")
        parts.append(f"ITL p90 {measured.itl.p90:.1f} ms (target {sla.itl_ms:g})")
    return ", ".join(parts)


def infeasible(
    request: SearchRequest,
    rejections: Sequence[Rejection],
    screened: Sequence[Screened],
    found: Sequence[tuple[Screened, Measured]],
) -> InfeasibleError:
    """Why nothing fits: the constraint that binds, and the closest candidates."""
    what = f"no deployment of {request.model.model_id} on {request.total_gpus} GPUs fits"
    if found:
        near = closest(request, found)[:_CLOSEST]
        texts = [f"{p.sized.candidate.label}: {shortfall(p, request.sla)}" for p in near]
    elif screened:
        nearest = sorted(screened, key=lambda s: s.miss)[:_CLOSEST]
        texts = [f"{s.sized.candidate.label}: {s.reason}" for s in nearest]
    else:
        texts = [f"{rejection.label}: {rejection.reason}" for rejection in rejections]
    constraint = binding(request, rejections, screened, found)
    return InfeasibleError(what, binding_constraint=constraint, closest=texts)


def binding(
    request: SearchRequest,
    rejections: Sequence[Rejection],
    screened: Sequence[Screened],
    found: Sequence[tuple[Screened, Measured]],
) -> str:
    """The constraint that rules everything out."""
    near = min(screened, key=lambda s: s.miss, default=None)
    if near is not None and near.reason:
        return near.reason
    if found:
        return _missed(closest(request, found)[0], request.sla)
    return rejections[-1].reason if rejections else "no candidate"


def _missed(measured: Measured, sla: SlaTarget) -> str:
    if sla.e2e_ms is not None:
        return f"E2E: p90 {measured.e2e.p90:.0f} ms under load, target {sla.e2e_ms:g} ms"
    if measured.ttft.p90 / sla.ttft_ms >= measured.itl.p90 / sla.itl_ms:
        return f"TTFT: p90 {measured.ttft.p90:.0f} ms under load, target {sla.ttft_ms:g} ms"
    return f"ITL: p90 {measured.itl.p90:.1f} ms under load, target {sla.itl_ms:g} ms"
