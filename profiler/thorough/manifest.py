"""The DynamoGraphDeployment of one candidate."""

from __future__ import annotations

from typing import Any

from contracts.engine import Backend
from contracts.errors import InvariantError, RehearsalError
from contracts.plan import AggPlan, DeploymentPlan, PoolPlan, Role, RouterPolicy
from dgdr import API_VERSION, KIND, Dgdr, build_dgd, dump_documents
from dgdr.graph import GRAPH_KIND
from dgdr.reconcile.actions import Json
from profiler.thorough.options import Identity
from profiler.thorough.ports import CandidateError, Order

PROFILING_LABEL = "dgdr.nvidia.com/profiling"
SPEED_VARIABLE = "MOCKER_SPEED"


def candidate_graph(  # what a deployment depends on
    dgdr: Dgdr,
    order: Order,
    name: str,
    identity: Identity,
    *,
    owner: Json | None,
    speed: float = 1.0,
) -> Json:
    """One replica of an engine and its frontend, without role flags and planner.

    Args:
        dgdr: the request; gives images, model cache and tolerations.
        order: engine and role.
        name: of the deployment.
        identity: where it goes.
        owner: reference to the request.
        speed: of mockers that stand in for engines; engines do not look at it.

    Raises:
        CandidateError: the engine cannot be written as a deployment.
    """
    plan = DeploymentPlan(
        name=name,
        topology=AggPlan(pool=PoolPlan(role=Role.AGG, engine=order.engine, replicas=1)),
        router=RouterPolicy.ROUND_ROBIN,
        startup_s=0.0,
        gpu_budget=order.engine.gpus,
        sla=dgdr.spec.sla.target,
    )
    try:
        documents = build_dgd(engines_only(dgdr), plan, planner_config=None)
    except RehearsalError as error:
        raise CandidateError(str(error)) from error
    graph = next((each for each in documents if each.get("kind") == GRAPH_KIND), None)
    if graph is None:
        raise InvariantError("build_dgd gave no deployment")
    result: Json = dict(graph)
    result["metadata"] = {
        **result["metadata"],
        "name": name,
        "namespace": identity.namespace,
        "labels": {
            **(result["metadata"].get("labels") or {}),
            PROFILING_LABEL: identity.name,
        },
        **({"ownerReferences": [owner]} if owner is not None else {}),
    }
    for component in result["spec"]["components"]:
        if component["type"] != "frontend":
            _adapt(component, order, speed)
    return result


def engines_only(dgdr: Dgdr) -> Dgdr:
    """The request without planner and mocker: engines as they are measured."""
    features = dgdr.spec.features
    plain = features.model_copy(
        update={"planner": None, "mocker": features.mocker.model_copy(update={"enabled": False})}
    )
    return dgdr.model_copy(update={"spec": dgdr.spec.model_copy(update={"features": plain})})


def graph_text(graph: Json) -> str:
    """YAML of a deployment."""
    return dump_documents([graph])


def owner_of(identity: Identity) -> Json | None:
    """The reference that lets a deployment go when its request goes."""
    if not identity.uid:
        return None
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": identity.name,
        "uid": identity.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _adapt(component: dict[str, Any], order: Order, speed: float) -> None:
    container = component["podTemplate"]["spec"]["containers"][0]
    spread = order.engine.model.experts and order.role is Role.DECODE
    if spread and order.engine.backend is Backend.SGLANG:
        args = list(container.get("args") or ())
        if "--load-balance-method" not in args:
            container["args"] = [*args, "--load-balance-method", "round_robin"]
    if speed != 1.0:
        env = [e for e in container.get("env") or () if e.get("name") != SPEED_VARIABLE]
        container["env"] = [*env, {"name": SPEED_VARIABLE, "value": str(speed)}]
