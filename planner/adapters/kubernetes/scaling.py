"""From targets to writes: what may be done now, what must wait. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from contracts.decision import RoleTarget
from contracts.plan import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """One pool as it stands.

    Attributes:
        gpus_per_replica: GPUs of one replica.
        min_replicas: the floor.
        desired: replicas that there shall be.
        live: replicas that are there and stay or are about to go.
        terminating: replicas that are going away.
    """

    role: Role
    name: str
    gpus_per_replica: int
    min_replicas: int
    desired: int
    live: int
    terminating: int

    @property
    def gpus(self) -> int:
        """GPUs that are taken or promised, those of leaving replicas included."""
        return (max(self.desired, self.live) + self.terminating) * self.gpus_per_replica


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """Replicas to set, and what they were."""

    role: Role
    name: str
    before: int
    replicas: int

    def __str__(self) -> str:
        """For people."""
        return f"{self.name} {self.before} -> {self.replicas}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Writes:
    """Writes in their order, and what must wait for what."""

    now: tuple[Write, ...]
    later: tuple[str, ...]


def plan_writes(
    pools: Sequence[Reservation],
    targets: Sequence[RoleTarget],
    *,
    gpu_budget: int | None,
    no_reduction: str | None,
) -> Writes:
    """What to write now.

    Reductions come first and wait while pods are going away or the deployment is in flux. A
    raise takes only GPUs that are free: those of replicas that leave in this round, or are
    still leaving, are not. So the budget holds at every instant, not only in the end.

    Args:
        pools: every pool that shares the budget.
        targets: absolute numbers of replicas.
        gpu_budget: GPUs of all pools together, None for no limit.
        no_reduction: why nothing may be reduced, None when it may.
    """
    wanted = {target.role: target.replicas for target in targets}
    down: list[Write] = []
    up: list[Write] = []
    later: list[str] = []
    going = [pool.name for pool in pools if pool.terminating]
    if no_reduction is None and going:
        no_reduction = f"pods of {', '.join(going)} are terminating"
    free = None if gpu_budget is None else gpu_budget - sum(pool.gpus for pool in pools)
    for pool in pools:
        replicas = max(pool.min_replicas, wanted.get(pool.role, pool.desired))
        write = Write(role=pool.role, name=pool.name, before=pool.desired, replicas=replicas)
        if replicas < pool.desired and no_reduction is not None:
            later.append(f"{write}: {no_reduction}")
        elif replicas < pool.desired:
            down.append(write)
        elif replicas > pool.desired:
            fitting = _fitting(pool, replicas, free)
            if fitting < replicas:
                later.append(f"{write}: the GPUs of the budget are not free")
            if fitting > pool.desired:
                up.append(
                    Write(role=pool.role, name=pool.name, before=pool.desired, replicas=fitting)
                )
                if free is not None:
                    free -= _more(pool, fitting) * pool.gpus_per_replica
    return Writes(now=(*down, *up), later=tuple(later))


def _more(pool: Reservation, replicas: int) -> int:
    """Replicas that a target adds to those that hold or were promised GPUs."""
    return max(0, replicas - max(pool.desired, pool.live))


def _fitting(pool: Reservation, replicas: int, free: int | None) -> int:
    if free is None:
        return replicas
    most = max(pool.desired, pool.live) + max(0, free) // pool.gpus_per_replica
    return max(pool.desired, min(replicas, most))
