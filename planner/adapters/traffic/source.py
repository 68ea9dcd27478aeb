"""What every source of traffic answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from contracts.observation import Counters, PoolLoad
from contracts.plan import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A process whose metrics count.

    Attributes:
        identity: differs when the process is another one, so that its counters begin at zero.
        name: of its pod, as Prometheus knows it.
        url: of its metrics.
        started_s: seconds since 1970; None if unknown.
    """

    identity: str
    name: str
    url: str
    started_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Totals and the time (seconds since 1970) at which they were counted."""

    at_s: float
    counters: Counters


class TrafficSource(Protocol):
    """Reads traffic from frontends and load from workers."""

    async def traffic(self, frontends: Sequence[Target], now_s: float) -> Reading:
        """Totals of all frontends since the first call, whatever restarts in between.

        Raises:
            TransientError: some of the traffic cannot be read now; nothing is lost, the next
                call covers it.
        """
        ...

    async def loads(self, workers: Mapping[Role, Sequence[Target]]) -> tuple[PoolLoad, ...]:
        """Load of the ready workers; a pool of which some cannot be read is left out."""
        ...
