"""Endpoints of services, and claims that are bound at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.cluster.control.client import Client
from harness.cluster.control.loop import Key, key_of
from harness.cluster.objects.errors import ApiError
from harness.cluster.objects.meta import (
    Json,
    Obj,
    condition,
    controller_reference,
    deleting,
    labels_of,
    name_of,
    namespace_of,
    uid_of,
)
from harness.cluster.store import Change

ENDPOINTS = "endpoints"
SLICES = "endpointslices.discovery.k8s.io"


@dataclass(frozen=True, slots=True)
class Backend:
    """Where a port of a service leads."""

    host: str
    port: int


class ServiceController:
    """Writes Endpoints and an EndpointSlice for each service with a selector."""

    name = "services"

    def __init__(self, client: Client) -> None:
        self._client = client

    def keys(self, change: Change) -> Iterable[Key]:
        """Services, and the services that select a pod."""
        if change.resource == "services" and change.kind != "DELETED":
            yield key_of(change)
        elif change.resource == "pods":
            labels = labels_of(change.obj)
            for service in self._client.store.list("services", namespace_of(change.obj)):
                if _selects(service, labels):
                    yield (namespace_of(service), name_of(service))

    def reconcile(self, namespace: str, name: str) -> float | None:
        """One step for one service."""
        service = self._client.store.get("services", namespace, name)
        if service is None or deleting(service) or not service["spec"].get("selector"):
            return None
        pods = [
            pod
            for pod in self._client.store.list("pods", namespace)
            if _selects(service, labels_of(pod))
            and not deleting(pod)
            and (pod.get("status") or {}).get("podIP")
        ]
        ready = [pod for pod in pods if _is_ready(pod)]
        waiting = [pod for pod in pods if pod not in ready]
        metadata = {
            "name": name,
            "namespace": namespace,
            "ownerReferences": [controller_reference(service)],
        }
        ports = [
            {"name": p.get("name", ""), "port": number, "protocol": p.get("protocol", "TCP")}
            for p in service["spec"].get("ports") or ()
            if (number := _number(p.get("targetPort", p["port"]), pods)) is not None
        ]
        subset: Obj = {"ports": ports}
        for field, listed in (("addresses", ready), ("notReadyAddresses", waiting)):
            if listed:
                subset[field] = [_address(pod) for pod in listed]
        found = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata}
        self._write(ENDPOINTS, {**found, "subsets": [subset] if pods else []})
        labels = {"kubernetes.io/service-name": name}
        slice_ = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": labels},
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": [
                {
                    "addresses": [pod["status"]["podIP"]],
                    "conditions": {"ready": pod in ready},
                    "nodeName": pod["spec"].get("nodeName"),
                    "targetRef": _reference(pod),
                }
                for pod in pods
            ],
        }
        self._write(SLICES, slice_)
        return None

    def _write(self, storage: str, wanted: Obj) -> None:
        key = (namespace_of(wanted), name_of(wanted))
        old = self._client.store.get(storage, *key)
        if old is None:
            self._client.create(storage, wanted)
            return
        new = {**old, **{k: v for k, v in wanted.items() if k != "metadata"}}
        if new != old:
            self._client.store.put(storage, new)

    def backends(self, service: Obj, port: Obj) -> list[Backend]:
        """Ready pods behind one port of a service."""
        endpoints = self._client.store.get(ENDPOINTS, namespace_of(service), name_of(service))
        found = []
        for subset in (endpoints or {}).get("subsets") or ():
            for listed in subset.get("ports") or ():
                if listed.get("name", "") == port.get("name", ""):
                    found += [
                        Backend(address["ip"], listed["port"])
                        for address in subset.get("addresses") or ()
                    ]
        return found

    def resolve(self, namespace: str, name: str, port: str) -> tuple[str, int] | None:
        """A ready pod of a service; the port is a name, a number, or empty for the first.

        Raises:
            ApiError: 404.
        """
        service = self._client.store.get("services", namespace, name)
        if service is None:
            raise ApiError(404, "NotFound", f'services "{name}" not found')
        for listed in service["spec"].get("ports") or ():
            if port in {"", listed.get("name"), str(listed["port"])}:
                found = self.backends(service, listed)
                return (found[0].host, found[0].port) if found else None
        return None


class ClaimController:
    """Binds every claim at once: its volume is a folder."""

    name = "claims"

    def __init__(self, client: Client) -> None:
        self._client = client

    def keys(self, change: Change) -> Iterable[Key]:
        """Claims."""
        if change.resource == "persistentvolumeclaims" and change.kind != "DELETED":
            yield key_of(change)

    def reconcile(self, namespace: str, name: str) -> float | None:
        """Bind one claim."""
        claim = self._client.store.get("persistentvolumeclaims", namespace, name)
        if claim is None or (claim.get("status") or {}).get("phase") == "Bound":
            return None
        spec = claim["spec"]
        volume = spec.get("volumeName") or f"pvc-{uid_of(claim)}"
        status = {
            "phase": "Bound",
            "accessModes": spec.get("accessModes") or [],
            "capacity": (spec.get("resources") or {}).get("requests") or {},
        }
        bound = {**claim, "spec": {**spec, "volumeName": volume}, "status": status}
        self._client.store.put("persistentvolumeclaims", bound)
        return None


def _selects(service: Obj, labels: dict[str, str]) -> bool:
    selector = (service.get("spec") or {}).get("selector") or {}
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def _is_ready(pod: Obj) -> bool:
    found = condition(pod, "Ready")
    return found is not None and found.get("status") == "True"


def _number(target: Json, pods: list[Obj]) -> int | None:
    if isinstance(target, int) or str(target).isdigit():
        return int(target)
    for pod in pods:
        for container in pod["spec"].get("containers") or ():
            for port in container.get("ports") or ():
                if port.get("name") == target:
                    return int(port["containerPort"])
    return None


def _reference(pod: Obj) -> Obj:
    return {
        "kind": "Pod",
        "name": name_of(pod),
        "namespace": namespace_of(pod),
        "uid": uid_of(pod),
    }


def _address(pod: Obj) -> Obj:
    return {
        "ip": pod["status"]["podIP"],
        "nodeName": pod["spec"].get("nodeName"),
        "targetRef": _reference(pod),
    }
