"""The cluster of a rehearsal: the embedded one or a given one, a namespace, the operator."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from contracts.errors import PermanentError, UnsupportedError
from contracts.exits import UNTIL_STDIN_ENDS
from dgdr import Dgdr
from dgdr.crds import crd_files
from dgdr.operator.api import ApiError
from dgdr.operator.client import KubeClient
from dgdr.operator.resources import DEPLOYMENTS, Resource
from dgdr.reconcile.actions import Ref
from harness.run.kube.limits import EMBEDDED_FAULTS
from harness.run.process import log_end, running, said
from harness.scenario import Scenario
from harness.settings import checkout

FAULTS_PATH = "/harness/faults"
ROLES_FILE = "deploy/base/roles.yaml"
TOKEN_SECRET = "hf-token-secret"
POLL_S = 0.25
# Told to end, the embedded cluster ends its pods first.
_CLUSTER_STOP_S, _OPERATOR_STOP_S = 15.0, 15.0
_ESTABLISHED_LIMIT_S, _GONE_LIMIT_S = 30.0, 120.0
# After the loss of a node its pods go elsewhere at once, as in the rungs below.
_EVICT_S = 1.0
_SPARE_NODES = 1
_OPERATOR = DEPLOYMENTS.ref("dgdr-system", "dgdr-operator")
_DEFINITIONS = Resource(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A cluster that is ready for a request.

    Attributes:
        namespace: of this rehearsal alone.
        embedded: whether it takes faults, as the embedded cluster does.
        check: raises when a program that the rehearsal needs has ended.
    """

    client: KubeClient
    kubeconfig: Path
    namespace: str
    embedded: bool
    check: Callable[[], None]

    async def add_fault(self, rule: Mapping[str, Any]) -> str:
        """Add a fault to the embedded cluster; returns its id."""
        answer = await asyncio.to_thread(self.client.request, "POST", FAULTS_PATH, body=dict(rule))
        return str(answer["id"])

    async def end_fault(self, fault_id: str) -> None:
        """End a fault; one that is over already is no error."""
        with contextlib.suppress(ApiError):
            await asyncio.to_thread(self.client.request, "DELETE", f"{FAULTS_PATH}/{fault_id}")


@contextlib.asynccontextmanager
async def site_for(scenario: Scenario, dgdr: Dgdr, folder: Path) -> AsyncIterator[Site]:
    """Everything that the scenario's request needs while the block is active.

    Without a kubeconfig the embedded cluster is started, with the GPUs of the request and one
    node more. In a given cluster definitions and roles that are missing are installed and stay;
    the namespace with everything in it is deleted at the end.

    Args:
        scenario: with the kubeconfig, if one was given.
        dgdr: the request.
        folder: for files and logs.

    Raises:
        PermanentError: the cluster or the operator does not come up.
        UnsupportedError: a given cluster cannot inject a fault of the scenario.
    """
    async with contextlib.AsyncExitStack() as stack:
        kubeconfig = scenario.kube.kubeconfig
        if kubeconfig is None:
            kubeconfig = await stack.enter_async_context(_embedded(dgdr, folder))
        client = KubeClient(str(kubeconfig))
        stack.callback(client.close)
        embedded = await asyncio.to_thread(_takes_faults, client)
        _check_faults(scenario, embedded=embedded)
        await _install(client)
        namespace = f"rehearsal-{secrets.token_hex(4)}"
        stack.push_async_callback(_remove_namespace, client, namespace)
        await asyncio.to_thread(_make_namespace, client, namespace)
        check = await _operator(stack, client, kubeconfig, namespace, folder / "operator.log")
        yield Site(
            client=client,
            kubeconfig=kubeconfig,
            namespace=namespace,
            embedded=embedded,
            check=check,
        )


@contextlib.asynccontextmanager
async def _embedded(dgdr: Dgdr, folder: Path) -> AsyncIterator[Path]:
    """The embedded cluster, as a process; yields its kubeconfig."""
    place, log = folder / "cluster", folder / "cluster.log"
    hardware = dgdr.spec.hardware
    per_node = hardware.num_gpus_per_node or 8
    nodes = math.ceil((hardware.total_gpus or per_node) / per_node) + _SPARE_NODES
    words = [sys.executable, "-m", "harness.cluster", "--folder", str(place), UNTIL_STDIN_ENDS]
    words += ["--nodes", str(nodes), "--gpus-per-node", str(per_node)]
    words += ["--evict-s", f"{_EVICT_S:g}"]
    words += ["--sku", hardware.gpu_sku.value] if hardware.gpu_sku else []
    async with running(words, log, stop_limit_s=_CLUSTER_STOP_S) as process:
        await said(process, "cluster ready ", log, what="the embedded cluster")
        yield place / "kubeconfig"


def _takes_faults(client: KubeClient) -> bool:
    try:
        client.request("GET", FAULTS_PATH)
    except ApiError as error:
        if error.status == 0:
            raise PermanentError(f"no Kubernetes API answers: {error}") from error
        return False
    return True


def _check_faults(scenario: Scenario, *, embedded: bool) -> None:
    asked = sorted(scenario.fault_kinds & EMBEDDED_FAULTS)
    if asked and not embedded:
        raise UnsupportedError(
            f"this cluster cannot inject {', '.join(asked)}: run without --kubeconfig, on the "
            "embedded cluster"
        )


async def _install(client: KubeClient) -> None:
    """Create definitions and roles that are missing, and wait until requests are served."""
    definitions = list(crd_files().values())
    roles = checkout() / ROLES_FILE
    try:
        documents = list(yaml.safe_load_all(roles.read_text(encoding="utf-8")))
    except OSError as error:
        raise PermanentError(f"{ROLES_FILE} of the source tree is missing: {error}") from error
    for data in definitions:
        await asyncio.to_thread(_create, client, _DEFINITIONS.path(None), dict(data))
    for data in documents:
        path = f"/apis/{data['apiVersion']}/clusterroles"
        await asyncio.to_thread(_create, client, path, data)
    end_s = asyncio.get_running_loop().time() + _ESTABLISHED_LIMIT_S
    for data in definitions:
        ref = Ref(
            api_version=_DEFINITIONS.api_version, kind=_DEFINITIONS.kind, namespace="",
            name=data["metadata"]["name"],
        )  # fmt: skip
        while not _established(await asyncio.to_thread(client.get, ref)):
            if asyncio.get_running_loop().time() > end_s:
                raise PermanentError(f"the definition {ref.name} is not established")
            await asyncio.sleep(POLL_S)


def _established(definition: Json | None) -> bool:
    conditions = ((definition or {}).get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


def _create(client: KubeClient, path: str, data: Json) -> None:
    try:
        client.request("POST", path, body=data)
    except ApiError as error:
        if not error.exists:
            raise


def _make_namespace(client: KubeClient, name: str) -> None:
    metadata = {"name": name}
    _create(client, "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace",
            "metadata": metadata})  # fmt: skip
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": TOKEN_SECRET, "namespace": name},
        "stringData": {"HF_TOKEN": "none"},
    }
    _create(client, f"/api/v1/namespaces/{name}/secrets", secret)


async def _remove_namespace(client: KubeClient, name: str) -> None:
    """Delete the namespace and wait until it is gone."""
    path = f"/api/v1/namespaces/{name}"
    end_s = asyncio.get_running_loop().time() + _GONE_LIMIT_S
    while True:
        try:
            await asyncio.to_thread(client.request, "DELETE", path)
        except ApiError as error:
            if error.missing:
                return
            if error.status == 0:
                raise PermanentError(f"namespace {name} cannot be deleted: {error}") from error
        if asyncio.get_running_loop().time() > end_s:
            raise PermanentError(f"namespace {name} is not gone after {_GONE_LIMIT_S:g} s")
        await asyncio.sleep(POLL_S)


async def _operator(
    stack: contextlib.AsyncExitStack,
    client: KubeClient,
    kubeconfig: Path,
    namespace: str,
    log: Path,
) -> Callable[[], None]:
    """The installed operator, else a process of its own for this namespace only."""
    if await asyncio.to_thread(client.get, _OPERATOR) is not None:
        return lambda: None
    words = [sys.executable, "-m", "dgdr.operator", "--kubeconfig", str(kubeconfig)]
    words += ["--namespace", namespace, UNTIL_STDIN_ENDS]
    process = await stack.enter_async_context(running(words, log, stop_limit_s=_OPERATOR_STOP_S))

    def check() -> None:
        if process.returncode is not None:
            raise PermanentError(f"the operator ended: {log_end(log) or 'no output'}")

    return check
