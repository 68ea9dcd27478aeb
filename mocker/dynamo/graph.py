"""From a DynamoGraphDeployment to the plan of a deployment, by the arguments of its workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.errors import InputError
from contracts.files import unreadable
from contracts.plan import (
    KV_LINKS,
    AggPlan,
    DeploymentPlan,
    DisaggPlan,
    EngineSpec,
    PoolPlan,
    Role,
    RouterPolicy,
    RouterSettings,
)
from contracts.sla import SlaTarget
from dgdr.parse import parse_document
from mocker.dynamo.engine import BACKENDS, worker_plan
from mocker.dynamo.routing import policy_of, routing_of
from mocker.engines.options import generating_pool

_KIND = "DynamoGraphDeployment"
_MODULE = "dynamo."
_NO_SLA = SlaTarget(ttft_ms=2000.0, itl_ms=30.0)  # a DGD says nothing about it
_FRONTEND = "frontend"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Component:
    """One component: the module that it runs, its arguments, replicas and environment."""

    module: str
    args: tuple[str, ...]
    replicas: int
    variables: Mapping[str, str]


def load_graph(path: Path, variables: Mapping[str, str]) -> DeploymentPlan:
    """Read a DGD of either version.

    Args:
        path: YAML or JSON; of several documents the DGD is taken.
        variables: the GPU, as for a worker.

    Raises:
        InputError: the file cannot be read or names no worker, or a worker's arguments are wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(unreadable(error), source=str(path)) from error
    data = parse_document(text, source=str(path), kind=_KIND)
    if data.get("kind", _KIND) != _KIND:
        raise InputError(
            "has another kind; a request is profiled first (--dgdr FILE says how)",
            source=str(path),
            path="kind",
            value=str(data["kind"]),
            allowed=_KIND,
        )
    return plan_of_graph(data, variables, source=str(path))


def plan_of_graph(
    data: Mapping[str, Any], variables: Mapping[str, str], *, source: str
) -> DeploymentPlan:
    """The deployment of a DGD.

    Raises:
        InputError: it names no worker, or the arguments of a component are wrong.
        UnsupportedError: the frontend's router is not modelled.
    """
    router, routing = RouterPolicy.ROUND_ROBIN, RouterSettings()
    pools: dict[Role, tuple[EngineSpec, int]] = {}
    for component in _components(data):
        if component.module == _FRONTEND:
            router = policy_of(component.args, component.variables)
            routing = routing_of(component.args, component.variables)
        if component.module not in BACKENDS:
            continue
        worker = worker_plan(component.module, component.args, variables)
        pools[worker.role] = generating_pool(worker.plan).engine, component.replicas
    if not pools or (Role.AGG not in pools and len(pools) != 2):
        raise InputError(
            "has no workers that generate tokens",
            source=source,
            path="spec",
            value=", ".join(role.value for role in pools) or "nothing",
            allowed="a worker, or prefill and decode workers",
        )
    return _assembled(data, pools, router, routing)


def _assembled(
    data: Mapping[str, Any],
    pools: Mapping[Role, tuple[EngineSpec, int]],
    router: RouterPolicy,
    routing: RouterSettings,
) -> DeploymentPlan:
    planned = {
        role: PoolPlan(role=role, engine=engine, replicas=replicas)
        for role, (engine, replicas) in pools.items()
    }
    topology: AggPlan | DisaggPlan
    if Role.AGG in planned:
        topology = AggPlan(pool=planned[Role.AGG])
    else:
        topology = DisaggPlan(
            prefill=planned[Role.PREFILL], decode=planned[Role.DECODE], link=KV_LINKS["rdma"]
        )
    name = data.get("metadata", {}).get("name", "deployment")
    return DeploymentPlan(
        name=str(name),
        topology=topology,
        router=router,
        routing=routing,
        startup_s=0.0,
        gpu_budget=sum(pool.gpus for pool in topology.pools),
        sla=_NO_SLA,
    )


def _components(data: Mapping[str, Any]) -> Iterator[_Component]:
    spec = data.get("spec")
    spec = spec if isinstance(spec, dict) else {}
    found = spec.get("components") or spec.get("services") or {}
    entries = found if isinstance(found, list) else [{"name": k, **v} for k, v in found.items()]
    for entry in entries:
        pod = entry.get("podTemplate", {}).get("spec", {})
        containers = pod.get("containers") or [{}]
        main = entry.get("extraPodSpec", {}).get("mainContainer") or containers[0]
        words = [*main.get("command", ()), *main.get("args", ())]
        if len(words) > 1 and words[0] in ("/bin/sh", "/bin/bash", "sh", "bash"):
            words = " ".join(words[2:]).split()
        module = next((w for w in words if isinstance(w, str) and w.startswith(_MODULE)), "")
        args = tuple(str(word) for word in words[words.index(module) + 1 :]) if module else ()
        env = {
            str(each["name"]): str(each["value"])
            for each in main.get("env") or ()
            if each.get("value") is not None
        }
        replicas = entry.get("replicas")
        yield _Component(
            module=module.removeprefix(_MODULE) or str(entry.get("componentType")),
            args=args,
            replicas=1 if replicas is None else int(replicas),
            variables=env,
        )
