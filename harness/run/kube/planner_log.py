"""What a planner's pod prints: one decision in each line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import TypeAdapter

from contracts.decision import Decision, RoleTarget
from contracts.plan import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "ignore"}

    now_s: float
    targets: tuple[RoleTarget, ...]
    reason: str
    held: bool
    figures: dict[str, float]
    applied: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One decision and what became of it; ``now_s`` counts from the start of the load."""

    now_s: float
    decision: Decision
    applied: str


_LINE = TypeAdapter(_Line)


def planner_rows(log: str, *, zero_unix_s: float, roles: Sequence[Role]) -> tuple[Row, ...]:
    """The decisions in a pod's log from the start of the load on.

    Args:
        log: as the API gives it; lines that are no decisions are left out.
        zero_unix_s: seconds since 1970 at which the load began.
        roles: pools of the deployment; a planner calls the workers of an aggregated pool decode.
    """
    found = []
    for text in log.splitlines():
        line = _parsed(text)
        if line is None or line.now_s < zero_unix_s:
            continue
        now_s = line.now_s - zero_unix_s
        decision = Decision(
            now_s=now_s,
            targets=tuple(
                RoleTarget(role=_role(each.role, roles), replicas=each.replicas)
                for each in line.targets
            ),
            reason=line.reason,
            held=line.held,
            figures=line.figures,
        )
        found.append(Row(now_s=now_s, decision=decision, applied=line.applied))
    return tuple(found)


def _role(role: Role, roles: Sequence[Role]) -> Role:
    return role if role in roles else roles[0]


def _parsed(text: str) -> _Line | None:
    if not text.startswith("{"):
        return None
    try:
        data: Mapping[str, Any] = json.loads(text)
    except json.JSONDecodeError:
        return None  # the last line may be cut
    return _LINE.validate_python(data) if "targets" in data else None
