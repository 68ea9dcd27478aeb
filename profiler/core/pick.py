"""Pareto set and pick among simulated candidates."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.errors import InfeasibleError
from contracts.sla import SlaTarget
from profiler.core.request import Measured, Rejection, Screened, SearchRequest

# Share of simulated requests that must be within the targets.
ATTAINMENT_MIN = 0.9
_CLOSEST = 3


def meets(measured: Measured) -> bool:
    """Enough of the simulated requests were within all targets."""
    return measured.attainment_ratio >= ATTAINMENT_MIN


def pareto_front(points: Sequence[Measured]) -> list[bool]:
    """Which points no other one beats in throughput per GPU, TTFT and ITL together."""
    keys = [(-p.tokens_per_s_per_gpu, p.ttft_ms, p.itl_ms) for p in points]
    return [
        not any(
            other != key and all(o <= k for o, k in zip(other, key, strict=True)) for other in keys
        )
        for key in keys
    ]


def pick(request: SearchRequest, points: Sequence[Measured]) -> Measured | None:
    """The best point within the targets, ``None`` when there is none.

    With a load: the fewest GPUs, then the higher share within the targets, then the lower
    TTFT. Without: the highest throughput per GPU.
    """
    good = [point for point in points if meets(point)]
    if not good:
        return None
    if request.load is not None:
        return min(good, key=lambda p: (p.sized.gpus, -round(p.attainment_ratio, 3), p.ttft_ms))
    return max(good, key=lambda p: (p.tokens_per_s_per_gpu, -p.ttft_ms))


def shortfall(measured: Measured, sla: SlaTarget) -> str:
    """What a simulated point misses, in words."""
    parts = [f"{measured.attainment_ratio:.0%} of requests within the targets"]
    if sla.e2e_ms is not None:
        parts.append(f"E2E {measured.e2e_ms:.0f} ms (target {sla.e2e_ms:g})")
    else:
        parts.append(f"TTFT {measured.ttft_ms:.0f} ms (target {sla.ttft_ms:g})")
        parts.append(f"ITL {measured.itl_ms:.1f} ms (target {sla.itl_ms:g})")
    return ", ".join(parts)


def infeasible(
    request: SearchRequest,
    rejections: Sequence[Rejection],
    screened: Sequence[Screened],
    points: Sequence[Measured],
) -> InfeasibleError:
    """Why nothing fits: the constraint that binds, and the closest candidates."""
    what = f"no deployment of {request.model.model_id} on {request.total_gpus} GPUs fits"
    if points:
        ordered = sorted(points, key=lambda p: -p.attainment_ratio)[:_CLOSEST]
        closest = [f"{p.sized.candidate.label}: {shortfall(p, request.sla)}" for p in ordered]
        return InfeasibleError(
            what, binding_constraint=_binding(ordered[0], request.sla), closest=closest
        )
    if screened:
        ordered_screen = sorted(screened, key=lambda s: _distance(s, request.sla))[:_CLOSEST]
        closest = [f"{s.sized.candidate.label}: {s.reason}" for s in ordered_screen]
        return InfeasibleError(what, binding_constraint=ordered_screen[0].reason, closest=closest)
    reasons = [f"{rejection.label}: {rejection.reason}" for rejection in rejections]
    return InfeasibleError(
        what, binding_constraint=reasons[-1] if reasons else "no candidate", closest=reasons
    )


def _binding(measured: Measured, sla: SlaTarget) -> str:
    if sla.e2e_ms is not None:
        return f"E2E {sla.e2e_ms:g} ms"
    ttft_share, itl_share = measured.ttft_ms / sla.ttft_ms, measured.itl_ms / sla.itl_ms
    return f"TTFT {sla.ttft_ms:g} ms" if ttft_share >= itl_share else f"ITL {sla.itl_ms:g} ms"


def _distance(screened: Screened, sla: SlaTarget) -> tuple[int, float]:
    """Candidates that only lack GPUs are closest, then by the relative miss."""
    if screened.reason.startswith("GPU budget"):
        return 0, float(screened.sized.gpus)
    return 1, max(screened.ttft_ms / sla.ttft_ms, screened.itl_ms / sla.itl_ms)
