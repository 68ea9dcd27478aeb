"""The planner as an object that remembers: snapshots in, decisions out. No clock, no I/O."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.decision import Decision
from contracts.observation import (
    ClusterSnapshot,
    Observation,
    PoolLoad,
    Unknown,
    WorkerView,
    observe,
)
from planner.core.capacity import CapacityModel
from planner.core.config import PlannerConfig
from planner.core.demand import inventory
from planner.core.state import PlannerState
from planner.core.tick import tick


@dataclass(frozen=True, slots=True, kw_only=True)
class Blind:
    """An instant at which the traffic could not be read, and what could be read all the same."""

    now_s: float
    reason: str
    workers: tuple[WorkerView, ...] = ()
    loads: tuple[PoolLoad, ...] = ()


View = ClusterSnapshot | Blind


@dataclass(slots=True)
class PlannerCounts:
    """How many ticks did what; a tick may scale one role up and another one down."""

    ticks: int = 0
    held: int = 0
    scaled_up: int = 0
    scaled_down: int = 0


class Planner:
    """Runs ticks one after the other and keeps the log of decisions.

    Args:
        config: the configuration.
        model: the capacity curves.
    """

    def __init__(self, config: PlannerConfig, model: CapacityModel) -> None:
        self.config = config
        self.model = model
        self.state = PlannerState()
        self.decisions: list[Decision] = []
        self.counts = PlannerCounts()
        self._previous: ClusterSnapshot | None = None

    def on_snapshot(self, snapshot: ClusterSnapshot) -> Decision:
        """Decide on the window between the last snapshot and this one."""
        observation = observe(self._previous, snapshot)
        self._previous = snapshot
        return self._tick(observation)

    def on_view(self, view: View) -> Decision:
        """Decide on whatever an adapter saw."""
        return self._on_blind(view) if isinstance(view, Blind) else self.on_snapshot(view)

    def on_telemetry_lost(self, now_s: float, reason: str) -> Decision:
        """Record that there was no snapshot; always a hold.

        The last snapshot is kept, so the next window spans the gap.
        """
        return self._on_blind(Blind(now_s=now_s, reason=reason))

    def _on_blind(self, view: Blind) -> Decision:
        age_s = 0.0 if self._previous is None else max(0.0, view.now_s - self._previous.now_s)
        return self._tick(
            Observation(
                now_s=view.now_s,
                window_s=0.0,
                traffic=Unknown(reason=view.reason, age_s=age_s),
                workers=view.workers,
                loads=view.loads,
            )
        )

    def _tick(self, observation: Observation) -> Decision:
        self.state, decision = tick(self.config, self.model, self.state, observation)
        self.decisions.append(decision)
        changes = [
            target.replicas - inventory(observation, target.role).position
            for target in decision.targets
        ]
        self.counts.ticks += 1
        self.counts.held += decision.held
        self.counts.scaled_up += any(change > 0 for change in changes)
        self.counts.scaled_down += any(change < 0 for change in changes)
        return decision
