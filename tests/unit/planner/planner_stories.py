"""Stories for policies: an aggregated pool that is observed, tick after tick."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from planner_samples import AGG, config, load, model, seen, workers

from contracts.decision import Decision
from contracts.observation import Observation
from contracts.plan import Role
from contracts.sla import SlaTarget
from planner.core import PlannerConfig, PlannerState, PolicyName, tick

SLA_TARGET = SlaTarget(ttft_ms=2000.0, itl_ms=60.0)


def plan(policy: PolicyName, **changes: Any) -> PlannerConfig:
    values: dict[str, Any] = {"policy": policy, "fleet": AGG, "sla": SLA_TARGET}
    return config(**(values | changes))


def agg(
    now_s: float, rate: float, ready: int = 1, starting: int = 0, **changes: Any
) -> Observation:
    pool = changes.pop("load", load(Role.AGG))
    values: dict[str, Any] = {
        "workers": tuple(workers(Role.AGG, ready, starting)),
        "loads": (pool,),
    }
    return seen(now_s, rate, **(values | changes))


def run(
    settings: PlannerConfig, observations: Sequence[Observation], **keywords: Any
) -> list[Decision]:
    state, decisions = PlannerState(), []
    for observation in observations:
        state, decision = tick(settings, model(), state, observation, **keywords)
        decisions.append(decision)
    return decisions


def sizes(decisions: Sequence[Decision], role: Role = Role.AGG) -> list[int | None]:
    return [decision.replicas(role) for decision in decisions]
