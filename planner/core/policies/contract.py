"""The contract of a policy: it looks at a view and proposes a band for each pool.

A tick has four stages. *Observe* turns telemetry and memory into a :class:`View` (or holds).
*Propose* is the policy. *Constrain* cuts the proposal to floors, ceilings, steps, GPUs and
watts. *Decide* words the decision. Only the second one differs between policies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from contracts.observation import Observation, PoolLoad, Traffic
from planner.core.capacity import Capacity, CapacityModel, Lengths
from planner.core.config import PlannerConfig, PoolConfig
from planner.core.forecast.points import Forecast
from planner.core.inventory import Inventory
from planner.core.sizing import Corrections
from planner.core.state import PlannerState


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """Everything a policy may look at.

    Attributes:
        state: memory, this window's traffic included.
        traffic: of this window; ``None`` only for policies that do not need it.
        lengths: smoothed mean lengths; ``None`` when nothing is known and nothing waits.
        stocks: workers of each pool, in the order of the fleet's pools.
        loads: of each pool, ``None`` where it was not reported.
        startup_s: start-up time to reckon with, learnt once some were seen.
        corrections: what residuals say about the curves.
    """

    config: PlannerConfig
    model: CapacityModel
    state: PlannerState
    observation: Observation
    traffic: Traffic | None
    lengths: Lengths | None
    stocks: tuple[Inventory, ...]
    loads: tuple[PoolLoad | None, ...]
    startup_s: float
    corrections: Corrections

    @property
    def lead_s(self) -> float:
        """From now until an order of the next tick serves."""
        return self.startup_s + self.config.interval_s


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PoolProposal:
    """What a policy wants for one pool.

    Attributes:
        pool: the pool.
        stock: its workers.
        load_known: the pool reported its load; without it no worker may go.
        at_least: grow to this when there are fewer.
        at_most: shrink to this when there are more.
        wanted: replicas that the present need alone asks for.
        need: the same before rounding.
        capacity: of one replica, for people; ``None`` while there is nothing to serve.
        backlog_requests: waiting beyond what is cleared in time.
        worth: expected attainment by number of replicas; ``None`` takes the share of the
            need that is covered.
        notes: why the band is what it is.
    """

    pool: PoolConfig
    stock: Inventory
    load_known: bool
    at_least: int
    at_most: int
    wanted: int
    need: float
    capacity: Capacity | None = None
    backlog_requests: float = 0.0
    worth: Callable[[int], float] | None = None
    notes: tuple[str, ...] = ()


def exactly(
    pool: PoolConfig, stock: Inventory, wanted: int, *, note: str, load_known: bool
) -> PoolProposal:
    """A band of one number; an empty note says nothing."""
    return PoolProposal(
        pool=pool,
        stock=stock,
        load_known=load_known,
        at_least=wanted,
        at_most=wanted,
        wanted=wanted,
        need=float(wanted),
        notes=(note,) if note else (),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Proposal:
    """A band for each pool, in the order of the fleet's pools.

    Attributes:
        state: memory with what the policy wants to remember.
        forecast: the rate that was planned for, ``None`` when none was.
        figures: further numbers behind the proposal.
    """

    state: PlannerState
    pools: tuple[PoolProposal, ...]
    forecast: Forecast | None = None
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A named way to propose.

    Attributes:
        propose: pure; looks at nothing but the view.
        needs_traffic: hold while traffic or lengths are unknown.
    """

    name: str
    propose: Callable[[View], Proposal]
    needs_traffic: bool = True
