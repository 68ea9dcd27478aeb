"""What a planner decides, with its reason."""

from __future__ import annotations

from dataclasses import dataclass, field

from contracts.plan import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleTarget:
    """Workers wanted in one role, those still starting included."""

    role: Role
    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Result of one tick.

    Attributes:
        now_s: time of the tick.
        targets: workers wanted for each role; empty when the planner holds.
        reason: one sentence for people.
        held: nothing shall change because the planner does not know enough.
        figures: the numbers behind the decision, by name with unit.
    """

    now_s: float
    targets: tuple[RoleTarget, ...]
    reason: str
    held: bool = False
    figures: dict[str, float] = field(default_factory=dict)

    def replicas(self, role: Role) -> int | None:
        """Target of one role, ``None`` when the decision leaves it alone."""
        for target in self.targets:
            if target.role is role:
                return target.replicas
        return None
