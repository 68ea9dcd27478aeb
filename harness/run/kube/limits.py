"""What a scenario asks for that rung ``kube`` cannot do; looked at before anything starts."""

from __future__ import annotations

from contracts.errors import UnsupportedError
from contracts.faults import ImagePullFailure, LateStart, NodeLoss, WorkerCrash
from contracts.plan import Role
from harness.run.prepare import Prepared
from harness.scenario import Scenario

# Faults that only the embedded cluster can inject: an API for them is not part of Kubernetes.
EMBEDDED_FAULTS = frozenset({"node_loss", "image_pull_failure", "late_start", "api_errors"})
# Of conditions that faults wait for.
_UNSEEN = (".running", ".waiting", ".kv_usage_ratio")


def missing_on_kube(scenario: Scenario) -> list[str]:
    """Everything that this rung does not support, in words."""
    deploy = scenario.deploy
    found = [
        f"deploy.{name}, which the operator's profiler is not given"
        for name in ("model_config", "gpu_file", "step_table")
        if getattr(deploy, name) is not None
    ]
    if scenario.planner.enabled and scenario.kube.speed != 1.0:
        found.append("a planner with a kube.speed other than 1: its pod goes by real time")
    for fault in scenario.cluster_faults:
        if isinstance(fault, WorkerCrash | NodeLoss):
            if not fault.restart:
                found.append(f"a {fault.kind} without restart: Kubernetes replaces pods")
        elif isinstance(fault, ImagePullFailure | LateStart) and fault.role not in (None, Role.AGG):
            found.append(f"a {fault.kind} of one pool only: all pools have one image")
    for trigger in scenario.triggers:
        unseen = {t.figure for t in trigger.after.terms if t.figure.endswith(_UNSEEN)}
        found += [f"a fault that waits for the figure {name}" for name in sorted(unseen)]
    return list(dict.fromkeys(found))


def check_topology(prepared: Prepared) -> None:
    """Refuse a topology that the operator would not deploy.

    Raises:
        UnsupportedError: the scenario replaces what the profiler picks by something else than
            another number of workers.
    """
    picked, wanted = prepared.profile.plan.topology.kind, prepared.plan.topology.kind
    if picked != wanted:
        raise UnsupportedError(
            f"rung kube does not support deploy.topology {wanted}: the operator deploys what the "
            f"profiler picks, which is {picked}"
        )
