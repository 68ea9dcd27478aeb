"""Faults that a scenario can inject."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from contracts.plan import Role


class LostRequestPolicy(StrEnum):
    """What happens to the requests of a worker that dies."""

    RETRY = "retry"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerCrash:
    """One worker dies at an instant and, if asked for, is ordered again.

    Attributes:
        at_s: seconds after the start of the workload.
        role: pool of the victim.
        worker_index: position among the ready workers of the pool at that instant.
        restart: order a replacement at once; it needs the deployment's start-up time.
    """

    at_s: float
    role: Role
    worker_index: int = 0
    restart: bool = True
