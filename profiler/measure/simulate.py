"""Simulates a sized candidate under the load that it shall serve.

Open loops draw Poisson arrivals; closed loops keep a number of requests in flight; a trace
is replayed. The first requests, which meet an empty deployment, do not count. While the
share of requests within the targets cannot be told from the one that is asked for, further
independent runs are added, so that another seed leads to the same verdict.
"""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import numpy.typing as npt

from contracts.hardware import Evidence
from contracts.plan import DeploymentPlan, RouterPolicy
from contracts.records import RequestTable
from contracts.streams import RandomStreams
from contracts.workload import IntArray
from profiler.core.pick import ATTAINMENT_MIN
from profiler.core.request import SearchRequest, Sized, TraceLoad
from profiler.core.results import Measured, Quantiles
from profiler.measure.engines import EngineFactory
from simcore.closed_loop import ClosedLoopWindow, simulate_closed_loop
from simcore.simulation import simulate
from simcore.workload import Lengths, PoissonArrivals, synthesize

# Requests that count, run by run: 400 suffice unless the verdict hangs in the balance.
RUNS = (400, 800, 1200)
WARMUP_MAX = 400
# Runs are cut into blocks whose means are taken as independent.
_BLOCKS = 10
_CONFIDENCE = 1.96
_CLEAR = 1.6
_WEAKEST = (Evidence.ESTIMATED, Evidence.CALIBRATED, Evidence.MEASURED)
_Floats = npt.NDArray[np.float64]


class SimcoreSimulator:
    """Answers :class:`profiler.core.ports.Simulator`; equal seeds give equal answers."""

    def __init__(
        self, request: SearchRequest, engines: EngineFactory, *, router: RouterPolicy, seed: int
    ) -> None:
        self._request = request
        self._engines = engines
        self._router = router
        self._seeds = RandomStreams(seed).stream("profiler.runs").integers(2**32, size=len(RUNS))

    def simulate(self, sized: Sized, *, sure: bool = True) -> Measured:
        """Serve the declared load; see the module and the port."""
        plan = self._engines.plan(sized, name="candidate", startup_s=0.0, router=self._router)
        load = self._request.load
        if isinstance(load, TraceLoad):
            table = simulate(plan, load.workload, timer_for=self._engines.same_timer).table
            return self._measured(sized, [table], sampled=False)
        tables: list[RequestTable] = []
        for count, seed in zip(RUNS, self._seeds.tolist(), strict=True):
            tables.append(self._run(plan, sized, count, RandomStreams(seed)))
            found = self._measured(sized, tables, sampled=True)
            # Looking several times would make chance verdicts likely, so early looks are strict.
            clear = _CLEAR * found.attainment_error
            if not sure or abs(found.attainment_ratio - ATTAINMENT_MIN) > clear:
                break
        return found

    def _run(
        self, plan: DeploymentPlan, sized: Sized, count: int, streams: RandomStreams
    ) -> RequestTable:
        """So many requests that count, in order of arrival."""
        if sized.concurrency is not None:
            return self._closed_loop(plan, sized.concurrency, count, streams)
        held = math.ceil(sized.rate_per_s * sized.latency_ms / 1e3)
        skipped = min(WARMUP_MAX, held)
        # A little longer than on average, so that enough arrive.
        span_s = (count + skipped) * 1.2 / sized.rate_per_s
        workload = synthesize(
            PoissonArrivals(rate_per_s=sized.rate_per_s),
            duration_s=span_s,
            isl=Lengths(mean=self._request.isl),
            osl=Lengths(mean=self._request.osl),
            streams=streams,
        )
        last = min(len(workload), count + skipped)
        kept = replace(
            workload,
            arrival_ns=workload.arrival_ns[:last],
            isl=workload.isl[:last],
            osl=workload.osl[:last],
        )
        table = simulate(plan, kept, timer_for=self._engines.same_timer).table
        return _rows(table, min(skipped, last // 2), last)

    def _closed_loop(
        self, plan: DeploymentPlan, concurrency: int, count: int, streams: RandomStreams
    ) -> RequestTable:
        """The first outputs are cut at random places, as if the loop had run for long."""
        isl, osl = self._request.isl, self._request.osl
        counted = max(count, 2 * concurrency)
        total = counted + concurrency
        outputs = np.full(total, osl, dtype=np.int64)
        drawn = streams.stream("profiler.outputs").integers(1, osl, size=concurrency, endpoint=True)
        outputs[:concurrency] = drawn
        record = simulate_closed_loop(
            plan,
            isl=np.full(total, isl, dtype=np.int64),
            osl=outputs,
            concurrency=concurrency,
            window=ClosedLoopWindow(warmup_requests=concurrency),
            timer_for=self._engines.same_timer,
        )
        return record.table

    def _measured(self, sized: Sized, tables: list[RequestTable], *, sampled: bool) -> Measured:
        good = [self._good(table) for table in tables]
        share = float(np.mean(np.concatenate(good)))
        timers = [self._engines.timer(engine) for engine in sized.candidate.engines.values()]
        return Measured(
            sized=sized,
            attainment_ratio=share,
            attainment_error=_error(good, share) if sampled else 0.0,
            requests=sum(len(table) for table in tables),
            ttft=_quantiles([table.ttft_ms for table in tables]),
            itl=_quantiles([table.itl_ms for table in tables]),
            e2e=_quantiles([table.e2e_ms for table in tables]),
            tokens_per_s_per_gpu=self._tokens_per_s(sized, tables) / sized.gpus,
            evidence=min((timer.evidence for timer in timers), key=_WEAKEST.index),
            error_ratio=max(timer.error_ratio for timer in timers),
        )

    def _tokens_per_s(self, sized: Sized, tables: list[RequestTable]) -> float:
        """Output tokens a second, by the rate at which requests end.

        For random arrivals it is the declared rate, less what the ends lag behind the arrivals:
        the luck of a draw is no property of a candidate.
        """
        tokens = sum(int(table.osl[table.completed].sum()) for table in tables)
        ends_s = sum(_span_s(table.finish_ns[table.completed]) for table in tables)
        if sized.concurrency is not None or isinstance(self._request.load, TraceLoad):
            return tokens / ends_s
        offered = sum(int(table.osl.sum()) for table in tables)
        arrivals_s = sum(_span_s(table.arrival_ns) for table in tables)
        served = tokens / offered * min(1.0, arrivals_s / ends_s)
        return sized.rate_per_s * self._request.osl * served

    def _good(self, table: RequestTable) -> _Floats:
        """1 for each request within the targets, else 0."""
        sla = self._request.sla
        with np.errstate(invalid="ignore"):
            if sla.e2e_ms is not None:
                good = table.e2e_ms <= sla.e2e_ms
            else:
                itl_ok = (table.itl_ms <= sla.itl_ms) | (table.osl <= 1)
                good = (table.ttft_ms <= sla.ttft_ms) & itl_ok
        return np.asarray(good & table.completed, dtype=np.float64)


def _rows(table: RequestTable, first: int, last: int) -> RequestTable:
    columns = {field.name: getattr(table, field.name)[first:last] for field in fields(table)}
    return RequestTable(**columns)


def _span_s(times_ns: IntArray) -> float:
    """Time in which as many events happen as there are, at their mean distance."""
    if len(times_ns) < 2:
        return 1.0
    span_ns = float(times_ns.max() - times_ns.min())
    return max(1.0, span_ns) / 1e9 * len(times_ns) / (len(times_ns) - 1)


def _error(good: list[_Floats], share: float) -> float:
    """Half of the confidence interval of a share, from the means of blocks.

    Requests near each other in time have similar latencies, so single requests are not
    independent. The bound of the normal approximation is a rule of succession where all
    blocks agree.
    """
    blocks = [block for run in good for block in np.array_split(run, _BLOCKS) if len(block)]
    means = np.array([float(block.mean()) for block in blocks])
    weights = np.array([len(block) for block in blocks], dtype=np.float64)
    weights /= weights.sum()
    spread = float(np.sum(weights**2 * (means - share) ** 2))
    count = sum(len(run) for run in good)
    smallest = math.sqrt((share + 1 / count) * (1 - share + 1 / count) / count)
    return _CONFIDENCE * max(math.sqrt(spread), smallest)


def _quantiles(columns: list[_Floats]) -> Quantiles:
    values = np.concatenate(columns)
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return Quantiles(p50=math.inf, p90=math.inf, p99=math.inf)
    p50, p90, p99 = (float(value) for value in np.percentile(known, (50, 90, 99)))
    return Quantiles(p50=p50, p90=p90, p99=p99)
