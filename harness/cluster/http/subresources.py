"""Subresources that are no part of the object: scale, token, binding, eviction, access."""

from __future__ import annotations

from dataclasses import dataclass

from harness.cluster.api import Call, Options, Writes
from harness.cluster.api.convert import to_served
from harness.cluster.http.auth import Tokens, User
from harness.cluster.http.message import Answer, Request, json_answer
from harness.cluster.http.rbac import Access, Rbac
from harness.cluster.http.resources import patched
from harness.cluster.http.route import Route
from harness.cluster.objects.errors import bad_request, conflict, invalid, invalid_value
from harness.cluster.objects.meta import Obj, meta, name_of, namespace_of, uid_of, version_of
from harness.cluster.objects.paths import dotted, set_dotted
from harness.cluster.objects.selectors import selector_text

_TOKEN_S = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Subresources:
    """Answers requests for them."""

    writes: Writes
    tokens: Tokens
    rbac: Rbac

    def handle(self, request: Request, route: Route, user: User) -> Answer | None:
        """An answer, None if the request is for an object or its status.

        Raises:
            ApiError: the request is refused.
        """
        if route.resource.plural == "selfsubjectaccessreviews":
            return self._review(request, user)
        handlers = {
            "scale": self._scale,
            "token": self._token,
            "binding": self._bind,
            "eviction": self._evict,
            "finalize": self._finalize,
        }
        handler = handlers.get(route.subresource)
        return None if handler is None else handler(request, route)

    def _scale(self, request: Request, route: Route) -> Answer:
        resource, paths = route.resource, route.resource.scale
        if paths is None:
            raise bad_request(f"{resource.plural} cannot be scaled")
        obj = to_served(resource, self.writes.stored(resource, *route.key))
        scale = _scale_of(obj, paths.spec, paths.status, paths.selector)
        if route.verb == "get":
            return json_answer(scale)
        if route.verb == "patch":
            scale = patched(resource, request.content_type, scale, request.document())
        else:
            scale = request.object()
        wanted = dotted(scale, "spec.replicas")
        wanted = 0 if wanted is None else wanted
        if not isinstance(wanted, int) or wanted < 0:
            problem = invalid_value(
                "spec.replicas", str(wanted), "must be greater than or equal to 0"
            )
            raise invalid("Scale", "autoscaling", route.name, [problem])
        given = (scale.get("metadata") or {}).get("resourceVersion")
        if given and given != str(version_of(obj)):
            raise conflict(resource.plural, resource.group, route.name)

        def change(old: Obj) -> Obj:
            set_dotted(old, paths.spec, wanted)
            return old

        options = Options(
            manager=request.query.get("fieldManager", "scale"),
            dry_run=request.query.get("dryRun") == "All",
        )
        new = self.writes.patch(resource, route.key, change, Call(options=options))
        return json_answer(_scale_of(new, paths.spec, paths.status, paths.selector))

    def _token(self, request: Request, route: Route) -> Answer:
        account = self.writes.stored(route.resource, *route.key)
        body = request.object()
        lifetime_s = int(dotted(body, "spec.expirationSeconds") or _TOKEN_S)
        token, end = self.tokens.issue(*route.key, uid_of(account), lifetime_s)
        answer = {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": route.name, "namespace": route.namespace},
            "spec": {**(body.get("spec") or {}), "expirationSeconds": lifetime_s},
            "status": {"token": token, "expirationTimestamp": end},
        }
        return json_answer(answer, 201)

    def _bind(self, request: Request, route: Route) -> Answer:
        node = dotted(request.object(), "target.name")

        def change(pod: Obj) -> Obj:
            if pod["spec"].get("nodeName"):
                why = f"pod {name_of(pod)} is already assigned to node {pod['spec']['nodeName']}"
                raise conflict("pods", "", name_of(pod), why)
            pod["spec"]["nodeName"] = node
            return pod

        old = self.writes.stored(route.resource, *route.key)
        self.writes.store.put("pods", change({**old, "spec": dict(old["spec"])}))
        return json_answer(_success(), 201)

    def _evict(self, request: Request, route: Route) -> Answer:
        options = request.object().get("deleteOptions") or {}
        self.writes.delete(route.resource, route.key, options, Call())
        return json_answer(_success(), 201)

    def _finalize(self, request: Request, route: Route) -> Answer:
        body = request.object()
        old = self.writes.stored(route.resource, "", route.name)
        finalizers = dotted(body, "spec.finalizers") or []
        new = {**old, "spec": {**(old.get("spec") or {}), "finalizers": finalizers}}
        meta(new)
        found = self.writes.finish_update(route.resource, old, new, Call())
        return json_answer(found)

    def _review(self, request: Request, user: User) -> Answer:
        body = request.object()
        wanted = dotted(body, "spec.resourceAttributes")
        if wanted is not None:
            access = Access(
                verb=wanted.get("verb", ""),
                group=wanted.get("group", ""),
                resource=wanted.get("resource", ""),
                subresource=wanted.get("subresource", ""),
                namespace=wanted.get("namespace", ""),
                name=wanted.get("name", ""),
            )
        else:
            path = dotted(body, "spec.nonResourceAttributes") or {}
            access = Access(verb=path.get("verb", ""), path=path.get("path", "/"))
        status = {"allowed": self.rbac.allowed(user, access)}
        return json_answer({**body, "status": status}, 201)


def _success() -> Obj:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}


def _scale_of(obj: Obj, spec: str, status: str, selector: str | None) -> Obj:
    found: Obj = {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": name_of(obj),
            "namespace": namespace_of(obj),
            "uid": uid_of(obj),
            "resourceVersion": str(version_of(obj)),
            "creationTimestamp": obj["metadata"].get("creationTimestamp"),
        },
        "spec": {"replicas": dotted(obj, spec) or 0},
        "status": {"replicas": dotted(obj, status) or 0},
    }
    wanted = dotted(obj, selector) if selector else None
    if wanted:
        text = wanted if isinstance(wanted, str) else selector_text(wanted)
        found["status"]["selector"] = text
    return found
