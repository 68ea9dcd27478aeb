"""Which pools exist, what a replica of each costs, and between which bounds it may scale."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.errors import InputError
from contracts.plan import Role
from planner.core.checks import require


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig:
    """One role.

    Attributes:
        gpus_per_replica: GPUs of one replica.
        min_replicas: replicas that always stay; 0 lets the pool go away when idle.
        max_replicas: most replicas, ``None`` for no bound besides the budget.
        watts_per_replica: power cap of one replica's GPUs together; 0 is not counted.
    """

    role: Role
    gpus_per_replica: int
    min_replicas: int = 1
    max_replicas: int | None = None
    watts_per_replica: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AggFleet:
    """Every worker does prefill and decode."""

    pool: PoolConfig

    @property
    def pools(self) -> tuple[PoolConfig, ...]:
        """All pools."""
        return (self.pool,)


@dataclass(frozen=True, slots=True, kw_only=True)
class DisaggFleet:
    """Prefill and decode workers share one GPU budget."""

    prefill: PoolConfig
    decode: PoolConfig

    @property
    def pools(self) -> tuple[PoolConfig, ...]:
        """All pools, entry pool first."""
        return (self.prefill, self.decode)


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleFleet:
    """Only the prefill or only the decode pool of a deployment is scaled."""

    pool: PoolConfig

    @property
    def pools(self) -> tuple[PoolConfig, ...]:
        """All pools."""
        return (self.pool,)


Fleet = AggFleet | DisaggFleet | SingleFleet


def check_fleet(fleet: Fleet, gpu_budget: int | None, gpu_floor: int) -> None:
    """Refuse pools that cannot be.

    Raises:
        InputError: wrong roles, bounds that contradict each other or the budget.
    """
    roles = tuple(pool.role for pool in fleet.pools)
    allowed = {
        AggFleet: ((Role.AGG,),),
        DisaggFleet: ((Role.PREFILL, Role.DECODE),),
        SingleFleet: ((Role.PREFILL,), (Role.DECODE,)),
    }[type(fleet)]
    if roles not in allowed:
        raise InputError(
            "pools do not fit the kind of fleet",
            path="fleet",
            value=", ".join(roles),
            allowed=" or ".join(", ".join(each) for each in allowed),
        )
    for pool in fleet.pools:
        name = pool.role.value
        require(f"{name}.gpus_per_replica", pool.gpus_per_replica, low=1)
        require(f"{name}.min_replicas", pool.min_replicas, low=0)
        require(f"{name}.watts_per_replica", pool.watts_per_replica, low=0)
        if pool.max_replicas is not None:
            require(f"{name}.max_replicas", pool.max_replicas, low=max(1, pool.min_replicas))
    floor_gpus = sum(pool.min_replicas * pool.gpus_per_replica for pool in fleet.pools)
    if gpu_budget is not None and max(floor_gpus, gpu_floor) > gpu_budget:
        raise InputError(
            "the smallest allowed deployment exceeds the GPU budget",
            path="gpu_budget",
            value=str(gpu_budget),
            allowed=f"at least {max(floor_gpus, gpu_floor)}",
        )
