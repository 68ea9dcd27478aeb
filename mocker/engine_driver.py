"""Drives the simulator's cluster against the wall clock.

Simulated time is ``(wall - t0) * speed``, always computed from ``t0``, so errors never
add up. One timer is armed for the next event of the kernel; when it fires, everything
that is due runs at once and late steps coalesce.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from contracts.decision import RoleTarget
from contracts.errors import InputError
from contracts.faults import LostRequestPolicy
from contracts.observation import ClusterSnapshot
from contracts.plan import DeploymentPlan
from contracts.ports import TimerFactory
from contracts.records import RequestStatus, RunRecord
from contracts.units import NS_PER_S, ns_to_s
from contracts.workload import RequestSpec
from mocker.clock import Clock
from mocker.faults import FaultRequest
from mocker.metrics import ServerMetrics
from simcore.cluster import Cluster
from simcore.kernel import Kernel
from simcore.perf import roofline


class TokenSink(Protocol):
    """Receives what happens to one request."""

    def on_tokens(self, generated: int) -> None:
        """``generated`` output tokens are visible in all."""
        ...

    def on_end(self, status: RequestStatus, reason: str) -> None:
        """Nothing more will come."""
        ...


@dataclass(slots=True)
class _Live:
    """A request in the cluster, with what the metrics need."""

    sink: TokenSink
    isl: int
    osl: int
    arrival_ns: int
    generated: int = 0
    last_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """What a client sends, reduced to what the engine needs."""

    isl: int
    osl: int
    client_id: str | None = None


class EngineDriver:
    """Owns kernel and cluster of one deployment; call :meth:`start` inside the event loop.

    Args:
        plan: the deployment.
        speed: simulated seconds in a second of wall time.
        clock: the wall clock.
        lost_policy: what happens to requests of a worker that dies.
        timer_for: step times of an engine.
    """

    def __init__(
        self,
        plan: DeploymentPlan,
        *,
        speed: float,
        clock: Clock,
        lost_policy: LostRequestPolicy = LostRequestPolicy.RETRY,
        timer_for: TimerFactory = roofline,
    ) -> None:
        self.plan = plan
        self.metrics = ServerMetrics()
        self._speed = speed
        self._clock = clock
        self._lost_policy = lost_policy
        self._timer_for = timer_for
        self._timer: asyncio.TimerHandle | None = None
        self._live: dict[int, _Live] = {}
        self._next_id = 0
        self.client_ids: list[str | None] = []
        self.t0_ns = clock.now_ns()
        self.created_s = clock.unix_s()
        self._reset()

    # -- time ------------------------------------------------------------------------

    @property
    def speed(self) -> float:
        """Simulated seconds in a second of wall time."""
        return self._speed

    def now_ns(self) -> int:
        """Simulated time that should have passed by now."""
        return max(0, int((self._clock.now_ns() - self.t0_ns) * self._speed))

    def restart_clock(self) -> None:
        """Begin again at simulated time zero with the planned workers.

        Raises:
            InputError: requests are in flight.
        """
        if self._live:
            raise InputError(
                "the clock cannot restart while requests are in flight",
                path="clock",
                value=f"{len(self._live)} requests",
            )
        self.t0_ns = self._clock.now_ns()
        self._reset()
        self._arm()

    def run_due(self) -> None:
        """Run every event whose time has come and arm the timer for the next one."""
        self._kernel.run_until(self.now_ns())
        self._arm()

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- requests --------------------------------------------------------------------

    def submit(self, request: Submitted, sink: TokenSink) -> int:
        """Hand a request to the cluster now; returns its id."""
        self._kernel.run_until(self.now_ns())
        request_id = self._next_id
        self._next_id += 1
        now_ns = self._kernel.now_ns
        self.client_ids.append(request.client_id)
        self._live[request_id] = _Live(sink, request.isl, request.osl, now_ns)
        self._cluster.submit(
            RequestSpec(request_id=request_id, arrival_ns=now_ns, isl=request.isl, osl=request.osl)
        )
        self._arm()
        return request_id

    def cancel(self, request_id: int) -> None:
        """The client has gone; unknown ids are ignored."""
        if request_id in self._live:
            self._kernel.run_until(self.now_ns())
            self._cluster.cancel(request_id)
            self._arm()

    def on_tokens(self, request_id: int, generated: int, at_ns: int) -> None:
        """Pass tokens on; see :class:`simcore.cluster.ClusterListener`."""
        live = self._live[request_id]
        new_tokens = generated - live.generated
        if new_tokens <= 0:
            return
        if live.generated == 0:
            self.metrics.on_first_token(at_ns - live.arrival_ns)
        else:
            self.metrics.on_tokens(new_tokens, at_ns - live.last_ns)
        live.generated, live.last_ns = generated, at_ns
        live.sink.on_tokens(generated)

    def on_end(self, request_id: int, status: RequestStatus, reason: str, at_ns: int) -> None:
        """Pass the end on; see :class:`simcore.cluster.ClusterListener`."""
        live = self._live.pop(request_id)
        if status is RequestStatus.COMPLETED:
            self.metrics.on_finish(live.isl, live.osl, at_ns - live.arrival_ns, "length")
        live.sink.on_end(status, reason)

    # -- administration --------------------------------------------------------------

    def snapshot(self) -> ClusterSnapshot:
        """What a planner may see now."""
        self.run_due()
        return self._cluster.snapshot()

    def scale(self, targets: list[RoleTarget]) -> None:
        """Order or drain workers; see the cluster for what is refused."""
        self.run_due()
        self._cluster.scale(targets)
        self._arm()

    def inject(self, fault: FaultRequest) -> None:
        """Make a fault happen now; one that hits nothing is refused."""
        self.run_due()
        self._cluster.inject(fault.to_fault(ns_to_s(self._kernel.now_ns)))
        self._arm()

    def record(self) -> RunRecord:
        """Everything since the clock was started."""
        self.run_due()
        return self._cluster.record()

    def _reset(self) -> None:
        self._kernel = Kernel()
        self._next_id = 0
        self.client_ids = []
        self._cluster = Cluster(
            self._kernel,
            self.plan,
            listener=self,
            lost_policy=self._lost_policy,
            step_events=True,
            timer_for=self._timer_for,
        )

    def _arm(self) -> None:
        self.close()
        next_ns = self._kernel.peek_ns()
        if next_ns is None:
            return
        due_ns = self.t0_ns + -int(-next_ns // self._speed)
        loop = asyncio.get_running_loop()
        delay_s = max(0, due_ns - self._clock.now_ns()) / NS_PER_S
        self._timer = loop.call_at(loop.time() + delay_s, self._fire, due_ns)

    def _fire(self, due_ns: int) -> None:
        self._timer = None
        lag_ns = self._clock.now_ns() - due_ns
        if lag_ns >= 0:
            self.metrics.pacing_lag_s.observe(lag_ns / NS_PER_S)
        self.run_due()
