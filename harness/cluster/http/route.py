"""Finds out what a path and method stand for."""

from __future__ import annotations

from dataclasses import dataclass

from harness.cluster.http.message import Request
from harness.cluster.http.rbac import Access
from harness.cluster.kinds.registry import Registry
from harness.cluster.kinds.resource import ResourceType
from harness.cluster.objects.errors import ApiError, method_not_allowed

_OBJECT_VERBS = {
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
_COLLECTION_VERBS = {"POST": "create", "DELETE": "deletecollection"}
_NAMESPACE_PARTS = frozenset({"status", "finalize"})
STREAMS = frozenset({"exec", "attach", "portforward"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A request for a resource.

    Attributes:
        namespace: empty for cluster scope or all namespaces.
        name: empty for the collection.
        rest: path behind ``proxy``.
    """

    resource: ResourceType
    verb: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""

    @property
    def access(self) -> Access:
        """What is to be allowed."""
        return Access(
            verb=self.verb,
            group=self.resource.group,
            resource=self.resource.plural,
            subresource=self.subresource,
            namespace=self.namespace,
            name=self.name,
        )

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return (self.namespace, self.name)


def find_route(registry: Registry, request: Request) -> Route | None:
    """The resource request that a path stands for, None if it is another path.

    Raises:
        ApiError: 405, the resource does not know the method.
    """
    parts = request.path.strip("/").split("/")
    group, version = "", parts[1] if len(parts) > 1 else ""
    if parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    elif parts[0] == "api" and len(parts) > 2:
        rest = parts[2:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in _NAMESPACE_PARTS:
        namespace, rest = rest[1], rest[2:]
    resource = registry.find(group, version, rest[0])
    if resource is None or (namespace and not resource.namespaced):
        return None
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if resource.storage == "pods" and subresource in STREAMS and not request.upgrade:
        raise ApiError(
            501,
            "NotImplemented",
            f"pods/{subresource} is not served over SPDY; exec and port-forward are served to "
            "clients that speak WebSocket (kubectl of 1.31 or later)",
            {},
        )
    if (subresource and subresource not in resource.subresources) or (
        len(rest) > 3 and subresource != "proxy"
    ):
        return None
    return Route(
        resource=resource,
        verb=_verb(resource, request, name, subresource),
        namespace=namespace,
        name=name,
        subresource=subresource,
        rest="/".join(rest[3:]),
    )


def _verb(resource: ResourceType, request: Request, name: str, subresource: str) -> str:
    if subresource == "proxy":
        return {"GET": "get", "POST": "create"}.get(request.method, "update")
    if name and not (subresource and request.method == "POST"):
        verb = _OBJECT_VERBS.get(request.method, "")
        if verb == "get" and request.flag("watch") and not subresource:
            verb = "watch"
    elif request.method in {"GET", "HEAD"}:
        verb = "watch" if request.flag("watch") else "list"
    else:
        verb = _COLLECTION_VERBS.get(request.method, "")
    if not verb or (not subresource and verb not in resource.verbs):
        raise method_not_allowed()
    return verb
