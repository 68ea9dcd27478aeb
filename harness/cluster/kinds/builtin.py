"""The built-in resources."""

from __future__ import annotations

from dataclasses import dataclass

from harness.cluster.kinds.resource import VERBS, ResourceType, ScalePaths
from harness.cluster.kinds.typedata import type_schema

_REPLICAS = ScalePaths(spec="spec.replicas", status="status.replicas", selector="spec.selector")
_POD_FIELDS = (
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.phase",
    "status.podIP",
)
_EVENT_FIELDS = (
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """The facts of one resource that differ from the usual."""

    group: str
    version: str
    kind: str
    plural: str
    short: str = ""
    subresources: str = ""
    cluster: bool = False
    generation: bool = False
    scale: bool = False
    all: bool = False
    selectable: tuple[str, ...] = ()
    type: str = ""
    verbs: tuple[str, ...] = VERBS


_ADMISSION = "admissionregistration.k8s.io"
_RBAC = "rbac.authorization.k8s.io"
_ROWS = (
    _Row(group="", version="v1", kind="Pod", plural="pods", short="po", all=True, generation=True,
         subresources="status log binding eviction exec attach portforward",
         selectable=_POD_FIELDS),
    _Row(group="", version="v1", kind="Service", plural="services", short="svc", all=True,
         subresources="status proxy", selectable=("spec.clusterIP", "spec.type")),
    _Row(group="", version="v1", kind="ConfigMap", plural="configmaps", short="cm"),
    _Row(group="", version="v1", kind="Secret", plural="secrets", selectable=("type",)),
    _Row(group="", version="v1", kind="Event", plural="events", short="ev",
         selectable=_EVENT_FIELDS, type="CoreV1Event"),
    _Row(group="", version="v1", kind="Node", plural="nodes", short="no", cluster=True,
         subresources="status", selectable=("spec.unschedulable",)),
    _Row(group="", version="v1", kind="Namespace", plural="namespaces", short="ns", cluster=True,
         subresources="status finalize", selectable=("status.phase",)),
    _Row(group="", version="v1", kind="PersistentVolumeClaim", plural="persistentvolumeclaims",
         short="pvc", subresources="status"),
    _Row(group="", version="v1", kind="PersistentVolume", plural="persistentvolumes", short="pv",
         cluster=True, subresources="status"),
    _Row(group="", version="v1", kind="ServiceAccount", plural="serviceaccounts", short="sa",
         subresources="token"),
    _Row(group="", version="v1", kind="Endpoints", plural="endpoints", short="ep"),
    _Row(group="events.k8s.io", version="v1", kind="Event", plural="events", short="ev",
         type="EventsV1Event"),
    _Row(group="batch", version="v1", kind="Job", plural="jobs", all=True, generation=True,
         subresources="status", selectable=("status.successful",)),
    _Row(group="apps", version="v1", kind="Deployment", plural="deployments", short="deploy",
         all=True, generation=True, subresources="status", scale=True),
    _Row(group="apps", version="v1", kind="ReplicaSet", plural="replicasets", short="rs",
         all=True, generation=True, subresources="status", scale=True),
    _Row(group=_RBAC, version="v1", kind="Role", plural="roles"),
    _Row(group=_RBAC, version="v1", kind="RoleBinding", plural="rolebindings"),
    _Row(group=_RBAC, version="v1", kind="ClusterRole", plural="clusterroles", cluster=True),
    _Row(group=_RBAC, version="v1", kind="ClusterRoleBinding", plural="clusterrolebindings",
         cluster=True),
    _Row(group="coordination.k8s.io", version="v1", kind="Lease", plural="leases"),
    _Row(group="discovery.k8s.io", version="v1", kind="EndpointSlice", plural="endpointslices"),
    _Row(group="scheduling.k8s.io", version="v1", kind="PriorityClass",
         plural="priorityclasses", short="pc", cluster=True),
    _Row(group="storage.k8s.io", version="v1", kind="StorageClass", plural="storageclasses",
         short="sc", cluster=True),
    _Row(group="apiextensions.k8s.io", version="v1", kind="CustomResourceDefinition",
         plural="customresourcedefinitions", short="crd crds", cluster=True, generation=True,
         subresources="status"),
    _Row(group=_ADMISSION, version="v1", kind="MutatingWebhookConfiguration",
         plural="mutatingwebhookconfigurations", cluster=True, generation=True),
    _Row(group=_ADMISSION, version="v1", kind="ValidatingWebhookConfiguration",
         plural="validatingwebhookconfigurations", cluster=True, generation=True),
    _Row(group="authorization.k8s.io", version="v1", kind="SelfSubjectAccessReview",
         plural="selfsubjectaccessreviews", cluster=True, verbs=("create",)),
)  # fmt: skip


def builtin_types() -> list[ResourceType]:
    """Every built-in resource, in the order in which discovery shows them."""
    return [_resource(row) for row in _ROWS]


def _resource(row: _Row) -> ResourceType:
    type_name = row.type or f"V1{row.kind}"
    subresources = set(row.subresources.split()) | ({"scale"} if row.scale else set())
    stored = _resource_name(row)
    return ResourceType(
        group=row.group,
        version=row.version,
        kind=row.kind,
        plural=row.plural,
        singular=row.kind.lower(),
        namespaced=not row.cluster,
        short_names=tuple(row.short.split()),
        categories=("all",) if row.all else (),
        subresources=frozenset(subresources),
        storage=stored,
        stored_as="v1" if stored == "events" else "",
        list_kind=f"{row.kind}List",
        schema=type_schema(type_name),
        generation=row.generation,
        scale=_REPLICAS if row.scale else None,
        selectable=row.selectable,
        verbs=row.verbs,
        builtin=type_name,
    )


def _resource_name(row: _Row) -> str:
    if row.kind == "Event":
        return "events"
    return f"{row.plural}.{row.group}" if row.group else row.plural
