"""From a request in a cluster to a deployment that answers, and its address from here."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from contracts.errors import PermanentError
from contracts.plan import DeploymentPlan, PoolPlan, Role
from dgdr.operator.api import ApiError
from dgdr.operator.resources import PODS, REQUESTS, SERVICES
from dgdr.reconcile.workloads import FRONTEND_PORT, component_labels
from harness.run.kube.request import request_of
from harness.run.kube.site import POLL_S, Site
from harness.run.prepare import Prepared
from harness.run.process import running, said
from mocker.dynamo.graph import plan_of_graph
from planner.adapters.kubernetes import GraphApi, GraphName
from planner.adapters.kubernetes.components import ScaledComponent, scaled_components
from planner.adapters.kubernetes.pods import belongs, is_ready

ENDPOINT = "cluster.harness/endpoint"
DEPLOY_LIMIT_S = 900.0
_CONNECT_LIMIT_S = 2.0
_FORWARDING = "Forwarding from "
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A deployment that runs in a cluster.

    Attributes:
        phases: seconds from the request until each of its phases was first seen, and until all
            workers of the plan were ready.
        components: of each pool.
    """

    site: Site
    graph: GraphName
    phases: dict[str, float]
    components: Mapping[Role, ScaledComponent]

    async def pods(self) -> tuple[Json, ...]:
        """All its pods, as the API lists them."""
        selector = component_labels(self.graph.name)
        client = self.site.client
        found = await asyncio.to_thread(client.list, PODS, self.graph.namespace, selector)
        return found.items

    async def delete_pod(self, name: str) -> None:
        """Kill a pod: no time to end by itself."""
        path = PODS.path(self.graph.namespace, name)
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
        await asyncio.to_thread(self.site.client.request, "DELETE", path, body=options)

    async def planner_log(self) -> str:
        """What the planner's pod has said; empty without one."""
        for pod in await self.pods():
            if belongs(pod, "Planner"):
                ref = PODS.ref(self.graph.namespace, pod["metadata"]["name"])
                with contextlib.suppress(ApiError):
                    return await asyncio.to_thread(self.site.client.log, ref, "main")
        return ""


async def deploy(site: Site, prepared: Prepared, say: Callable[[str], None]) -> Deployment:
    """Apply the request and wait until the deployment of the plan serves.

    Args:
        site: where.
        prepared: with the plan that the rungs below run.
        say: told each phase of the request.

    Raises:
        PermanentError: the request fails, or what was deployed is not what was planned.
    """
    request = request_of(prepared, site.namespace)
    await asyncio.to_thread(site.client.create, request)
    begin_s = asyncio.get_running_loop().time()
    phases = await _wait_deployed(site, str(request["metadata"]["name"]), say)
    name = GraphName(namespace=site.namespace, name=prepared.dgdr.dgd_name)
    api = GraphApi(site.client, name)
    graph = await asyncio.to_thread(api.graph)
    _check_plan(graph, prepared.plan)
    roles = [pool.role for pool in prepared.plan.topology.pools]
    components = scaled_components(graph, roles)
    deployment = Deployment(site=site, graph=name, phases=phases, components=components)
    for pool in prepared.plan.topology.pools:
        component = components[pool.role]
        if await asyncio.to_thread(api.replicas, component) != pool.replicas:
            await asyncio.to_thread(api.set_replicas, component, pool.replicas)
    say("workers")
    await _wait_workers(deployment, prepared.plan)
    phases["all workers ready"] = asyncio.get_running_loop().time() - begin_s
    return deployment


async def _wait_deployed(site: Site, name: str, say: Callable[[str], None]) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    begin_s, phases = loop.time(), dict[str, float]()
    ref = REQUESTS.ref(site.namespace, name)
    while True:
        site.check()
        found = await asyncio.to_thread(site.client.get, ref)
        status = (found or {}).get("status") or {}
        phase = str(status.get("phase") or "")
        waited_s = loop.time() - begin_s
        if phase and phase not in phases:
            phases[phase] = waited_s
            say(phase)
        if phase == "Deployed":
            return phases
        if phase == "Failed":
            raise PermanentError(f"the request {name} failed in the cluster: {_why(status)}")
        if waited_s > DEPLOY_LIMIT_S:
            raise PermanentError(
                f"the request {name} is {phase or 'not seen'} after {waited_s:.0f} s"
            )
        await asyncio.sleep(POLL_S)


def _why(status: Json) -> str:
    conditions = status.get("conditions") or ()
    texts = [str(c.get("message")) for c in conditions if c.get("status") == "False"]
    return "; ".join(text for text in texts if text) or "no reason is given"


def _check_plan(graph: Json, plan: DeploymentPlan) -> None:
    """What the operator deployed must be the deployment that the rungs below run.

    Raises:
        PermanentError: it has other pools, engines or another router.
    """
    variables = {"GPU_SKU": plan.topology.pools[0].engine.gpu.sku}
    deployed = plan_of_graph(graph, variables, source="the deployment")
    found, wanted = (_shapes(each) for each in (deployed, plan))
    if found != wanted:
        raise PermanentError(
            f"the operator deployed {'; '.join(found)}, where the rungs below run "
            f"{'; '.join(wanted)}"
        )


def _shapes(plan: DeploymentPlan) -> list[str]:
    return [*(_shape(pool) for pool in plan.topology.pools), f"router {plan.router.value}"]


def _shape(pool: PoolPlan) -> str:
    engine = pool.engine
    return (
        f"{pool.role.value} workers with {engine.gpus} {engine.gpu.sku} (TP {engine.tp}), "
        f"weights {engine.weight_dtype.value}, at most {engine.limits.max_num_seqs} requests"
    )


async def _wait_workers(deployment: Deployment, plan: DeploymentPlan) -> None:
    """Until exactly the planned workers are there and ready."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + DEPLOY_LIMIT_S
    while True:
        deployment.site.check()
        pods = await deployment.pods()
        apart = []
        for pool in plan.topology.pools:
            own = [p for p in pods if belongs(p, deployment.components[pool.role].name)]
            ready = sum(is_ready(pod) for pod in own)
            if not ready == len(own) == pool.replicas:
                apart.append(f"{ready} of {pool.replicas} {pool.role.value} workers are ready")
        if not apart:
            return
        if loop.time() > end_s:
            raise PermanentError(f"after {DEPLOY_LIMIT_S:g} s {', '.join(apart)}")
        await asyncio.sleep(POLL_S)


@contextlib.asynccontextmanager
async def reached(deployment: Deployment, folder: Path) -> AsyncIterator[str]:
    """Base address of the frontend's Service; forwarded by kubectl where it is not routed.

    Raises:
        PermanentError: it cannot be reached from here.
    """
    name = f"{deployment.graph.name}-frontend"
    client = deployment.site.client
    service = await asyncio.to_thread(client.get, SERVICES.ref(deployment.graph.namespace, name))
    if service is None:
        raise PermanentError(f"the frontend has no Service {name}")
    for address in _addresses(service):
        if await _answers(address):
            yield f"http://{address}"
            return
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise PermanentError(f"Service {name} cannot be reached from here, and kubectl is missing")
    words = [kubectl, "--kubeconfig", str(deployment.site.kubeconfig)]
    words += ["--namespace", deployment.graph.namespace, "port-forward", f"service/{name}"]
    log = folder / "forward.log"
    async with running([*words, f":{FRONTEND_PORT}"], log) as process:
        text = await said(process, _FORWARDING, log, what="kubectl port-forward")
        yield f"http://{text.partition(' ')[0]}"


def _addresses(service: Json) -> list[str]:
    """Where the Service may be reached: as the embedded cluster says, else by its address."""
    noted = (service["metadata"].get("annotations") or {}).get(ENDPOINT, "")
    pairs = [entry.partition("=")[::2] for entry in noted.split(",") if entry]
    found = [address for port, address in pairs if port == str(FRONTEND_PORT)]
    address = (service.get("spec") or {}).get("clusterIP")
    return found or ([f"{address}:{FRONTEND_PORT}"] if address not in (None, "", "None") else [])


async def _answers(address: str) -> bool:
    limits = httpx.Timeout(_CONNECT_LIMIT_S)
    async with httpx.AsyncClient(timeout=limits, trust_env=False) as client:
        try:
            answer = await client.get(f"http://{address}/health")
        except httpx.HTTPError:
            return False
    return answer.is_success
