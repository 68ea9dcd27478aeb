"""How a pool chooses the worker for a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from contracts.plan import RouterPolicy
from simcore.cluster.worker import Worker


class Router(Protocol):
    """Chooses one of the ready workers."""

    def pick(self, ready: Sequence[Worker]) -> Worker:
        """Return one element of ``ready``, which is never empty."""
        ...


class RoundRobin:
    """Each worker in turn."""

    def __init__(self) -> None:
        self._turn = 0

    def pick(self, ready: Sequence[Worker]) -> Worker:
        """The next worker in order."""
        worker = ready[self._turn % len(ready)]
        self._turn += 1
        return worker


class LeastLoaded:
    """The worker that holds the fewest requests; the oldest one among equals."""

    def pick(self, ready: Sequence[Worker]) -> Worker:
        """The least loaded worker."""
        best = ready[0]
        least = best.engine.requests_held
        for worker in ready:
            held = worker.engine.requests_held
            if held < least:
                best, least = worker, held
        return best


def make_router(policy: RouterPolicy) -> Router:
    """The router of a policy."""
    return RoundRobin() if policy is RouterPolicy.ROUND_ROBIN else LeastLoaded()
