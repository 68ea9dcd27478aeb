"""Why a candidate was or was not picked, and why a backend won."""

from __future__ import annotations

from contracts.sla import OptimizationType
from profiler.core.pick import ATTAINMENT_MIN, headroom, meets, shortfall
from profiler.core.request import PickMode
from profiler.core.results import Measured, Screened
from profiler.core.search import SearchResult


def explain(result: SearchResult, point: Measured) -> str:
    """Why a simulated point was or was not picked."""
    stands = shortfall(point, result.request.sla)
    if point is result.picked:
        return f"picked: {stands}" if result.sla_met else f"closest, misses the SLA: {stands}"
    if not meets(point):
        share, error = point.attainment_ratio, point.attainment_error
        if share < ATTAINMENT_MIN:
            return f"misses the SLA: {stands}"
        return (
            f"may miss the SLA: {share:.1%} of requests within the targets, give or take "
            f"{error:.1%}, are not surely the {ATTAINMENT_MIN:.0%} needed"
        )
    picked = result.picked
    if result.request.load is not None and point.sized.gpus > picked.sized.gpus:
        return f"meets the SLA with {point.sized.gpus} GPUs, the pick needs {picked.sized.gpus}"
    if result.request.mode is PickMode.DEFAULT and point.tokens_per_s < picked.tokens_per_s:
        served = f"{point.tokens_per_s:.0f} output tokens/s"
        return f"meets the SLA at {served}, the pick at {picked.tokens_per_s:.0f}"
    return f"meets the SLA, as good as the pick or less: {stands}"


def explain_screened(result: SearchResult, entry: Screened) -> str:
    """Why a candidate was not simulated."""
    skipped = result.skipped.get(entry.sized.candidate.label)
    return skipped or entry.reason or "not simulated: less promising than the short list"


def load_served_pct(result: SearchResult, point: Measured) -> float | None:
    """Share of the declared load that is served within the targets (0-100), by the screen."""
    if result.request.load is None:
        return None
    label = point.sized.candidate.label
    entry = next(each for each in result.screened if each.sized.candidate.label == label)
    return round(100 * min(1.0, headroom(entry, point.sized)), 1)


def objective(result: SearchResult) -> str:
    """What the pick is best at, in words."""
    request = result.request
    latency = request.preference is OptimizationType.LATENCY
    match request.mode:
        case PickMode.AUTOSCALE:
            first = "for the declared load, then " if request.load is not None else ""
            return f"fewest GPUs {first}for each request a second within the SLA, for a planner"
        case PickMode.LOAD_MATCH:
            tie = ", then the lowest latency" if latency else ""
            return f"serve the declared load with the fewest GPUs within the SLA{tie}"
        case PickMode.DEFAULT:
            if latency:
                return "lowest latency within the SLA at half of the load that each sustains"
            return "highest throughput of the GPU budget within the SLA"


def backend_notes(result: SearchResult) -> list[str]:
    """One line for each backend: its best candidate, and what decided."""
    lines = []
    for backend in result.request.step_tokens:
        mine = [p for p in result.points if p.sized.candidate.backend is backend]
        good = [p for p in mine if meets(p)]
        if result.picked.sized.candidate.backend is backend:
            lines.append(f"{backend.value}: {_figures(result.picked)}; picked")
        elif good:
            best = min(good, key=lambda p: _order(result, p))
            lines.append(f"{backend.value}: {_figures(best)}; {explain(result, best)}")
        elif mine:
            near = max(mine, key=lambda p: p.attainment_ratio)
            lines.append(f"{backend.value}: {_figures(near)}; {explain(result, near)}")
        else:
            lines.append(f"{backend.value}: {_nothing(result, backend.value)}")
    return lines


def _order(result: SearchResult, point: Measured) -> tuple[float, float]:
    if result.request.load is not None:
        return point.sized.gpus, point.e2e.p50
    return -point.tokens_per_s, point.e2e.p50


def _figures(point: Measured) -> str:
    return (
        f"{point.sized.candidate.label} on {point.sized.gpus} GPUs, "
        f"TTFT {point.ttft_ms:.0f} ms, ITL {point.itl_ms:.1f} ms, "
        f"{point.tokens_per_s:.0f} output tokens/s"
    )


def _nothing(result: SearchResult, backend: str) -> str:
    entries = [s for s in result.screened if s.sized.candidate.backend.value == backend]
    if entries:
        listed = [e for e in entries if e.sized.candidate.label in result.skipped]
        best = min(listed or entries, key=lambda e: e.miss)
        return f"{best.sized.candidate.label}: {explain_screened(result, best)}"
    reasons = [r.reason for r in result.rejections if r.backend.value == backend]
    return reasons[-1] if reasons else "no candidate"
