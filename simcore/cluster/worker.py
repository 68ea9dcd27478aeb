"""One replica with its engine, its state and its place in the event queue."""

from __future__ import annotations

from collections.abc import Callable

from contracts.observation import WorkerState, WorkerView
from contracts.plan import Role
from contracts.units import ns_to_s
from simcore.engine import Engine, EngineEvent
from simcore.kernel import EventOrder, Kernel, ScheduledCall


class Worker:
    """Wakes up only when its engine has something to report.

    Args:
        on_events: receives the engine's events, and after each wake-up the worker.
        every_step: wake at the end of every step instead of at visible events.
    """

    def __init__(
        self,
        *,
        worker_id: str,
        role: Role,
        engine: Engine,
        kernel: Kernel,
        on_events: Callable[[Worker, list[EngineEvent]], None],
        every_step: bool,
    ) -> None:
        self.worker_id = worker_id
        self.role = role
        self.engine = engine
        self.state = WorkerState.STARTING
        self.since_ns = kernel.now_ns
        self.start_call: ScheduledCall | None = None
        self.link_free_ns = 0
        self._kernel = kernel
        self._on_events = on_events
        self._every_step = every_step
        self._next_ns = engine.next_step_ns if every_step else engine.next_event_ns
        self._wake_call: ScheduledCall | None = None
        self._wake_ns: int | None = None

    def arm(self) -> None:
        """Schedule the next wake-up; called after anything that changed the engine."""
        next_ns = self._next_ns()
        if next_ns == self._wake_ns:
            return
        if self._wake_call is not None:
            self._wake_call.cancel()
        self._wake_ns = next_ns
        self._wake_call = (
            None
            if next_ns is None
            else self._kernel.call_at(next_ns, EventOrder.ENGINE, self._wake)
        )

    def disarm(self) -> None:
        """Never wake again (until armed)."""
        if self._wake_call is not None:
            self._wake_call.cancel()
        self._wake_call = self._wake_ns = None

    def view(self) -> WorkerView:
        """What observers see."""
        return WorkerView(
            worker_id=self.worker_id,
            role=self.role,
            state=self.state,
            since_s=ns_to_s(self.since_ns),
        )

    def _wake(self) -> None:
        self._wake_call = self._wake_ns = None
        events = self.engine.advance(self._kernel.now_ns)
        if events or self._every_step or self.state is WorkerState.DRAINING:
            self._on_events(self, events)
        if self.state in (WorkerState.READY, WorkerState.DRAINING):
            self.arm()
