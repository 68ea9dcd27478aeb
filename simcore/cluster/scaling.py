"""Carries out what a planner wants: how many workers of each role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from contracts.decision import RoleTarget
from contracts.errors import InputError
from contracts.plan import DeploymentPlan, Role
from simcore.cluster.pool import Pool


def scale(pools: Mapping[Role, Pool], plan: DeploymentPlan, targets: Sequence[RoleTarget]) -> None:
    """Set how many workers of each role shall be starting or ready.

    Roles that shrink go first. GPUs of draining workers stay taken until they are done,
    so an order may be filled only in part; the next call completes it.

    Raises:
        InputError: unknown role, negative number, or more GPUs than the budget.
    """
    have = {role: pool.workers_active for role, pool in pools.items()}
    wanted = dict(have)
    for target in targets:
        if target.role not in pools or target.replicas < 0:
            raise InputError(
                "this deployment cannot scale so",
                path=target.role.value,
                value=str(target.replicas),
                allowed=f"0 or more of {', '.join(pools)}",
            )
        wanted[target.role] = target.replicas
    gpus = sum(n * pools[role].plan.engine.gpus for role, n in wanted.items())
    if gpus > plan.gpu_budget:
        raise InputError(
            "targets exceed the GPU budget",
            value=f"{gpus} GPUs",
            allowed=f"at most {plan.gpu_budget}",
        )
    for target in sorted(targets, key=lambda t: t.replicas - have[t.role]):
        pool = pools[target.role]
        taken = sum(each.gpus_taken for each in pools.values())
        room = (plan.gpu_budget - taken) // pool.plan.engine.gpus
        pool.resize(target.replicas, startup_s=plan.startup_s, room=max(0, room))
