"""The rapid search: enumerate, screen, simulate the short list, pick."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from contracts.plan import Role
from profiler.core.candidates import enumerate_candidates
from profiler.core.pick import infeasible, meets, pareto_front, pick, shortfall
from profiler.core.ports import Estimator, Simulator
from profiler.core.request import (
    AggCandidate,
    Measured,
    Rejection,
    Screened,
    SearchRequest,
    Sized,
)
from profiler.core.screen import Screen

SHORT_LIST_PER_MODE = 4
# A simulated candidate that misses its targets may get this many more replicas.
EXTRA_REPLICAS = 2

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """Everything the search looked at.

    Attributes:
        screened: all candidates with their closed-form estimate.
        points: simulated candidates, with ``pareto`` telling which are not dominated.
    """

    request: SearchRequest
    rejections: tuple[Rejection, ...]
    screened: tuple[Screened, ...]
    points: tuple[Measured, ...]
    pareto: tuple[bool, ...]
    picked: Measured


def search(
    request: SearchRequest, estimator: Estimator, simulator: Simulator, progress: Progress
) -> SearchResult:
    """Find the deployment.

    Raises:
        InfeasibleError: nothing fits; names the binding constraint.
    """
    candidates, rejections = enumerate_candidates(request, estimator)
    screen = Screen(request, estimator)
    screened = []
    for number, candidate in enumerate(candidates, start=1):
        screened.append(screen.screen(candidate))
        progress("screening", number, len(candidates))
    chosen = _short_list(request, screened)
    points = []
    for number, entry in enumerate(chosen, start=1):
        points.append(_simulate(request, simulator, entry.sized))
        progress("simulating", number, len(chosen))
    picked = pick(request, points)
    if picked is None:
        raise infeasible(request, rejections, screened, points)
    return SearchResult(
        request=request,
        rejections=tuple(rejections),
        screened=tuple(screened),
        points=tuple(points),
        pareto=tuple(pareto_front(points)),
        picked=picked,
    )


def explain(result: SearchResult, point: Measured) -> str:
    """Why a simulated point was or was not picked."""
    if point is result.picked:
        return "picked: " + shortfall(point, result.request.sla)
    if not meets(point):
        return "misses the SLA: " + shortfall(point, result.request.sla)
    if result.request.load is not None and point.sized.gpus > result.picked.sized.gpus:
        return f"meets the SLA with {point.sized.gpus} GPUs, the pick needs fewer"
    return "meets the SLA, the pick is better: " + shortfall(point, result.request.sla)


def _short_list(request: SearchRequest, screened: Sequence[Screened]) -> list[Screened]:
    """The most promising candidates of each mode."""

    def rank(entry: Screened) -> tuple[float, float]:
        if request.load is not None:
            return entry.sized.gpus, entry.ttft_ms
        return -entry.sized.rate_per_s / entry.sized.gpus, entry.ttft_ms

    chosen: list[Screened] = []
    for agg in (True, False):
        mode = [
            entry
            for entry in screened
            if entry.feasible and isinstance(entry.sized.candidate, AggCandidate) is agg
        ]
        chosen += sorted(mode, key=rank)[:SHORT_LIST_PER_MODE]
    return chosen


def _simulate(request: SearchRequest, simulator: Simulator, sized: Sized) -> Measured:
    """Simulate; while the targets are missed and the budget allows, add a replica."""
    best = simulator.simulate(sized)
    for _ in range(EXTRA_REPLICAS):
        if meets(best) or request.load is None:
            break
        larger = _one_more(request, best)
        if larger.gpus > request.total_gpus:
            break
        best = simulator.simulate(larger)
    return best


def _one_more(request: SearchRequest, measured: Measured) -> Sized:
    sized, sla = measured.sized, request.sla
    roles = list(sized.replicas)
    role = roles[0]
    if Role.DECODE in sized.replicas:
        slow_tokens = measured.itl_ms / sla.itl_ms > measured.ttft_ms / sla.ttft_ms
        role = Role.DECODE if slow_tokens else Role.PREFILL
    return replace(sized, replicas={**sized.replicas, role: sized.replicas[role] + 1})
