"""What the server serves: groups, versions, resources; legacy and aggregated forms."""

from __future__ import annotations

import base64
import hashlib

from harness.cluster.kinds.registry import Registry
from harness.cluster.kinds.resource import ResourceType
from harness.cluster.objects.meta import Obj

VERSION = {
    "major": "1",
    "minor": "33",
    "gitVersion": "v1.33.0+harness",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "2026-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}
_SUB_VERBS = {
    "status": ("get", "patch", "update"),
    "scale": ("get", "patch", "update"),
    "log": ("get",),
    "exec": ("create", "get"),
    "attach": ("create", "get"),
    "portforward": ("create", "get"),
    "proxy": ("create", "delete", "get", "patch", "update"),
    "token": ("create",),
    "binding": ("create",),
    "eviction": ("create",),
    "finalize": ("update",),
}
_SUB_KINDS = {
    "scale": ("autoscaling", "v1", "Scale"),
    "token": ("authentication.k8s.io", "v1", "TokenRequest"),
    "binding": ("", "v1", "Binding"),
    "eviction": ("policy", "v1", "Eviction"),
}


def core_versions(address: str) -> Obj:
    """``/api``."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def group_list(registry: Registry) -> Obj:
    """``/apis``."""
    groups = [_group(name, versions) for name, versions in registry.groups().items() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(registry: Registry, name: str) -> Obj | None:
    """``/apis/GROUP``, None if there is no such group."""
    versions = registry.groups().get(name)
    if not name or versions is None:
        return None
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)}


def _group(name: str, versions: list[str]) -> Obj:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def resource_list(registry: Registry, name: str, version: str) -> Obj | None:
    """``/apis/GROUP/VERSION`` or ``/api/v1``, None if there is no such version."""
    found = registry.in_version(name, version)
    if not found:
        return None
    resources = []
    for resource in found:
        resources.append(_entry(resource))
        subresources = sorted(resource.subresources, reverse=True)
        resources += [_sub_entry(resource, sub) for sub in subresources]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{name}/{version}" if name else version,
        "resources": resources,
    }


def _entry(resource: ResourceType) -> Obj:
    entry: Obj = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if "list" in resource.verbs:
        entry["storageVersionHash"] = _storage_hash(resource)
    return entry


def _storage_hash(resource: ResourceType) -> str:
    """Hash of the stored version; clients only compare it."""
    stored = resource.stored_as or resource.api_version
    version = stored.rpartition("/")[2]
    text = f"{resource.group}/{version}/{resource.kind}"
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


def _sub_entry(resource: ResourceType, subresource: str) -> Obj:
    entry: Obj = {
        "name": f"{resource.plural}/{subresource}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(_SUB_VERBS[subresource]),
    }
    if subresource in _SUB_KINDS:
        group_name, version, kind = _SUB_KINDS[subresource]
        entry |= {"group": group_name, "version": version, "kind": kind}
    return entry


def aggregated(registry: Registry, *, core: bool) -> Obj:
    """``/api`` or ``/apis`` with all resources in one document (APIGroupDiscoveryList v2)."""
    items = []
    for name, versions in registry.groups().items():
        if bool(name) == core:
            continue
        listed = [
            {
                "version": version,
                "resources": [_aggregate(r) for r in registry.in_version(name, version)],
                "freshness": "Current",
            }
            for version in versions
        ]
        items.append({"metadata": {"name": name} if name else {}, "versions": listed})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    }


def _aggregate(resource: ResourceType) -> Obj:
    entry: Obj = {
        "resource": resource.plural,
        "responseKind": _kind(resource.group, resource.version, resource.kind),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    subresources = []
    for subresource in sorted(resource.subresources):
        own = (resource.group, resource.version, resource.kind)
        kind = _SUB_KINDS.get(subresource, own)
        verbs = list(_SUB_VERBS[subresource])
        found = {"subresource": subresource, "responseKind": _kind(*kind), "verbs": verbs}
        subresources.append(found)
    if subresources:
        entry["subresources"] = subresources
    return entry


def _kind(group_name: str, version: str, kind: str) -> Obj:
    return {"group": group_name, "version": version, "kind": kind}
