"""Drives the simulator's cluster against the wall clock.

The kernel's queue is the one heap of engine-step deadlines of the process. One alarm is set
to the earliest of them; when it rings, everything that is due runs, and only then are the
sinks told, each once: steps that are late reach a client as one write.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

from contracts.decision import RoleTarget
from contracts.errors import InputError
from contracts.faults import Fault
from contracts.observation import ClusterSnapshot
from contracts.plan import DeploymentPlan
from contracts.records import RequestStatus, RunRecord
from contracts.units import ns_to_s
from contracts.workload import RequestSpec
from mocker.clock import Clock
from mocker.engines.live import ClientNames, LiveAnswer
from mocker.engines.news import News
from mocker.engines.options import DriverOptions, card_of, refusal_of
from mocker.engines.pacer import Pacer
from mocker.engines.port import ModelCard, Outcome, Submitted, TokenSink
from mocker.metrics.server import Finished, ServerMetrics
from simcore.cluster import Cluster
from simcore.cluster.pool import held_back
from simcore.cluster.worker import Worker
from simcore.engine import StepReport
from simcore.engine.events import tokens_always_served
from simcore.kernel import Kernel
from simcore.observe import RollingRecorder

# A run of late steps is cut after the first of these, so that requests and disconnects are
# heard in between; where telling the sinks takes long, after four times as long, so that what
# is late is written together instead of falling behind for ever.
SLICE_NS, SLICE_NS_MAX = 5_000_000, 250_000_000

StepListener = Callable[[Worker, StepReport], None]


class EngineDriver:
    """Owns kernel and cluster of one deployment; lives in one event loop.

    Args:
        plan: the deployment.
        clock: the wall clock.

    Attributes:
        step_listeners: are told about every step of every engine.
    """

    def __init__(
        self, plan: DeploymentPlan, *, clock: Clock, options: DriverOptions | None = None
    ) -> None:
        self.plan = plan
        self.metrics = ServerMetrics()
        self.step_listeners: list[StepListener] = []
        self._options = options or DriverOptions()
        self._clock = clock
        self._pacer = Pacer(clock, self._options.speed, self.run_due)
        self._live: dict[int, LiveAnswer] = {}
        self._arrivals: dict[int, tuple[Submitted, TokenSink]] = {}
        self._news = News(self._live, self.metrics, self._note_lag)
        self._telling = False
        self._telling_ns = 0
        self._behind = False
        self._streams = 0
        self._card = card_of(plan, clock.unix_s())
        self._safe_tokens = min(
            tokens_always_served(pool.engine.limits) for pool in plan.topology.pools
        )
        self._reset()

    @property
    def card(self) -> ModelCard:
        """What is served."""
        return self._card

    @property
    def speed(self) -> float:
        """Simulated seconds in a second of wall time."""
        return self._pacer.speed

    @property
    def t0_ns(self) -> int:
        """Wall instant of simulated zero."""
        return self._pacer.t0_ns

    def now_ns(self) -> int:
        """Simulated time that should have passed by now."""
        return self._pacer.due_ns() if self._pacer.paced else self._kernel.now_ns

    @property
    def next_event_ns(self) -> int | None:
        """Simulated instant of the next event; ``None`` when all is at rest."""
        return self._kernel.peek_ns()

    def restart_clock(self) -> None:
        """Begin again at simulated time zero with the planned workers.

        Raises:
            InputError: requests are in flight.
        """
        if self.in_flight:
            raise InputError(
                "the clock cannot restart while requests are in flight",
                path="clock",
                value=f"{self.in_flight} requests",
            )
        self._pacer.restart()
        self._reset()
        self._arm()

    def change_speed(self, speed: float) -> None:
        """Go on at another speed from now on.

        Raises:
            InputError: the speed is not positive.
        """
        self.run_due()
        self._pacer.change_speed(speed, self._kernel.now_ns)
        self._arm()

    def run_due(self) -> None:
        """Run what is due, up to a slice, tell the sinks, and set the alarm."""
        self._advance()
        if self._arrivals:
            self._take_arrivals()
        self._tell()
        self._arm()

    def close(self) -> None:
        """Stop the alarm."""
        self._pacer.close()

    def submit(self, request: Submitted, sink: TokenSink) -> int:
        """Take a request; returns its id.

        It arrives when the event loop has heard everybody who has something to say now, so
        that requests that come together are looked at together.
        """
        request_id = self._next_id
        self._next_id += 1
        self.metrics.running += 1
        if not self._arrivals:
            self._clock.when_heard(self._admit)
        self._arrivals[request_id] = request, sink
        return request_id

    def refusal(self, isl: int, osl: int) -> str | None:
        """Why a request of this size can never be served, ``None`` when it can."""
        return None if isl + osl <= self._safe_tokens else refusal_of(self.plan, isl, osl)

    def cancel(self, request_id: int) -> None:
        """The client has gone; unknown ids are ignored."""
        waiting = self._arrivals.pop(request_id, None)
        if waiting is not None:
            self.metrics.running -= 1
            waiting[1].on_end(Outcome(RequestStatus.CANCELLED, "cancelled by the client", 0))
        elif request_id in self._live:
            if not self._behind:
                self._advance()
            self._cluster.cancel(request_id)
            self._tell()
            self._arm()

    def _admit(self) -> None:
        """Hand over those who have come."""
        if not self._arrivals:
            return
        if not self._behind:
            self._advance()
        self._take_arrivals()
        self._tell()
        self._arm()

    def _take_arrivals(self) -> None:
        """Let the cluster have the requests that have come, at its present instant."""
        arrivals, self._arrivals = self._arrivals, {}
        now_ns = self._kernel.now_ns
        specs, streams = [], 0
        for request_id, (request, sink) in arrivals.items():
            self._live[request_id] = LiveAnswer(request, sink, now_ns)
            if request.client_id:
                self._names.add(request_id, request.client_id, self._recorder)
            streams += request.stream
            specs.append(
                RequestSpec(
                    request_id, now_ns, request.isl, request.osl, request.text, request.priority,
                    request.adapter, request.session,
                )
            )  # fmt: skip
        if streams and not self._streams:
            self._cluster.report_steps(every_step=True)
        self._streams += streams
        with held_back(self._cluster.pools):
            for spec in specs:
                self._cluster.submit(spec)

    @property
    def in_flight(self) -> int:
        """Requests that have not ended."""
        return len(self._live) + len(self._arrivals)

    @property
    def awaiting_first_token(self) -> int:
        """Requests without a token yet."""
        return sum(1 for live in self._live.values() if live.first_ns < 0)

    # -- the listener of the cluster; see simcore.cluster.ClusterListener ---------------

    def on_tokens(self, request_id: int, generated: int, at_ns: int) -> None:
        """The first token, or all of them."""
        live = self._live[request_id]
        self._news.settle(live)
        if generated > live.generated:
            self._news.on_tokens(live, generated, at_ns)

    def on_step(self, worker: Worker, at_ns: int) -> None:
        """A step has ended."""
        self._news.on_step(worker, at_ns)

    def on_end(self, request_id: int, status: RequestStatus, reason: str, at_ns: int) -> None:
        """A request has ended."""
        live = self._live.pop(request_id)
        self._news.settle(live)
        live.status, live.reason = status, reason
        self.metrics.running -= 1
        if live.request.stream:
            self._streams -= 1
            if self._streams == 0:
                self._cluster.report_steps(every_step=False)
                self._news.forget_cohorts()
        self.metrics.finish(
            Finished(
                live.request.isl, live.generated, live.arrival_ns, live.admitted_ns,
                live.first_ns, at_ns, live.request.max_tokens or 0,
            ),
            live.request.reason if status is RequestStatus.COMPLETED else "abort",
        )  # fmt: skip
        self._news.hold(live)

    def _on_step(self, worker: Worker, report: StepReport) -> None:
        metrics = self.metrics
        metrics.on_step(report)
        for request_id, cached in report.admitted:
            live = self._live.get(request_id)
            if live is not None and live.admitted_ns < 0:
                live.admitted_ns, live.cached = report.start_ns, cached
                metrics.on_admission(live.request.isl, cached)
        for listener in self.step_listeners:
            listener(worker, report)

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

    def inject(self, fault: Callable[[float], Fault]) -> None:
        """Make a fault happen now, given the time in seconds; one without a target is refused."""
        self.run_due()
        self._cluster.inject(fault(ns_to_s(self._kernel.now_ns)))
        self._tell()
        self._arm()

    def reset_prefix_caches(self) -> bool:
        """Forget cached prompts; False, and nothing happens, while requests run."""
        self.run_due()
        if self._live:
            return False
        for pool in self._cluster.pools:
            pool.reset_prefix_caches()
        return True

    def record(self) -> RunRecord:
        """Workers and faults since the clock was started, and the newest requests."""
        self.run_due()
        return self._cluster.record()

    def recorded_clients(self) -> list[str | None]:
        """What clients call the requests of the record, in its order."""
        return self._names.of(self._recorder.request_ids)

    def _reset(self) -> None:
        self._news.forget_cohorts()
        self._kernel = Kernel()
        self._recorder = RollingRecorder(self._options.record_keep)
        self._next_id = 0
        self._names = ClientNames(4 * self._options.record_keep)
        self._cluster = Cluster(
            self._kernel,
            self.plan,
            listener=self,
            lost_policy=self._options.lost_policy,
            timer_for=self._options.timer_for,
            recorder=self._recorder,
            on_step=self._on_step,
        )

    # -- pacing ------------------------------------------------------------------------

    def _advance(self) -> None:
        """Run events that are due until none is left or the slice is used up."""
        kernel, clock, due_ns = self._kernel, self._clock, self._pacer.due_ns()
        stop_ns = clock.now_ns() + min(max(SLICE_NS, 4 * self._telling_ns), SLICE_NS_MAX)
        while True:
            next_ns = kernel.peek_ns()
            if next_ns is None or next_ns >= due_ns:
                break
            self._run(next_ns)
            if clock.now_ns() >= stop_ns:
                self._behind = True
                return
        self._behind = False
        if self._pacer.paced:
            kernel.run_until(due_ns, clock.order())

    def _run(self, at_ns: int) -> None:
        """Run the events of one instant; who gets several requests in it plans once."""
        pools = self._cluster.pools
        # All requests of a lone pool come through the door, which sees to it.
        with held_back(pools) if len(pools) > 1 else nullcontext():
            self._kernel.run_until(at_ns)

    def _tell(self) -> None:
        """Tell every sink with news; a sink may submit or cancel meanwhile."""
        if self._telling or not self._news:
            return
        self._telling = True
        begun_ns = self._clock.now_ns()
        try:
            self._news.tell()
        finally:
            self._telling = False
            self._telling_ns = self._clock.now_ns() - begun_ns

    def _note_lag(self, at_ns: int, tokens: int) -> None:
        if self._pacer.paced:
            lag_ns = self._clock.now_ns() - self._pacer.wall_ns(at_ns)
            self.metrics.on_lag(max(0, lag_ns), tokens)

    def _arm(self) -> None:
        self._pacer.wait_for(self._kernel.peek_ns())
