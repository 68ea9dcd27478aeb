"""Decisions of the planner as Events on the deployment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dgdr.operator.events import EventRecorder
from dgdr.reconcile.actions import Emit
from planner.adapters.connected import Applied, TickReport

COMPONENT = "dgdr-planner"
# The first tick never knows a window, and one lost scrape is no news.
_HOLDS_BEFORE_NEWS = 3


class DecisionEvents:
    """Says what was scaled, what could not be, and that the planner is blind.

    Args:
        recorder: writes Events.
        graph: the deployment as last seen, None before.
    """

    def __init__(
        self, recorder: EventRecorder, graph: Callable[[], Mapping[str, Any] | None]
    ) -> None:
        self._recorder = recorder
        self._graph = graph
        self._known: Mapping[str, Any] | None = None
        self._holds = 0
        self._problem: str | None = None

    def __call__(self, report: TickReport) -> None:
        """Write the Events of one decision."""
        self._known = self._graph() or self._known
        reason = report.decision.reason
        if report.changes:
            self._emit("PlannerScaled", f"{', '.join(report.changes)}: {reason}")
        self._holds = self._holds + 1 if report.decision.held else 0
        if self._holds == _HOLDS_BEFORE_NEWS:
            self._emit("PlannerHolds", reason, warning=True)
        failed = report.applied in (Applied.REJECTED, Applied.UNKNOWN)
        problem = report.problem if failed else None
        if problem is not None and problem != self._problem:
            self._emit("PlannerFailed", problem, warning=True)
        self._problem = problem

    def _emit(self, reason: str, message: str, *, warning: bool = False) -> None:
        if self._known is not None:
            event = Emit(
                regarding=dict(self._known), reason=reason, message=message, warning=warning
            )
            self._recorder.record(event)
