"""The rapid search: enumerate, screen, simulate the short list, pick."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from contracts.engine import Backend
from contracts.sla import OptimizationType
from profiler.core.candidates import enumerate_candidates, in_precision, no_room
from profiler.core.pick import binding, closest, infeasible, meets, pareto_front, pick
from profiler.core.ports import Estimator, Simulator
from profiler.core.rehearse import Rehearsal
from profiler.core.request import (
    PickMode,
    Rejection,
    SearchRequest,
    Topology,
    WhenInfeasible,
)
from profiler.core.results import Measured, Screened
from profiler.core.screen import Screen

# Simulated candidates of each backend and topology; fewer when backends are compared.
SHORT_LIST, SHORT_LIST_OF_SEVERAL = 3, 2
# When nothing meets the targets, so many candidates of all kinds are simulated as they are.
CLOSEST_LIST = 4
# A closed-form estimate must be worse by so much to rule a candidate out.
_MARGIN = 1.1
_REPORT_EVERY = 50

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """Everything the search looked at.

    Attributes:
        screened: all candidates with their closed-form estimate.
        points: simulated candidates, with ``pareto`` telling which are not dominated.
        sla_met: the pick is within the targets.
        binding: the constraint that rules everything out when it is not.
        skipped: why a candidate of the short list was not simulated, by label.
        alternatives: the pick in other precisions, estimated only; they change the
            checkpoint.
    """

    request: SearchRequest
    rejections: tuple[Rejection, ...]
    screened: tuple[Screened, ...]
    points: tuple[Measured, ...]
    pareto: tuple[bool, ...]
    picked: Measured
    sla_met: bool = True
    binding: str = ""
    skipped: Mapping[str, str] = field(default_factory=dict)
    alternatives: tuple[Screened, ...] = ()


def search(
    request: SearchRequest, estimator: Estimator, simulator: Simulator, progress: Progress
) -> SearchResult:
    """Find the deployment.

    Raises:
        InfeasibleError: no candidate holds the model and one request, or none meets the
            targets and the request wants that to fail; names the binding constraint.
    """
    found = enumerate_candidates(request, estimator)
    screen = Screen(request, estimator)
    screened = []
    for number, candidate in enumerate(found.candidates, start=1):
        screened.append(screen.screen(candidate))
        if number % _REPORT_EVERY == 0 or number == len(found.candidates):
            progress("screening", number, len(found.candidates))
    stage = _Simulations(request, Rehearsal(request, simulator), progress)
    stage.run(_short_list(request, (s for s in screened if s.feasible)))
    if not stage.any_meets and request.when_infeasible is WhenInfeasible.CLOSEST:
        stage.run_as_is(sorted(screened, key=lambda s: s.miss))
    points = list(stage.points.values())
    simulated = [(stage.entries[label], point) for label, point in stage.points.items()]
    picked = pick(request, simulated)
    if picked is None and (request.when_infeasible is WhenInfeasible.FAIL or not points):
        raise infeasible(request, found.rejections, screened, simulated)
    missed = "" if picked else binding(request, found.rejections, screened, simulated)
    best = picked or closest(request, simulated)[0]
    others = [in_precision(best.sized.candidate, p) for p in request.alternatives]
    return SearchResult(
        request=request,
        rejections=found.rejections,
        screened=tuple(screened),
        points=tuple(points),
        pareto=tuple(pareto_front(points)),
        picked=best,
        sla_met=picked is not None,
        binding=missed,
        skipped=stage.skipped,
        alternatives=tuple(
            screen.screen(other)
            for other in others
            if not any(no_room(request, estimator, e) for e in other.engines.values())
        ),
    )


class _Simulations:
    """Simulates lists of candidates and remembers what became of them."""

    def __init__(self, request: SearchRequest, rehearsal: Rehearsal, progress: Progress) -> None:
        self._request = request
        self._rehearsal = rehearsal
        self._progress = progress
        self.points: dict[str, Measured] = {}
        self.entries: dict[str, Screened] = {}
        self.skipped: dict[str, str] = {}
        self._best: tuple[Screened, Measured] | None = None

    @property
    def any_meets(self) -> bool:
        """Whether a candidate is within the targets."""
        return self._best is not None

    @property
    def _gpus_max(self) -> int:
        """No candidate need grow beyond the best one."""
        if self._best is None or self._request.load is None:
            return self._request.total_gpus
        return self._best[1].sized.gpus

    def run(self, entries: Sequence[Screened]) -> None:
        """Simulate those that may be better than what is known, at their best size."""
        groups = set()
        for number, entry in enumerate(entries, start=1):
            label, group = entry.sized.candidate.label, _group(entry)
            reason = self._hopeless(entry)
            # The first of each kind is simulated anyway, so that kinds can be compared.
            first = group not in groups
            groups.add(group)
            if reason and not first:
                self.skipped[label] = reason
            else:
                contends = self._best is None or entry.sized.gpus < self._gpus_max
                found = self._rehearsal.run(entry, self._gpus_max, contends=contends)
                self._keep(entry, found)
                if meets(found) and self._improves(entry, found):
                    self._best = entry, found
            self._progress("simulating", number, len(entries))

    def run_as_is(self, entries: Sequence[Screened]) -> None:
        """Simulate the first few as they are."""
        entries = [e for e in entries if e.sized.candidate.label not in self.points]
        for number, entry in enumerate(entries[:CLOSEST_LIST], start=1):
            self._keep(entry, self._rehearsal.as_is(entry))
            self._progress("simulating", number, min(CLOSEST_LIST, len(entries)))

    def _keep(self, entry: Screened, found: Measured) -> None:
        label = entry.sized.candidate.label
        self.points[label] = found
        self.entries[label] = entry

    def _improves(self, entry: Screened, found: Measured) -> bool:
        if self._best is None:
            return True
        best_entry, best = self._best
        if self._request.load is not None:
            return found.sized.gpus < best.sized.gpus
        if self._request.mode is PickMode.AUTOSCALE:
            return entry.unit_cost < best_entry.unit_cost
        return found.tokens_per_s > best.tokens_per_s

    def _hopeless(self, entry: Screened) -> str:
        """Why a candidate cannot be better than the best one so far, by its estimates."""
        request = self._request
        single = request.mode is PickMode.AUTOSCALE and request.load is None
        if self._best is None or single or request.preference is OptimizationType.LATENCY:
            return ""
        best_entry, best = self._best
        slower = entry.ttft_ms >= best_entry.ttft_ms * _MARGIN
        slower = slower and entry.itl_ms >= best_entry.itl_ms * _MARGIN
        name = best_entry.sized.candidate.label
        if self._request.load is not None:
            dearer = entry.gpus_min > best.sized.gpus
            reason = f"needs at least {entry.gpus_min} GPUs and is slower than {name}"
        else:
            dearer = entry.rate_max_per_s * self._request.osl < best.tokens_per_s
            rate = entry.rate_max_per_s
            reason = f"serves at most {rate:.2f} requests/s and is slower than {name}"
            slower = True
        return reason if dearer and slower else ""


def _short_list(request: SearchRequest, screened: Iterable[Screened]) -> list[Screened]:
    """The most promising candidates of each backend and topology, the best of all first."""
    groups: dict[tuple[Backend, Topology], list[Screened]] = {}
    for entry in screened:
        groups.setdefault(_group(entry), []).append(entry)
    size = SHORT_LIST if len(request.step_tokens) == 1 else SHORT_LIST_OF_SEVERAL
    chosen: list[Screened] = []
    for entries in groups.values():
        chosen += sorted(entries, key=lambda e: _rank(request, e))[:size]
    return sorted(chosen, key=lambda e: _rank(request, e))


def _group(entry: Screened) -> tuple[Backend, Topology]:
    return entry.sized.candidate.backend, entry.sized.candidate.topology


def _rank(request: SearchRequest, entry: Screened) -> tuple[float | str, ...]:
    """What the pick will look at, as the screen sees it; aggregated first where all is equal."""
    sla, candidate = request.sla, entry.sized.candidate
    latency_ms = entry.ttft_ms + (request.osl - 1) * entry.itl_ms
    latency = request.preference is OptimizationType.LATENCY
    margin = latency_ms
    if not latency and sla.e2e_ms is None:
        margin = entry.ttft_ms / sla.ttft_ms + entry.itl_ms / sla.itl_ms
    split = candidate.topology is Topology.DISAGG and not latency
    last = (float(split), margin, candidate.label)
    if request.load is not None:
        cost = entry.unit_cost if request.mode is PickMode.AUTOSCALE else 0.0
        guess = (entry.gpus_min + min(entry.gpus_needed, request.total_gpus)) / 2
        return guess, cost, *last
    if request.mode is PickMode.AUTOSCALE:
        return entry.unit_cost, *last
    if latency:
        return latency_ms, *last
    return -entry.sized.rate_per_s, *last
