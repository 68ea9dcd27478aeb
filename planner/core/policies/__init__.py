"""Policies by name. A further one is a :class:`Policy` given to ``tick``."""

from planner.core.policies.contract import Policy, PoolProposal, Proposal, View
from planner.core.policies.headroom import HEADROOM
from planner.core.policies.reactive import REACTIVE
from planner.core.policies.schedule import SCHEDULE
from planner.core.policies.sla import SLA
from planner.core.policies.throughput import THROUGHPUT

POLICIES = {each.name: each for each in (SLA, HEADROOM, THROUGHPUT, REACTIVE, SCHEDULE)}

__all__ = ["POLICIES", "Policy", "PoolProposal", "Proposal", "View"]
