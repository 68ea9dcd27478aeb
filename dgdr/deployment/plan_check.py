"""Whether a plan can be deployed on what the request allows."""

from __future__ import annotations

from contracts.errors import InfeasibleError, InputError
from contracts.plan import DeploymentPlan
from dgdr.deployment.workers import pod_gpus
from dgdr.problems import raise_problems
from dgdr.request import DgdrSpec


def check_plan(spec: DgdrSpec, plan: DeploymentPlan) -> None:
    """Refuse pools without replicas and more GPUs than the request has.

    Pods of one replica ask for equally many GPUs, so a replica that does not fill its last
    machine takes more than its engine uses; what is taken counts.

    Raises:
        InputError: a pool has no replica.
        InfeasibleError: the pods take more GPUs than ``spec.hardware.totalGpus``.
    """
    raise_problems(
        [
            InputError(
                f"the {pool.role.value} pool has no replica",
                path=f"plan.{pool.role.value}.replicas",
                value=str(pool.replicas),
                allowed="at least 1",
            )
            for pool in plan.topology.pools
            if pool.replicas < 1
        ]
    )
    taken = 0
    for pool in plan.topology.pools:
        gpus = pod_gpus(spec, pool)
        taken += pool.replicas * gpus.nodes * gpus.of_pod
    total = spec.hardware.total_gpus
    if total is not None and taken > total:
        uses = f"the plan uses {plan.gpus} GPUs"
        raise InfeasibleError(
            uses if taken == plan.gpus else f"{uses}, and its pods take {taken}",
            binding_constraint=f"spec.hardware.totalGpus is {total}",
        )
