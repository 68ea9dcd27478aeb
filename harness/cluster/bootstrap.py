"""What a cluster holds from the start: namespaces, roles, nodes; addresses of services."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from harness.cluster.control.client import Client
from harness.cluster.control.nodes import Inventory, node_object
from harness.cluster.kinds.resource import ResourceType
from harness.cluster.objects.meta import Obj, labels_of, name_of
from harness.cluster.store import Store

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
        whole_range: whether all of 127.0.0.0/8 is the loopback (Linux); otherwise every pod
            and service is at 127.0.0.1.
    """

    def __init__(self, store: Store, *, whole_range: bool) -> None:
        self._store = store
        self._whole = whole_range
        self._last = {"pods": int(ipaddress.ip_address("127.10.0.0")),
                      "services": int(ipaddress.ip_address("127.20.0.0"))}  # fmt: skip

    def pod(self) -> str:
        """An address for a pod."""
        return self._next("pods")

    def service(self) -> str:
        """An address for a service."""
        return self._next("services")

    def _next(self, kind: str) -> str:
        if not self._whole:
            return "127.0.0.1"
        used = set(self._used(kind))
        while True:
            self._last[kind] += 1
            found = str(ipaddress.ip_address(self._last[kind]))
            if found not in used and not found.endswith((".0", ".255")):
                return found

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
