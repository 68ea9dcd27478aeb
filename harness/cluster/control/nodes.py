"""The nodes: inventory with GPU labels, and loss and return of nodes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.cluster.control.client import Client
from harness.cluster.control.loop import Key
from harness.cluster.faults import FaultKind, Faults
from harness.cluster.objects.meta import Obj, copied, name_of, parsed_time, set_condition
from harness.cluster.store import Change

_UNREACHABLE = "node.kubernetes.io/unreachable"
_PRODUCTS = {
    "gb200_sxm": "NVIDIA-GB200",
    "b200_sxm": "NVIDIA-B200",
    "h200_sxm": "NVIDIA-H200",
    "h100_sxm": "NVIDIA-H100-80GB-HBM3",
    "h100_pcie": "NVIDIA-H100-PCIe",
    "a100_sxm": "NVIDIA-A100-SXM4-80GB",
    "a100_pcie": "NVIDIA-A100-80GB-PCIe",
    "l40s": "NVIDIA-L40S",
    "l40": "NVIDIA-L40",
    "l4": "NVIDIA-L4",
    "v100_sxm": "Tesla-V100-SXM2-32GB",
    "t4": "Tesla-T4",
    "a30": "NVIDIA-A30",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What the cluster has.

    Attributes:
        sku: GPU type in the spelling of DGDR requests.
        memory_mib: memory of one GPU.
        cpus: CPU cores that each node claims to have.
        ram_gib: memory that each node claims to have.
    """

    nodes: int = 2
    gpus_per_node: int = 8
    sku: str = "h200_sxm"
    memory_mib: int = 143_771
    cpus: int = 192
    ram_gib: int = 2048


def node_object(inventory: Inventory, index: int) -> Obj:
    """A node as it joins."""
    name = f"node-{index}"
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "node.kubernetes.io/instance-type": inventory.sku,
    }
    amounts: dict[str, str] = {
        "cpu": str(inventory.cpus),
        "memory": f"{inventory.ram_gib}Gi",
        "pods": "250",
        "ephemeral-storage": "1Ti",
    }
    if inventory.gpus_per_node:
        amounts["nvidia.com/gpu"] = str(inventory.gpus_per_node)
        labels |= {
            "nvidia.com/gpu.present": "true",
            "nvidia.com/gpu.product": _PRODUCTS.get(inventory.sku, inventory.sku),
            "nvidia.com/gpu.count": str(inventory.gpus_per_node),
            "nvidia.com/gpu.memory": str(inventory.memory_mib),
        }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"providerID": f"harness://{name}"},
        "status": {
            "capacity": amounts,
            "allocatable": dict(amounts),
            "addresses": [
                {"type": "InternalIP", "address": "127.0.0.1"},
                {"type": "Hostname", "address": name},
            ],
            "nodeInfo": {
                "kubeletVersion": "v1.33.0+harness",
                "kubeProxyVersion": "",
                "osImage": "local processes",
                "architecture": "amd64",
                "operatingSystem": "linux",
                "containerRuntimeVersion": "process://1",
                "kernelVersion": "",
                "bootID": "",
                "machineID": "",
                "systemUUID": "",
            },
        },
    }


class NodeController:
    """Keeps the Ready condition and taints of nodes in step with the faults.

    Attributes:
        evict_s: longest time that pods stay bound to a lost node, whatever they tolerate.
    """

    name = "nodes"

    def __init__(self, client: Client, faults: Faults, *, evict_s: float) -> None:
        self._client = client
        self._faults = faults
        self.evict_s = evict_s

    def keys(self, change: Change) -> Iterable[Key]:
        """Every changed node; nodes are also queued when faults come and go."""
        if change.resource == "nodes" and change.kind != "DELETED":
            yield ("", name_of(change.obj))

    def reconcile(self, namespace: str, name: str) -> float | None:
        """Set the condition of one node; pods leave a lost one after their toleration."""
        node = self._client.store.get("nodes", namespace, name)
        if node is None:
            return None
        lost = self._faults.active(FaultKind.NODE_LOSS, name) is not None
        new = copied(node)
        self._set_ready(new, lost=lost)
        _set_taints(new, lost=lost)
        if new != node:
            self._client.store.put("nodes", new)
            reason = "NodeNotReady" if lost else "NodeReady"
            self._client.event(node, reason, f"Node {name} status is now: {reason}", warning=lost)
        if not lost:
            return 1.0 if self._faults.rules() else None
        self._evict(new)
        return 0.2

    def _set_ready(self, node: Obj, *, lost: bool) -> None:
        status = node.setdefault("status", {})
        wanted = {
            "type": "Ready",
            "status": "Unknown" if lost else "True",
            "reason": "NodeStatusUnknown" if lost else "KubeletReady",
            "message": "Kubelet stopped posting node status."
            if lost
            else "kubelet is posting ready status",
        }
        status["conditions"] = set_condition(
            status.get("conditions") or [], wanted, self._client.now()
        )

    def _not_ready(self, pod: Obj) -> None:
        """Take a pod of a lost node out of its services."""
        status = copied(pod.get("status") or {})
        if status.get("phase") in _OVER:
            return
        for kind in ("Ready", "ContainersReady"):
            wanted = {"type": kind, "status": "False", "reason": "NodeNotReady"}
            status["conditions"] = set_condition(
                status.get("conditions") or [], wanted, self._client.now()
            )
        self._client.set_status("pods", pod, status)

    def _evict(self, node: Obj) -> None:
        now_s = self._client.clock.unix_s()
        since_s = next(
            parsed_time(item["timeAdded"])
            for item in node["spec"]["taints"]
            if item["key"] == _UNREACHABLE
        )
        for pod in self._client.store.list("pods"):
            if (pod.get("spec") or {}).get("nodeName") != name_of(node):
                continue
            self._not_ready(pod)
            wait_s = _tolerated_s(pod)
            if wait_s is not None and now_s - since_s >= min(wait_s, self.evict_s):
                self._client.event(pod, "TaintManagerEviction", "deleting pod of a lost node")
                self._client.delete("pods", pod, gracePeriodSeconds=0)


_OVER = frozenset({"Succeeded", "Failed"})


def _tolerated_s(pod: Obj) -> float | None:
    """Seconds that a pod tolerates a lost node; None for ever."""
    for item in (pod.get("spec") or {}).get("tolerations") or ():
        if item.get("key") in {None, "", _UNREACHABLE} and item.get("effect") in {
            None,
            "",
            "NoExecute",
        }:
            seconds = item.get("tolerationSeconds")
            return None if seconds is None else float(seconds)
    return 0.0


def _set_taints(node: Obj, *, lost: bool) -> None:
    spec = node.setdefault("spec", {})
    taints = spec.get("taints") or []
    marked = any(item.get("key") == _UNREACHABLE for item in taints)
    if lost and not marked:
        condition = next(c for c in node["status"]["conditions"] if c["type"] == "Ready")
        since = condition["lastTransitionTime"]
        for effect in ("NoSchedule", "NoExecute"):
            taints.append({"key": _UNREACHABLE, "effect": effect, "timeAdded": since})
        spec["taints"] = taints
    elif not lost and marked:
        kept = [item for item in taints if item.get("key") != _UNREACHABLE]
        spec["taints"] = kept
        if not kept:
            del spec["taints"]
