"""Simulates a sized candidate under Poisson arrivals at the rate it shall serve."""

from __future__ import annotations

import numpy as np

from contracts.plan import RouterPolicy
from contracts.streams import RandomStreams
from profiler.core.request import Measured, SearchRequest, Sized
from profiler.measure.engines import EngineFactory
from simcore.simulation import simulate
from simcore.workload import Lengths, PoissonArrivals, synthesize

REQUESTS = 400


class SimcoreSimulator:
    """Answers :class:`profiler.core.ports.Simulator`; equal seeds give equal answers."""

    def __init__(
        self, request: SearchRequest, engines: EngineFactory, *, router: RouterPolicy, seed: int
    ) -> None:
        self._request = request
        self._engines = engines
        self._router = router
        self._streams = RandomStreams(seed)

    def simulate(self, sized: Sized) -> Measured:
        """Serve about 400 requests of the declared lengths."""
        plan = self._engines.plan(sized, name="candidate", startup_s=0.0, router=self._router)
        workload = synthesize(
            PoissonArrivals(rate_per_s=sized.rate_per_s),
            duration_s=REQUESTS / sized.rate_per_s,
            isl=Lengths(mean=self._request.isl),
            osl=Lengths(mean=self._request.osl),
            streams=self._streams,
        )
        table = simulate(plan, workload, timer_for=self._engines.timer_for).table
        sla = self._request.sla
        if sla.e2e_ms is not None:
            good = table.e2e_ms <= sla.e2e_ms
        else:
            itl_ok = (table.itl_ms <= sla.itl_ms) | (table.osl <= 1)
            good = (table.ttft_ms <= sla.ttft_ms) & itl_ok
        span_s = (int(table.finish_ns.max()) - int(table.arrival_ns[0])) / 1e9
        tokens = int(table.osl[table.completed].sum())
        return Measured(
            sized=sized,
            attainment_ratio=float(np.mean(good & table.completed)),
            ttft_ms=_median(table.ttft_ms),
            itl_ms=_median(table.itl_ms),
            e2e_ms=_median(table.e2e_ms),
            tokens_per_s_per_gpu=tokens / span_s / sized.gpus,
        )


def _median(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else 0.0
