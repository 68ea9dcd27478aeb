"""Paths of the resources that the operator touches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from contracts.errors import InvariantError
from dgdr.graph import ADAPTER_KIND, GRAPH_KIND
from dgdr.reconcile.actions import Ref
from dgdr.request import API_VERSION, KIND

# Kind to plural; these live outside of namespaces.
_CLUSTER_SCOPED = {"Node": "nodes", "CustomResourceDefinition": "customresourcedefinitions"}
_PLURALS: Mapping[str, str] = {
    KIND: "dynamographdeploymentrequests",
    GRAPH_KIND: "dynamographdeployments",
    ADAPTER_KIND: "dynamographdeploymentscalingadapters",
    "ConfigMap": "configmaps",
    "Deployment": "deployments",
    "EndpointSlice": "endpointslices",
    "Event": "events",
    "Job": "jobs",
    "LeaderWorkerSet": "leaderworkersets",
    "Lease": "leases",
    "PersistentVolumeClaim": "persistentvolumeclaims",
    "Pod": "pods",
    "RoleBinding": "rolebindings",
    "Service": "services",
    "ServiceAccount": "serviceaccounts",
    **_CLUSTER_SCOPED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A kind in one version of its group."""

    api_version: str
    kind: str

    @property
    def plural(self) -> str:
        """The name in URLs."""
        plural = _PLURALS.get(self.kind)
        if plural is None:
            raise InvariantError(f"the operator does not know kind {self.kind}")
        return plural

    def path(self, namespace: str | None, name: str | None = None, sub: str | None = None) -> str:
        """The URL path of a collection, an object or a subresource."""
        group = "api" if "/" not in self.api_version else "apis"
        parts = [group, self.api_version]
        if namespace and self.kind not in _CLUSTER_SCOPED:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, sub) if part]
        return "/" + "/".join(parts)

    def ref(self, namespace: str, name: str) -> Ref:
        """The reference to an object of this kind."""
        return Ref(api_version=self.api_version, kind=self.kind, namespace=namespace, name=name)


def resource_of(ref: Ref) -> Resource:
    """The resource of an object."""
    return Resource(api_version=ref.api_version, kind=ref.kind)


REQUESTS = Resource(api_version=API_VERSION, kind=KIND)
GRAPHS = Resource(api_version=API_VERSION, kind=GRAPH_KIND)
ADAPTERS = Resource(api_version=API_VERSION, kind=ADAPTER_KIND)
JOBS = Resource(api_version="batch/v1", kind="Job")
CONFIG_MAPS = Resource(api_version="v1", kind="ConfigMap")
PODS = Resource(api_version="v1", kind="Pod")
NODES = Resource(api_version="v1", kind="Node")
CLAIMS = Resource(api_version="v1", kind="PersistentVolumeClaim")
EVENTS = Resource(api_version="v1", kind="Event")
LEASES = Resource(api_version="coordination.k8s.io/v1", kind="Lease")
DEPLOYMENTS = Resource(api_version="apps/v1", kind="Deployment")
SERVICES = Resource(api_version="v1", kind="Service")
SLICES = Resource(api_version="discovery.k8s.io/v1", kind="EndpointSlice")
WORKER_SETS = Resource(api_version="leaderworkerset.x-k8s.io/v1", kind="LeaderWorkerSet")
