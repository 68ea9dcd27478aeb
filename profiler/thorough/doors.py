"""How the profiler reaches the frontends of deployments."""

from __future__ import annotations

import socket
from collections.abc import Callable

import httpx

from contracts.errors import PermanentError
from dgdr.operator.api import ApiError
from dgdr.operator.resources import Resource
from dgdr.reconcile.actions import Json, Ref
from profiler.thorough.kubernetes import Cluster, Doors

FRONTEND_PORT = 8000
_SERVICES = Resource(api_version="v1", kind="Service")


def doors_of(api: Cluster, scheme: str) -> Doors:
    """DNS names of Services; where there is no cluster DNS, their addresses."""
    return Doors(
        url_of=lambda name, namespace: frontend_url(api, name, namespace, scheme, resolves),
        answers=serves_model,
        metrics=metrics_texts,
    )


def frontend_url(
    api: Cluster, name: str, namespace: str, scheme: str, resolves: Callable[[str], bool]
) -> str:
    """Base URL of the frontend of a deployment.

    Raises:
        PermanentError: the name does not resolve and the Service has no address.
    """
    host = f"{name}-frontend.{namespace}.svc.cluster.local"
    if resolves(host):
        return f"{scheme}://{host}:{FRONTEND_PORT}"
    ref = Ref(
        api_version=_SERVICES.api_version,
        kind=_SERVICES.kind,
        namespace=namespace,
        name=f"{name}-frontend",
    )
    try:
        service: Json | None = api.get(ref)
    except ApiError as error:
        raise PermanentError(f"{host} does not resolve, and its Service: {error}") from error
    address = (service or {}).get("spec", {}).get("clusterIP")
    if not address or address == "None":
        raise PermanentError(f"{host} does not resolve and its Service has no address")
    return f"{scheme}://{address}:{FRONTEND_PORT}"


def resolves(host: str) -> bool:
    """Whether a name has an address here."""
    try:
        socket.getaddrinfo(host, FRONTEND_PORT)
    except OSError:
        return False
    return True


def serves_model(url: str, model: str) -> str | None:
    """Why a frontend does not serve a model yet, ``None`` when it does."""
    try:
        with httpx.Client(timeout=5.0, trust_env=False) as client:
            answer = client.get(f"{url}/v1/models")
    except httpx.HTTPError as error:
        return f"{type(error).__name__}: {error}"
    if not answer.is_success:
        return f"http {answer.status_code}"
    try:
        names = [str(entry["id"]).lower() for entry in answer.json()["data"]]
    except (ValueError, KeyError, TypeError):
        return "/v1/models gives no list of models"
    return None if model.lower() in names else f"models are {', '.join(names) or 'none'}"


def metrics_texts(places: list[str]) -> list[str]:
    """Texts of /metrics; places that do not answer are left out."""
    found = []
    with httpx.Client(timeout=5.0, trust_env=False) as client:
        for place in places:
            try:
                answer = client.get(f"{place}/metrics")
            except httpx.HTTPError:
                continue
            if answer.is_success:
                found.append(answer.text)
    return found
