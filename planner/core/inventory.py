"""Workers: what serves, what is on order, what will never come, and how long orders take."""

from __future__ import annotations

from dataclasses import dataclass, replace

from contracts.observation import Observation, WorkerState, WorkerView
from contracts.plan import Role
from planner.core.config import PlannerConfig
from planner.core.state import PlannerState

_STARTS_KEPT = 20
_STARTS_MIN = 3
_LATE_SHARE = 0.9
_PATIENCE_S_MIN = 60.0
_GIVEN_UP_MAX = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """Workers of a pool.

    Attributes:
        ready: workers that serve.
        position: ready ones and ordered ones that are still expected.
        stuck: ordered ones that take too long to count on.
        ages_s: how long each expected one is on order.
    """

    ready: int
    position: int
    stuck: int = 0
    ages_s: tuple[float, ...] = ()


def inventory(observation: Observation, role: Role, patience_s: float = float("inf")) -> Inventory:
    """Counts workers; draining and failed ones serve nobody in future and do not count.

    Args:
        observation: what was seen.
        role: the pool.
        patience_s: a start that takes longer is not counted on any more.
    """
    mine = [worker for worker in observation.workers if worker.role is role]
    ready = sum(worker.state is WorkerState.READY for worker in mine)
    ages = [
        max(0.0, observation.now_s - worker.since_s)
        for worker in mine
        if worker.state is WorkerState.STARTING
    ]
    expected = tuple(sorted((age for age in ages if age <= patience_s), reverse=True))
    return Inventory(
        ready=ready,
        position=ready + len(expected),
        stuck=len(ages) - len(expected),
        ages_s=expected,
    )


def startup_s(config: PlannerConfig, state: PlannerState) -> float:
    """Start-up time to reckon with.

    The configured one until three starts were seen; then what nine of ten of the last
    twenty starts did not exceed.
    """
    if len(state.starts_s) < _STARTS_MIN:
        return config.startup_s
    ordered = sorted(state.starts_s)
    return ordered[min(len(ordered) - 1, int(_LATE_SHARE * len(ordered)))]


def patience_s(config: PlannerConfig, state: PlannerState) -> float:
    """A worker that starts for longer than this is no longer counted on.

    It grows with each time in a row that workers were given up, so that a cluster which
    cannot start any is not asked again and again.
    """
    patience = max(_PATIENCE_S_MIN, config.start_patience * startup_s(config, state))
    return patience * (1 + min(state.given_up, _GIVEN_UP_MAX))


def remember_starts(state: PlannerState, workers: tuple[WorkerView, ...]) -> PlannerState:
    """Learn start-up times from workers that were seen starting and are ready now."""
    since = dict(state.ordered)
    found = tuple(
        worker.since_s - since[worker.worker_id]
        for worker in workers
        if worker.state is WorkerState.READY
        and worker.worker_id in since
        and worker.since_s >= since[worker.worker_id]
    )
    ordered = tuple(
        (worker.worker_id, worker.since_s)
        for worker in workers
        if worker.state is WorkerState.STARTING
    )
    if not found and ordered == state.ordered:
        return state
    return replace(
        state,
        ordered=ordered,
        starts_s=(*state.starts_s, *found)[-_STARTS_KEPT:],
        given_up=0 if found else state.given_up,
    )
