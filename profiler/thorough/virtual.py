"""Deployer and measurer ``sim``: the simulator in virtual time, no HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from contracts.errors import InfeasibleError, UnsupportedError
from contracts.plan import EngineSpec, Role
from contracts.ports import RatedStepTimer, TimerFactory
from contracts.records import RequestStatus
from contracts.units import NS_PER_S, ns_to_s
from contracts.workload import RequestSpec
from profiler.thorough.candidates import kv_tokens_of
from profiler.thorough.isolate import isolated_plan
from profiler.thorough.ports import (
    Burst,
    CandidateError,
    Measurement,
    Order,
    PointError,
    Served,
)
from profiler.thorough.summary import steady_burst, whole_requests
from simcore.closed_loop import simulate_closed_loop
from simcore.cluster import Cluster
from simcore.cluster.worker import Worker
from simcore.kernel import Kernel
from simcore.perf import roofline

# A burst that is not through after this long never will be.
_LIMIT_NS = 24 * 3600 * NS_PER_S


class VirtualClock:
    """Time that passes only when something is deployed or measured."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def now_s(self) -> float:
        """Virtual seconds."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now_s += seconds


class SimDeployer:
    """Engines that exist as plans only.

    Args:
        clock: advanced by the start-up time of each engine.
        startup_s: until an engine is ready.
        timer_for: step times of an engine.
    """

    def __init__(
        self, clock: VirtualClock, startup_s: float = 0.0, timer_for: TimerFactory = roofline
    ) -> None:
        self._clock = clock
        self._startup_s = startup_s
        self._timer_for = timer_for

    @contextmanager
    def running(self, order: Order) -> Iterator[Served]:
        """See the port; an engine without step times does not come up."""
        try:
            self._timer_for(order.engine)
        except (UnsupportedError, InfeasibleError) as error:
            raise CandidateError(str(error)) from error
        self._clock.advance(self._startup_s)
        yield Served(order=order, url="", kv_tokens=kv_tokens_of(order.engine), kv_source="planned")


class VirtualMeasurer:
    """Measures by simulating; the same burst gives the same figures, whatever the seed."""

    def __init__(self, clock: VirtualClock, timer_for: TimerFactory = roofline) -> None:
        self._clock = clock
        self._timer_for = timer_for

    def measure(self, served: Served, burst: Burst) -> Measurement:
        """See the port."""
        if burst.steady:
            return self._steady(served, burst)
        plan = isolated_plan(served.order)
        record = simulate_closed_loop(
            plan,
            isl=np.full(burst.requests, burst.isl, dtype=np.int64),
            osl=np.full(burst.requests, burst.osl, dtype=np.int64),
            concurrency=burst.concurrency,
            timer_for=self._timer_of(served.order),
        )
        table = record.table
        if not table.completed.all():
            raise PointError(f"{int((~table.completed).sum())} of {len(table)} requests failed")
        self._clock.advance(record.duration_s)
        return whole_requests(burst, table.arrival_ns, table.first_token_ns, table.finish_ns)

    def _steady(self, served: Served, burst: Burst) -> Measurement:
        listener = _Tokens(burst.requests)
        kernel = Kernel()
        cluster = Cluster(
            kernel,
            isolated_plan(served.order),
            listener=listener,
            step_events=True,
            timer_for=self._timer_of(served.order),
        )
        for index in range(burst.requests):
            cluster.submit(
                RequestSpec(request_id=index, arrival_ns=0, isl=burst.isl, osl=burst.osl)
            )
        kernel.run(_LIMIT_NS)
        if listener.failed or listener.ended < burst.requests:
            raise PointError(listener.failed or "requests did not end")
        self._clock.advance(ns_to_s(kernel.now_ns))
        times = [np.array(each, dtype=np.int64) for each in listener.times_ns]
        return steady_burst(np.zeros(burst.requests, dtype=np.int64), times)

    def _timer_of(self, order: Order) -> TimerFactory:
        """The instant prefill in front of a decode engine is always a roofline."""

        def timer_for(engine: EngineSpec) -> RatedStepTimer:
            front = order.role is Role.DECODE and engine != order.engine
            return roofline(engine) if front else self._timer_for(engine)

        return timer_for


class _Tokens:
    """Notes when tokens become visible."""

    def __init__(self, requests: int) -> None:
        self.times_ns: list[list[int]] = [[] for _ in range(requests)]
        self.ended = 0
        self.failed = ""

    def on_tokens(self, request_id: int, generated: int, at_ns: int) -> None:
        times = self.times_ns[request_id]
        times.extend([at_ns] * (generated - len(times)))

    def on_step(self, worker: Worker, at_ns: int) -> None:
        for request_id, generated in worker.engine.progress():
            self.on_tokens(request_id, generated, at_ns)

    def on_end(self, request_id: int, status: RequestStatus, reason: str, at_ns: int) -> None:
        del at_ns
        self.ended += 1
        if status is not RequestStatus.COMPLETED:
            self.failed = f"request {request_id}: {reason or status.value}"
