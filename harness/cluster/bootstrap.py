"""What a cluster holds from the start: namespaces, roles, nodes; addresses of services."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from contracts.errors import PermanentError
from harness.cluster.control.client import Client
from harness.cluster.control.nodes import Inventory, node_object
from harness.cluster.kinds.resource import ResourceType
from harness.cluster.objects.meta import Obj, labels_of, name_of
from harness.cluster.ranges import addresses, first_address, range_of
from harness.cluster.store import Store

Claim = Callable[[Collection[int]], int]
_HALVES = {"pods": False, "services": True}  # whether it is the upper half of the range
_RBAC = "rbac.authorization.k8s.io"
_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_READ = ["get", "list", "watch"]
_WRITE = ["create", "update", "patch", "delete", "deletecollection"]
_ROLES: dict[str, list[Obj]] = {
    "cluster-admin": [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
        {"nonResourceURLs": ["*"], "verbs": ["*"]},
    ],
    "admin": [{"apiGroups": ["*"], "resources": ["*"], "verbs": [*_READ, *_WRITE]}],
    "edit": [
        {
            "apiGroups": ["", "apps", "batch", "coordination.k8s.io"],
            "resources": ["*"],
            "verbs": [*_READ, *_WRITE],
        }
    ],
    "view": [
        {
            "apiGroups": ["", "apps", "batch", "coordination.k8s.io"],
            "resources": ["pods", "pods/log", "services", "configmaps", "events", "endpoints",
                          "persistentvolumeclaims", "serviceaccounts", "namespaces", "jobs",
                          "deployments", "replicasets", "leases"],
            "verbs": _READ,
        }
    ],
}  # fmt: skip


class Addresses:
    """Hands out loopback addresses: one for each pod and service.

    Args:
        store: addresses in use there are not handed out again.
        claim: given the numbers of the ranges in use, returns the one that new addresses
            come from; None puts every pod and service at 127.0.0.1, for systems where that
            is the whole loopback.
    """

    def __init__(self, store: Store, claim: Claim | None) -> None:
        self._store = store
        known = [range_of(text) for kind in _HALVES for text in self._used(kind)]
        needed = {number for number in known if number is not None}
        self._range = None if claim is None else claim(needed)
        self._last: dict[str, int] = {}

    def pod(self) -> str:
        """An address for a pod."""
        return self._next("pods")

    def service(self) -> str:
        """An address for a service."""
        return self._next("services")

    def _next(self, kind: str) -> str:
        if self._range is None:
            return "127.0.0.1"
        used = set(self._used(kind))
        upper = _HALVES[kind]
        last = self._last.get(kind, first_address(self._range, services=upper))
        for number, text in addresses(self._range, last, services=upper):
            if text not in used:
                self._last[kind] = number
                return text
        raise PermanentError(f"no address is left for {kind} in 127.{self._range}.0.0/16")

    def _used(self, kind: str) -> Iterable[str]:
        for obj in self._store.list(kind):
            if kind == "pods":
                yield str((obj.get("status") or {}).get("podIP") or "")
            else:
                yield str((obj.get("spec") or {}).get("clusterIP") or "")


def complete_new(addresses: Addresses, resource: ResourceType, obj: Obj) -> None:
    """Give a new service its address, in place."""
    if resource.storage == "services":
        spec = obj["spec"]
        if spec.get("type") != "ExternalName" and not spec.get("clusterIP"):
            spec["clusterIP"] = addresses.service()
        if spec.get("clusterIP"):
            spec.setdefault("clusterIPs", [spec["clusterIP"]])


def boot(client: Client, inventory: Inventory) -> None:
    """Create what is missing; nodes beyond the inventory are removed."""
    store = client.store
    for name in _NAMESPACES:
        if store.get("namespaces", "", name) is None:
            metadata = {"name": name}
            found = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
            client.create("namespaces", found)
    for name, rules in _ROLES.items():
        if store.get(f"clusterroles.{_RBAC}", "", name) is None:
            role = {
                "apiVersion": f"{_RBAC}/v1",
                "kind": "ClusterRole",
                "metadata": {"name": name},
                "rules": rules,
            }
            client.create(f"clusterroles.{_RBAC}", role)
    wanted = {name_of(node): node for node in _nodes(inventory)}
    for node in store.list("nodes"):
        if name_of(node) not in wanted:
            client.delete("nodes", node)
    for name, node in wanted.items():
        old = store.get("nodes", "", name)
        if old is None:
            client.create("nodes", node)
        elif old["status"]["capacity"] != node["status"]["capacity"]:
            labels = {**labels_of(old), **labels_of(node)}
            status = {**old["status"], **node["status"]}
            changed: Obj = {**old["metadata"], "labels": labels}
            store.put("nodes", {**old, "metadata": changed, "status": status})


def _nodes(inventory: Inventory) -> list[Obj]:
    return [node_object(inventory, index) for index in range(inventory.nodes)]
