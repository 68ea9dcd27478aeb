"""Divides one pool of GPUs among the pools of several deployments. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_TINY = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one pool of one deployment has and wants.

    Attributes:
        gpus_per_replica: GPUs of one replica.
        min_replicas: the floor.
        position: replicas that there are or that are ordered.
        wanted: replicas that its own planner wants; None while that planner holds.
        need_replicas: the fractional need behind ``wanted``.
        weight: how much an uncovered need of this deployment counts.
    """

    gpus_per_replica: int
    min_replicas: int
    position: int
    wanted: int | None
    need_replicas: float
    weight: float = 1.0


def divide(claims: Sequence[Claim], gpu_budget: int) -> tuple[int, ...]:
    """Replicas of each claim, in their order.

    A claim whose planner holds keeps its position: nobody knows its demand. From the floors
    upwards, each next replica goes to the claim whose weighted need is covered least, as the
    planner does among its own pools. When the floors alone exceed what is left, nothing is
    granted beyond what is there.

    Args:
        claims: all pools of all deployments.
        gpu_budget: GPUs of all together.

    Returns:
        Targets whose GPUs are within the budget, unless holding pools and floors exceed it.
    """
    given = [
        claim.position if claim.wanted is None else min(claim.min_replicas, claim.wanted)
        for claim in claims
    ]
    free = gpu_budget - sum(
        count * claim.gpus_per_replica for count, claim in zip(given, claims, strict=True)
    )
    if free < 0:
        return tuple(
            claim.position if claim.wanted is None else min(claim.position, claim.wanted)
            for claim in claims
        )
    while True:
        open_claims = [
            i
            for i, claim in enumerate(claims)
            if claim.wanted is not None
            and given[i] < claim.wanted
            and claim.gpus_per_replica <= free
        ]
        if not open_claims:
            return tuple(given)
        chosen = min(open_claims, key=lambda i: _coverage(claims[i], given[i]))
        given[chosen] += 1
        free -= claims[chosen].gpus_per_replica


def _coverage(claim: Claim, given: int) -> float:
    """Share of the need that is covered, the smaller the more it weighs."""
    return given / max(claim.need_replicas * claim.weight, _TINY)
