"""One replica with its engine, its state and its place in the event queue."""

from __future__ import annotations

import math
from collections.abc import Callable

from contracts.errors import InvariantError
from contracts.observation import WorkerState, WorkerView
from contracts.plan import PoolPlan, Role
from contracts.units import ns_to_s
from contracts.workload import PromptText
from simcore.engine import Engine, EngineEvent
from simcore.kernel import EventOrder, Kernel, ScheduledCall

_ROLE_CODES = {role: code for code, role in enumerate(Role)}


class Worker:
    """Wakes up only when its engine has something to report.

    Args:
        plan: of its pool.
        on_events: receives the engine's events, and after each wake-up the worker.
        every_step: wake at the end of every step instead of at visible events.

    Attributes:
        code: number that stands for the worker in digests.
        slot: position in the order in which workers of its pool became ready, -1 before.
        nodes: numbers of the nodes that it stands on.
        held_blocks: KV blocks kept for transfers that leave or are to come.
        held_back: do not arm now; the one who set it will see to it.
    """

    def __init__(
        self,
        *,
        worker_id: str,
        plan: PoolPlan,
        engine: Engine,
        kernel: Kernel,
        on_events: Callable[[Worker, list[EngineEvent]], None],
        every_step: bool,
    ) -> None:
        self.worker_id = worker_id
        self.role = plan.role
        self.code = _ROLE_CODES[plan.role] << 32 | int(worker_id.rsplit("-", 1)[1])
        self.engine = engine
        self.state = WorkerState.STARTING
        self.since_ns = kernel.now_ns
        self.start_call: ScheduledCall | None = None
        self.slot = -1
        self.nodes: tuple[int, ...] = ()
        self.held_blocks = 0
        self._held: dict[int, int] = {}
        self._ranks = plan.engine.dp
        self._rank_blocks = plan.engine.limits.kv_blocks_total
        self._block_size = plan.engine.limits.block_size_tokens
        self._slow_factors: list[float] = []
        self._kernel = kernel
        self._on_events = on_events
        self._every_step = every_step
        self._next_ns = engine.next_step_ns if every_step else engine.next_event_ns
        self._wake_ns: int | None = None
        self._report_next = False
        self.held_back = False
        self._stale = False

    # -- time --------------------------------------------------------------------------

    def arm(self) -> None:
        """Schedule the next wake-up; called after anything that changed the engine."""
        if self.held_back:
            self._stale = True
            return
        next_ns = self._next_ns()
        if next_ns != self._wake_ns:
            self._wake_ns = next_ns
            if next_ns is not None:
                self._kernel.wake_at(next_ns, EventOrder.ENGINE, self._wake)

    def go_on(self) -> None:
        """Arm again after ``held_back``, if anything changed meanwhile and it is still there."""
        self.held_back = False
        stale, self._stale = self._stale, False
        if stale and (self.state is WorkerState.READY or self.state is WorkerState.DRAINING):
            self.arm()

    def report_steps(self, *, every_step: bool) -> None:
        """Wake at the end of every step from now on, or at visible events only."""
        self._every_step = every_step
        self._next_ns = self.engine.next_step_ns if every_step else self.engine.next_event_ns
        self.engine.catch_up(self._kernel.now_ns)
        if self.state is WorkerState.READY or self.state is WorkerState.DRAINING:
            self.arm()

    def disarm(self) -> None:
        """Never wake again (until armed)."""
        self._wake_ns = None

    def _wake(self, at_ns: int) -> None:
        if at_ns != self._wake_ns:
            return
        self._wake_ns = None
        events = self.engine.advance(at_ns)
        state = self.state
        if events or self._every_step or self._report_next or state is WorkerState.DRAINING:
            self._report_next = False
            self._on_events(self, events)
            state = self.state
        if state is WorkerState.READY or state is WorkerState.DRAINING:
            self.arm()

    # -- requests ----------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """The engine has no request and no KV blocks are kept for transfers."""
        return self.engine.requests_held == 0 and not self._held

    def cancel(self, request_id: int) -> None:
        """Drop a request from the engine and report when its blocks are free."""
        self.engine.cancel(self._kernel.now_ns, request_id)
        self._report_next = True
        self.arm()

    def cached_prefix_tokens(self, text: PromptText | None) -> int:
        """Leading tokens of a prompt whose KV blocks this worker has."""
        if text is None:
            return 0
        return self.engine.cached_prefix_tokens(self._kernel.now_ns, text)

    # -- KV blocks of transfers --------------------------------------------------------

    def hold(self, request_id: int, tokens: int) -> None:
        """Keep KV blocks for a transfer: sent ones at the source, expected ones at the target.

        Raises:
            InvariantError: the request holds blocks here already.
        """
        if request_id in self._held:
            raise InvariantError(f"request {request_id} already holds blocks on {self.worker_id}")
        self._held[request_id] = self._blocks(tokens)
        self.held_blocks += self._held[request_id]

    def release(self, request_id: int) -> None:
        """Give up what :meth:`hold` kept; nothing happens when it kept nothing."""
        self.held_blocks -= self._held.pop(request_id, 0)
        if self.role is Role.PREFILL and self.state is not WorkerState.FAILED:
            self.engine.release(self._kernel.now_ns, request_id)
            self.arm()

    def release_all(self) -> None:
        """Give up everything, as a dead worker does."""
        self._held.clear()
        self.held_blocks = 0

    def has_room(self, tokens: int) -> bool:
        """Free KV blocks of all ranks, less the reserved ones, suffice for so many tokens now."""
        used = self.engine.kv_blocks_used(self._kernel.now_ns)
        total = self._rank_blocks * self._ranks
        return used + self.held_blocks + self._blocks(tokens) <= total

    def could_hold(self, tokens: int) -> bool:
        """So many tokens fit into the KV cache of a rank when nothing else is in it."""
        return self._blocks(tokens) <= self._rank_blocks

    def _blocks(self, tokens: int) -> int:
        return -(-tokens // self._block_size)

    # -- faults ------------------------------------------------------------------------

    def slow_down(self, factor: float) -> None:
        """Steps take ``factor`` times as long; several factors multiply."""
        self._slow_factors.append(factor)
        self._apply_speed()

    def speed_up(self, factor: float) -> None:
        """End one :meth:`slow_down` with the same factor."""
        self._slow_factors.remove(factor)
        self._apply_speed()

    def _apply_speed(self) -> None:
        self.engine.set_speed(self._kernel.now_ns, math.prod(sorted(self._slow_factors)))
        self.arm()

    def shrink(self, lost_ratio: float) -> list[int]:
        """Lose a share of the planned KV blocks for good; one block is always left.

        Returns:
            Requests that no longer fit; the engine has dropped them.
        """
        lost = round(self._rank_blocks * lost_ratio)
        lost = min(max(1, lost), self._rank_blocks - 1)
        misfits = self.engine.shrink(self._kernel.now_ns, lost)
        self._rank_blocks -= lost
        self.arm()
        return [entry.request_id for entry in misfits]

    def view(self) -> WorkerView:
        """What observers see."""
        return WorkerView(
            worker_id=self.worker_id,
            role=self.role,
            state=self.state,
            since_s=ns_to_s(self.since_ns),
        )
