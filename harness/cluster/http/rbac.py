"""Role-based access control: rules of roles that are bound to a user."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.cluster.http.auth import User
from harness.cluster.objects.errors import ApiError
from harness.cluster.objects.meta import Obj
from harness.cluster.store import Store

_GROUP = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a request wants to do; ``path`` is set for requests beside resources."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def target(self) -> str:
        """``pods`` or ``pods/log``."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


_PUBLIC = ("/api", "/apis", "/openapi", "/version", "/healthz", "/livez", "/readyz")


class Rbac:
    """Answers from the roles and bindings in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def allowed(self, user: User, access: Access) -> bool:
        """Whether a user may do something."""
        if user.master:
            return True
        if access.path and access.path.startswith(_PUBLIC) and access.verb == "get":
            return True
        if access.resource == "selfsubjectaccessreviews":
            return True
        return any(_grants(rule, access) for rule in self._rules(user, access.namespace))

    def check(self, user: User, access: Access) -> None:
        """Refuse what is not allowed.

        Raises:
            ApiError: 403.
        """
        if self.allowed(user, access):
            return
        if access.path:
            why = f'User "{user.name}" cannot {access.verb} path "{access.path}"'
            raise ApiError(403, "Forbidden", f"forbidden: {why}", {})
        shown = f"{access.target}.{access.group}" if access.group else access.target
        where = (
            f'in the namespace "{access.namespace}"'
            if access.namespace
            else ("at the cluster scope")
        )
        label = f'{shown} "{access.name}"' if access.name else shown
        message = (
            f'{label} is forbidden: User "{user.name}" cannot {access.verb} resource '
            f'"{access.target}" in API group "{access.group}" {where}'
        )
        details = {"name": access.name, "group": access.group, "kind": access.resource}
        found = {key: value for key, value in details.items() if value}
        raise ApiError(403, "Forbidden", message, found)

    def _rules(self, user: User, namespace: str) -> Iterator[Obj]:
        for binding in self._store.list(f"clusterrolebindings.{_GROUP}"):
            if _binds(binding, user):
                yield from self._role_rules(binding["roleRef"], "")
        if not namespace:
            return
        for binding in self._store.list(f"rolebindings.{_GROUP}", namespace):
            if _binds(binding, user):
                yield from self._role_rules(binding["roleRef"], namespace)

    def _role_rules(self, reference: Obj, namespace: str) -> list[Obj]:
        if reference["kind"] == "ClusterRole":
            role = self._store.get(f"clusterroles.{_GROUP}", "", reference["name"])
        else:
            role = self._store.get(f"roles.{_GROUP}", namespace, reference["name"])
        return (role or {}).get("rules") or []


def _binds(binding: Obj, user: User) -> bool:
    for subject in binding.get("subjects") or ():
        kind, name = subject.get("kind"), subject.get("name")
        home = subject.get("namespace") or binding["metadata"].get("namespace", "")
        if kind == "ServiceAccount":
            name = f"system:serviceaccount:{home}:{name}"
        if (kind == "Group" and name in user.groups) or (kind != "Group" and name == user.name):
            return True
    return False


def _grants(rule: Obj, access: Access) -> bool:
    if not {"*", access.verb} & set(rule.get("verbs") or ()):
        return False
    if access.path:
        paths = rule.get("nonResourceURLs") or ()
        return any(
            path == access.path or (path.endswith("*") and access.path.startswith(path[:-1]))
            for path in paths
        )
    if not {"*", access.group} & set(rule.get("apiGroups") or ()):
        return False
    targets = {"*", access.target}
    if access.subresource:
        targets.add(f"*/{access.subresource}")
    if not targets & set(rule.get("resources") or ()):
        return False
    names = rule.get("resourceNames")
    return not names or access.name in names
