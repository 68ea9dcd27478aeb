"""Replicas that one pool needs for the expected traffic, its queue and its work in flight."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.observation import Observation, PoolLoad
from contracts.plan import Role
from planner.core.capacity import Capacity, CapacityModel, Lengths, capacity
from planner.core.config import PlannerConfig, PoolConfig
from planner.core.inventory import Inventory, inventory

__all__ = ["Inventory", "PoolDemand", "inventory", "is_idle", "pool_demand"]

_MS_PER_S = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolDemand:
    """What one pool needs and has.

    Attributes:
        pool: the pool.
        inventory: what is there and on order.
        load_known: the pool reported its load; without it no worker may go.
        capacity: of one replica; ``None`` while there is nothing to serve.
        backlog_requests: waiting beyond what the ready workers clear within the TTFT target.
        need_replicas: fractional replicas.
    """

    pool: PoolConfig
    inventory: Inventory
    load_known: bool
    capacity: Capacity | None
    backlog_requests: float
    need_replicas: float


def is_idle(observation: Observation) -> bool:
    """No pool reports a request that runs or waits."""
    return not any(
        load.running_requests or load.waiting_requests or load.waiting_prefill_tokens
        for load in observation.loads
    )


def pool_demand(  # all that a need depends on
    config: PlannerConfig,
    model: CapacityModel,
    pool: PoolConfig,
    observation: Observation,
    expected: tuple[float, Lengths | None],
    stock: Inventory,
) -> PoolDemand:
    """Need of one pool.

    The need is the larger of two: replicas for the expected rate plus the backlog spread
    over ``backlog_drain_s``, and replicas that hold the running requests within the ITL
    target (so that a pool still busy with long outputs is not shrunk under them). Waiting
    requests are in the backlog and not counted again.

    Args:
        config: the configuration.
        model: the curves.
        pool: the pool.
        observation: what was seen.
        expected: arrivals a second, and their mean lengths; lengths may only be ``None``
            when no request arrives, runs or waits.
        stock: the pool's workers.
    """
    rate_per_s, lengths = expected
    load = next((load for load in observation.loads if load.role is pool.role), None)
    if lengths is None:
        return PoolDemand(
            pool=pool,
            inventory=stock,
            load_known=load is not None,
            capacity=None,
            backlog_requests=0.0,
            need_replicas=0.0,
        )
    one = capacity(model, pool, lengths, config.sla, config.utilisation_target_ratio)
    cleared = stock.ready * one.requests_per_s_max * config.sla.ttft_ms / _MS_PER_S
    waiting = _waiting_requests(load, lengths) if config.use_load else 0.0
    backlog = max(0.0, waiting - cleared)
    need = (rate_per_s + backlog / config.backlog_drain_s) / one.requests_per_s
    if one.requests_in_flight_max is not None and load is not None and config.use_load:
        need = max(need, load.running_requests / one.requests_in_flight_max)
    return PoolDemand(
        pool=pool,
        inventory=stock,
        load_known=load is not None,
        capacity=one,
        backlog_requests=backlog,
        need_replicas=need,
    )


def _waiting_requests(load: PoolLoad | None, lengths: Lengths) -> float:
    """Waiting work in requests of mean length: prompt tokens where prompts wait."""
    if load is None:
        return 0.0
    if load.role is Role.DECODE or load.waiting_prefill_tokens == 0:
        return float(load.waiting_requests)
    return load.waiting_prefill_tokens / lengths.isl
