"""Several deployments, one pool of GPUs: their planners decide, the budget is divided."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from contracts.decision import Decision, RoleTarget
from planner.adapters.connected import Clock, ConnectedPlanner, LoopClock, Pacer, TickReport
from planner.adapters.kubernetes import KubernetesConnector, Reservation
from planner.budget import Claim, divide


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One deployment of the fleet.

    Attributes:
        name: ``namespace/name``.
        planner: its planner, which looks and decides.
        connector: its connector, the same that ``planner`` has.
        weight: how much an uncovered need counts.
    """

    name: str
    planner: ConnectedPlanner
    connector: KubernetesConnector
    weight: float = 1.0


class FleetPlanner:
    """Ticks the planners of all members together and divides the budget among them.

    Reductions make room only once their GPUs are free, so the budget holds at every instant.
    While a member has never been seen, nobody gets more: its GPUs are not known.

    Args:
        members: the deployments.
        gpu_budget: GPUs of all together.
        interval_s: seconds between two ticks.
        clock: paces the ticks.
    """

    def __init__(
        self,
        members: Sequence[Member],
        *,
        gpu_budget: int,
        interval_s: float,
        clock: Clock | None = None,
    ) -> None:
        self._members = tuple(members)
        self._gpu_budget = gpu_budget
        self._interval_s = interval_s
        self._clock = clock or LoopClock()

    async def run(
        self, report: Callable[[str, TickReport], None], *, ticks: int | None = None
    ) -> None:
        """Tick at once and then every interval, until cancelled or ``ticks`` are done."""
        pacer = Pacer(self._clock, self._interval_s)
        done = 0
        while done != ticks:
            await pacer.wait()
            for name, found in await self.tick():
                report(name, found)
            done += 1

    async def tick(self) -> list[tuple[str, TickReport]]:
        """Look at all, decide for all, then order one after the other."""
        views = await asyncio.gather(*(member.planner.look() for member in self._members))
        decisions = [
            member.planner.planner.on_view(view)
            for member, view in zip(self._members, views, strict=True)
        ]
        granted = self._granted(decisions)
        reports = []
        for member, decision, targets in zip(self._members, decisions, granted, strict=True):
            member.connector.limit = self._limit(member)
            reports.append((member.name, await member.planner.act(decision, targets)))
        return reports

    def _granted(self, decisions: Sequence[Decision]) -> list[tuple[RoleTarget, ...]]:
        """The targets of every member within the common budget."""
        claims: list[Claim] = []
        for member, decision in zip(self._members, decisions, strict=True):
            claims += [_claim(pool, decision, member.weight) for pool in member.connector.pools]
        counts = iter(divide(claims, self._gpu_budget))
        granted = []
        for member, decision in zip(self._members, decisions, strict=True):
            targets = tuple(
                RoleTarget(role=pool.role, replicas=next(counts)) for pool in member.connector.pools
            )
            granted.append(targets if decision.targets else ())
        return granted

    def _limit(self, member: Member) -> int:
        """GPUs that a member may have now, given what all others have at this moment."""
        others = [other for other in self._members if other is not member]
        if not all(other.connector.pools for other in others):
            return 0
        taken = sum(pool.gpus for other in others for pool in other.connector.pools)
        return max(0, self._gpu_budget - taken)


def _claim(pool: Reservation, decision: Decision, weight: float) -> Claim:
    wanted = decision.replicas(pool.role)
    need = decision.figures.get(f"{pool.role.value}_need_replicas")
    return Claim(
        gpus_per_replica=pool.gpus_per_replica,
        min_replicas=pool.min_replicas,
        position=max(pool.desired, pool.live) + pool.terminating,
        wanted=wanted,
        need_replicas=float(wanted or 0) if need is None else need,
        weight=weight,
    )
