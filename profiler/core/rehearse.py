"""Simulation of the promising candidates: how many replicas, or how much load, is right."""

from __future__ import annotations

import math
from dataclasses import replace

from contracts.plan import Role
from contracts.sla import OptimizationType
from profiler.core.pick import meets
from profiler.core.ports import Simulator
from profiler.core.request import SearchRequest, Sized, TraceLoad
from profiler.core.results import Measured, Screened
from profiler.core.screen import RESERVE

# A candidate that misses its targets may grow so many times, each time by an eighth.
_GROWTHS = 6
# The screen has sized a candidate with a reserve. Fewer replicas do when they serve this much
# more than the load, well beyond what the luck of a seed makes out.
_SURE = RESERVE**2
# Without a load the rate is looked for on a ladder with these rungs.
_RUNG = 1.1
_RUNGS_UP, _RUNGS_DOWN = 3, 5
# Whom to blame for late first tokens: a prefill pool this idle is not it.
_PREFILL_IDLE = 0.5


class Rehearsal:
    """Simulates screened candidates one by one."""

    def __init__(self, request: SearchRequest, simulator: Simulator) -> None:
        self._request = request
        self._simulator = simulator

    def run(self, entry: Screened, gpus_max: int, *, contends: bool = True) -> Measured:
        """The candidate at the size or load at which it just meets its targets.

        When it never does within ``gpus_max``, the last attempt.

        Args:
            entry: the candidate.
            gpus_max: it need not grow beyond that.
            contends: it may be the best one so far, so that close calls are worth a long look.
        """
        if self._request.load is not None:
            return self._sized_for_load(entry, gpus_max, contends=contends)
        return self._highest_rate(entry)

    def as_is(self, entry: Screened) -> Measured:
        """The candidate as the screen has sized it."""
        return self._simulator.simulate(entry.sized)

    # -- a load is given: the fewest replicas ----------------------------------------

    def _sized_for_load(self, entry: Screened, gpus_max: int, *, contends: bool) -> Measured:
        found = self._simulator.simulate(entry.sized, sure=contends)
        if meets(found):
            return self._shrunk(entry, found, gpus_max)
        for _ in range(_GROWTHS):
            larger = self._grown(entry, found)
            if larger.gpus > gpus_max:
                break
            found = self._simulator.simulate(larger, sure=contends)
            if meets(found):
                break
        return found

    def _shrunk(self, entry: Screened, found: Measured, gpus_max: int) -> Measured:
        """Take replicas away, first where most are idle, while even a higher load is served.

        Only for a candidate that then needs no more GPUs than the best one.
        """
        while True:
            for role in sorted(found.sized.replicas, key=lambda r: _busy(entry, found.sized, r)):
                smaller = _with(found.sized, role, -1)
                if smaller is None or not entry.gpus_min <= smaller.gpus <= gpus_max:
                    continue
                tried = self._under_more(smaller)
                if tried is not None:
                    found = tried
                    break
            else:
                return found

    def _under_more(self, sized: Sized) -> Measured | None:
        """What the candidate does under its load, ``None`` when it misses under a higher one."""
        if isinstance(self._request.load, TraceLoad):
            found = self._simulator.simulate(sized)
            return found if meets(found) else None
        held = sized.concurrency
        more = replace(
            sized,
            rate_per_s=_SURE * sized.rate_per_s,
            concurrency=None if held is None else math.ceil(_SURE * held),
        )
        if not meets(self._simulator.simulate(more)):
            return None
        found = self._simulator.simulate(sized)
        return found if meets(found) else None

    def _grown(self, entry: Screened, found: Measured) -> Sized:
        sized, sla = found.sized, self._request.sla
        role = next(iter(sized.replicas))
        if Role.DECODE in sized.replicas:
            slow_tokens = found.itl.p90 / sla.itl_ms > max(1.0, found.ttft.p90 / sla.ttft_ms)
            if slow_tokens or _busy(entry, sized, Role.PREFILL) < _PREFILL_IDLE:
                role = Role.DECODE
        more = max(1, sized.replicas[role] // 8)
        return replace(sized, replicas={**sized.replicas, role: sized.replicas[role] + more})

    # -- no load is given: the highest rate ------------------------------------------

    def _highest_rate(self, entry: Screened) -> Measured:
        found = self._simulator.simulate(entry.sized, sure=False)
        if not meets(found):
            for _ in range(_RUNGS_DOWN):
                found = self._at(found, 1 / _RUNG)
                if meets(found):
                    break
            return found
        if self._request.preference is OptimizationType.LATENCY:
            return found
        for _ in range(_RUNGS_UP):
            faster = self._at(found, _RUNG)
            if not meets(faster):
                faster = self._at(found, _RUNG**0.5)
                return faster if meets(faster) else found
            found = faster
        return found

    def _at(self, found: Measured, factor: float) -> Measured:
        sized = replace(found.sized, rate_per_s=found.sized.rate_per_s * factor)
        # Each rung is far enough from the next that a short look is enough.
        return self._simulator.simulate(sized, sure=False)


def _with(sized: Sized, role: Role, more: int) -> Sized | None:
    """The same with more or fewer replicas of a role, ``None`` when none would be left."""
    count = sized.replicas[role] + more
    return replace(sized, replicas={**sized.replicas, role: count}) if count >= 1 else None


def _busy(entry: Screened, sized: Sized, role: Role) -> float:
    """Share of a pool's capacity within the targets that the load takes."""
    return sized.rate_per_s / (entry.capacity_per_s[role] * sized.replicas[role])
