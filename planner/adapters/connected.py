"""A planner tied to a running deployment: observe, decide, order, on absolute deadlines."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from contracts.decision import Decision, RoleTarget
from contracts.errors import InputError, PermanentError, TransientError
from planner.loop import Blind, Planner, View

_LOG = logging.getLogger(__name__)


class Clock(Protocol):
    """Wall time for pacing only; decisions use the cluster's own time."""

    def now_s(self) -> float:
        """Seconds on a clock that never runs backwards."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; raises ``CancelledError`` when the task is cancelled."""
        ...


class LoopClock:
    """The clock of the running event loop, virtual when the loop is virtual."""

    def now_s(self) -> float:
        """Loop time."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the loop."""
        await asyncio.sleep(seconds)


class Applied(StrEnum):
    """What became of the targets of a decision."""

    NOTHING_TO_DO = "nothing_to_do"
    ADVISORY = "advisory"
    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an order.

    Attributes:
        applied: the result as a whole.
        problem: why it was not accepted as it is.
        changes: what was changed, for people, such as ``decode 1 -> 3``.
    """

    applied: Applied
    problem: str | None = None
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TickReport:
    """One decision, what became of it, and why if it was not accepted."""

    decision: Decision
    applied: Applied
    problem: str | None = None
    changes: tuple[str, ...] = ()


class Connector(Protocol):
    """One world to scale. Both methods may raise ``TransientError`` or ``PermanentError``."""

    async def observe(self) -> View:
        """What is there now; ``Blind`` when the traffic could not be read."""
        ...

    async def order(self, targets: tuple[RoleTarget, ...]) -> Outcome:
        """Ask for absolute numbers of replicas; repeating an order does no harm."""
        ...

    def now_s(self) -> float:
        """The time of the world's observations, as far as it is known without asking."""
        ...


class ConnectedPlanner:
    """Ticks a planner against a connector.

    Targets are absolute and sent on every tick that does not hold, so a lost or doubled
    order does no harm and a rejected one is tried again.

    Args:
        planner: the planner.
        connector: the world.
        clock: paces the ticks.
        speed: seconds of the cluster's time that pass in one second of wall time.
        advisory: decide and report, but never act.
        on_view: is shown everything that the planner sees, before it decides.

    Raises:
        InputError: speed is not positive.
    """

    def __init__(  # one keyword for each setting
        self,
        planner: Planner,
        connector: Connector,
        *,
        clock: Clock | None = None,
        speed: float = 1.0,
        advisory: bool = False,
        on_view: Callable[[View], None] | None = None,
    ) -> None:
        self.planner = planner
        self.connector = connector
        self.ticks_skipped = 0
        self._clock = clock or LoopClock()
        self._speed = checked_speed(speed)
        self._advisory = advisory
        self._on_view = on_view

    async def run(self, report: Callable[[TickReport], None], *, ticks: int | None = None) -> None:
        """Tick at once and then every interval, until cancelled or ``ticks`` are done."""
        pacer = Pacer(self._clock, self.planner.config.interval_s / self._speed)
        done = 0
        while done != ticks:
            self.ticks_skipped += await pacer.wait()
            report(await self.tick())
            done += 1

    async def look(self) -> View:
        """Observe; trouble on the wire is blindness, never raised."""
        try:
            view = await self.connector.observe()
        except (TransientError, PermanentError) as error:
            view = Blind(now_s=self.connector.now_s(), reason=str(error))
        if isinstance(view, Blind):
            _LOG.warning("traffic is unknown: %s", view.reason)
        if self._on_view is not None:
            self._on_view(view)
        return view

    async def tick(self) -> TickReport:
        """Observe, decide, act; trouble on the wire is a hold or an outcome, never raised."""
        view = await self.look()
        decision = self.planner.on_view(view)
        problem = view.reason if isinstance(view, Blind) else None
        return await self.act(decision, decision.targets, problem)

    async def act(
        self, decision: Decision, targets: tuple[RoleTarget, ...], problem: str | None = None
    ) -> TickReport:
        """Order what was decided, unless there is nothing to order or it is advice only."""
        if not targets:
            outcome = Outcome(applied=Applied.NOTHING_TO_DO, problem=problem)
        elif self._advisory:
            outcome = Outcome(applied=Applied.ADVISORY)
        else:
            outcome = await self._order(targets)
        return TickReport(
            decision=decision,
            applied=outcome.applied,
            problem=outcome.problem,
            changes=outcome.changes,
        )

    async def _order(self, targets: tuple[RoleTarget, ...]) -> Outcome:
        try:
            return await self.connector.order(targets)
        except PermanentError as error:
            _LOG.warning("targets were rejected: %s", error)
            return Outcome(applied=Applied.REJECTED, problem=str(error))
        except TransientError as error:
            _LOG.warning("unknown whether targets were accepted: %s", error)
            return Outcome(applied=Applied.UNKNOWN, problem=str(error))


class Pacer:
    """Absolute deadlines, so that delays do not add up."""

    def __init__(self, clock: Clock, period_s: float) -> None:
        self._clock = clock
        self._period_s = period_s
        self._start_s: float | None = None
        self._slot = 0

    async def wait(self) -> int:
        """Return at the next deadline, the first time at once.

        A deadline that has already passed when its turn comes is skipped.

        Returns:
            How many were skipped.
        """
        if self._start_s is None:
            self._start_s = self._clock.now_s()
            return 0
        late = math.ceil((self._clock.now_s() - self._start_s) / self._period_s)
        skipped = max(0, late - self._slot - 1)
        self._slot = max(self._slot + 1, late)
        due_s = self._start_s + self._slot * self._period_s
        await self._clock.sleep(max(0.0, due_s - self._clock.now_s()))
        return skipped


def checked_speed(speed: float) -> float:
    """The speed, which must be finite and above 0.

    Raises:
        InputError: it is not.
    """
    if not (math.isfinite(speed) and speed > 0):
        raise InputError("is out of range", path="speed", value=str(speed), allowed="above 0")
    return speed
