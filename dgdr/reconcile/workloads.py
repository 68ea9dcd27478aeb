"""Kubernetes objects of one component: Deployment or LeaderWorkerSet, Service, adapter."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from dgdr.convert.graphs import MAIN
from dgdr.convert.plain import dump, put, section
from dgdr.graph import ADAPTER_KIND
from dgdr.reconcile.actions import Json
from dgdr.reconcile.names import MANAGED_LABELS, owner
from dgdr.request import API_VERSION

GRAPH_LABEL = "nvidia.com/dynamo-graph-deployment-name"
COMPONENT_LABEL = "nvidia.com/dynamo-component"
TYPE_LABEL = "nvidia.com/dynamo-component-type"
SELECTOR_LABEL = "nvidia.com/selector"
HASH_ANNOTATION = "dgdr.nvidia.com/template-hash"
# Service account and role of components that ask the Kubernetes API, by their type.
ACCOUNTS = {"planner": "dgdr-planner", "frontend": "dgdr-frontend"}
FRONTEND_PORT, SYSTEM_PORT = 8000, 9090
WORKERS_VARIABLE = "DGDR_WORKERS"
_SHARED_MEMORY = "8Gi"
_USER_ID = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One component of one deployment.

    Attributes:
        replicas: how many there shall be, as an adapter says if there is one.
    """

    graph: Json
    component: Json
    replicas: int

    @property
    def name(self) -> str:
        """The name of its objects."""
        return f"{self.graph['metadata']['name']}-{self.component['name'].lower()}"

    @property
    def kind(self) -> str:
        """The type of the component, ``worker`` when none is given."""
        return str(self.component.get("type") or "worker")

    @property
    def nodes(self) -> int:
        """Machines of one replica."""
        multinode = self.component.get("multinode")
        return int(multinode.get("nodeCount", 2)) if isinstance(multinode, Mapping) else 1

    @property
    def scaled(self) -> bool:
        """Whether an adapter owns the replicas."""
        return self.component.get("scalingAdapter") is not None

    @property
    def works(self) -> bool:
        """Whether it is neither the frontend nor the planner."""
        return self.kind not in ("frontend", "planner")

    @property
    def labels(self) -> dict[str, str]:
        """Labels of its objects and pods."""
        return {
            GRAPH_LABEL: self.graph["metadata"]["name"],
            COMPONENT_LABEL: self.component["name"],
            TYPE_LABEL: self.kind,
            SELECTOR_LABEL: self.name,
            **MANAGED_LABELS,
        }


def component_labels(graph: str) -> str:
    """The selector of all objects of a deployment."""
    return f"{GRAPH_LABEL}={graph}"


def deployment_of(part: Part) -> Json:
    """The Deployment of a component whose replicas fit one machine."""
    template = _template(part)
    spec: Json = {
        "replicas": part.replicas,
        "selector": {"matchLabels": {SELECTOR_LABEL: part.name}},
        "template": template,
    }
    return _object(part, "apps/v1", "Deployment", spec, template)


def worker_set_of(part: Part) -> Json:
    """The LeaderWorkerSet of a component whose replicas span machines."""
    template = _template(part)
    spec: Json = {
        "replicas": part.replicas,
        "leaderWorkerTemplate": {
            "size": part.nodes,
            "restartPolicy": "RecreateGroupOnPodRestart",
            "leaderTemplate": template,
            "workerTemplate": copy.deepcopy(template),
        },
    }
    return _object(part, "leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", spec, template)


def service_of(part: Part) -> Json:
    """The Service of a component: the frontend's API, the system port of the others."""
    frontend = part.kind == "frontend"
    port = FRONTEND_PORT if frontend else SYSTEM_PORT
    entry = {"name": "http" if frontend else "system", "port": port, "targetPort": port}
    spec = {"selector": {SELECTOR_LABEL: part.name}, "ports": [{**entry, "protocol": "TCP"}]}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(part),
        "spec": spec,
    }


def adapter_of(part: Part) -> Json:
    """The scaling adapter of a component; it starts from the component's replicas."""
    reference = {
        "name": part.graph["metadata"]["name"],
        "componentName": part.component["name"],
    }
    return {
        "apiVersion": API_VERSION,
        "kind": ADAPTER_KIND,
        "metadata": _metadata(part),
        "spec": {"replicas": part.replicas, "dgdRef": reference},
    }


def access_of(account: str, namespace: str) -> tuple[Json, Json]:
    """A service account and its rights in a namespace."""
    metadata = {"name": account, "namespace": namespace}
    group = "rbac.authorization.k8s.io"
    binding: Json = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": account},
        "subjects": [{"kind": "ServiceAccount", **metadata}],
    }
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}, binding


def _object(part: Part, api_version: str, kind: str, spec: Json, template: Json) -> Json:
    # Replicas have their own path of change, so they are no part of the fingerprint.
    digest = hashlib.blake2b(dump(template).encode(), digest_size=8).hexdigest()
    metadata = {**_metadata(part), "annotations": {HASH_ANNOTATION: digest}}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}


def _metadata(part: Part) -> Json:
    return {
        "name": part.name,
        "namespace": part.graph["metadata"]["namespace"],
        "labels": part.labels,
        "ownerReferences": [owner(part.graph)],
    }


def _template(part: Part) -> Json:
    template: Json = copy.deepcopy(section(part.component, "podTemplate"))
    labels = {**section(template, "metadata", "labels"), **part.labels}
    put(template, labels, "metadata", "labels")
    pod = section(template, "spec")
    containers = [dict(entry) for entry in pod.get("containers") or [{"name": MAIN}]]
    main = next((entry for entry in containers if entry.get("name") == MAIN), containers[0])
    _environment(part, main)
    _ports(part, main)
    _readiness(part, main)
    if part.works:
        _shared_memory(part, pod, main)
    pod.setdefault("securityContext", {}).setdefault("fsGroup", _USER_ID)
    if part.kind in ACCOUNTS:
        pod.setdefault("serviceAccountName", ACCOUNTS[part.kind])
    pod["containers"] = containers
    template["spec"] = pod
    return template


def _environment(part: Part, main: Json) -> None:
    metadata = part.graph["metadata"]
    given = main.get("env") or []
    own: list[Json] = [
        {"name": "DYN_NAMESPACE", "value": f"{metadata['namespace']}-{metadata['name']}"},
        {"name": "DYN_COMPONENT", "value": part.component["name"]},
        {"name": "DYN_PARENT_DGD_K8S_NAME", "value": metadata["name"]},
        {"name": "DYN_PARENT_DGD_K8S_NAMESPACE", "value": metadata["namespace"]},
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        {"name": "DYN_SYSTEM_PORT", "value": str(SYSTEM_PORT)},
    ]
    if part.kind == "frontend":
        own.append({"name": WORKERS_VARIABLE, "value": _worker_services(part.graph)})
    taken = {entry["name"] for entry in given}
    main["env"] = [*given, *(entry for entry in own if entry["name"] not in taken)]


def _worker_services(graph: Json) -> str:
    """``type=service`` of every worker component, for frontends that look for their endpoints."""
    parts = (Part(graph=graph, component=each, replicas=0) for each in graph["spec"]["components"])
    return ",".join(f"{part.kind}={part.name}" for part in parts if part.works)


def _readiness(part: Part, main: Json) -> None:
    """A component is ready when it answers, unless its author says otherwise."""
    if part.kind == "planner" or "readinessProbe" in main:
        return
    port = FRONTEND_PORT if part.kind == "frontend" else SYSTEM_PORT
    main["readinessProbe"] = {
        "httpGet": {"path": "/health", "port": port},
        "periodSeconds": 5,
        "timeoutSeconds": 4,
        "failureThreshold": 3,
    }


def _ports(part: Part, main: Json) -> None:
    if "ports" not in main:
        frontend = part.kind == "frontend"
        port = FRONTEND_PORT if frontend else SYSTEM_PORT
        main["ports"] = [{"name": "http" if frontend else "system", "containerPort": port}]


def _shared_memory(part: Part, pod: Json, main: Json) -> None:
    """Engines exchange tensors through /dev/shm, whose default of 64 MiB is too small."""
    wanted = section(part.component, "sharedMemory")
    if wanted.get("disabled") is True:
        return
    mounts = list(main.get("volumeMounts") or [])
    if any(mount.get("mountPath") == "/dev/shm" for mount in mounts):
        return
    size = part.component.get("sharedMemorySize") or wanted.get("size") or _SHARED_MEMORY
    source = {"medium": "Memory", "sizeLimit": str(size)}
    pod["volumes"] = [*(pod.get("volumes") or []), {"name": "shared-memory", "emptyDir": source}]
    mount = {"name": "shared-memory", "mountPath": "/dev/shm"}
    main["volumeMounts"] = [*mounts, mount]
