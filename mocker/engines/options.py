"""How a driver runs its deployment, and what the deployment offers."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.faults import LostRequestPolicy
from contracts.plan import DeploymentPlan, PoolPlan, Role
from contracts.ports import TimerFactory
from mocker.engines.port import ModelCard
from simcore.engine import Submission
from simcore.engine.events import refusal
from simcore.perf import roofline

# Ended requests whose rows are kept for /admin/record at least, and at most twice as many.
RECORD_KEEP = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverOptions:
    """How a driver runs its deployment.

    Attributes:
        speed: simulated seconds in a second of wall time; infinity does not wait.
        lost_policy: what happens to requests of a worker that dies.
        timer_for: step times of an engine.
        record_keep: ended requests that the record holds at least.
    """

    speed: float = 1.0
    lost_policy: LostRequestPolicy = LostRequestPolicy.RETRY
    timer_for: TimerFactory = roofline
    record_keep: int = RECORD_KEEP


def generating_pool(plan: DeploymentPlan) -> PoolPlan:
    """The pool whose workers generate tokens."""
    pools = plan.topology.pools
    return next((pool for pool in pools if pool.role is not Role.PREFILL), pools[0])


def refusal_of(plan: DeploymentPlan, isl: int, osl: int) -> str | None:
    """Why an engine of the deployment can never serve a request of this size."""
    for pool in plan.topology.pools:
        size = Submission(0, isl, 1 if pool.role is Role.PREFILL else osl)
        reason = refusal(pool.engine.limits, size, pool.engine.backend)
        if reason is not None:
            return reason
    return None


def card_of(plan: DeploymentPlan, created_s: int) -> ModelCard:
    """What a deployment serves."""
    limits = generating_pool(plan).engine.limits
    return ModelCard(
        model_id=plan.model_id,
        context_tokens=limits.max_model_len,
        block_size_tokens=limits.block_size_tokens,
        prefix_caching=limits.prefix_caching,
        created_s=created_s,
    )
