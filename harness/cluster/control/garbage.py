"""Owner references, namespaces and definitions that are being deleted."""

from __future__ import annotations

from collections.abc import Iterable

from harness.cluster.api.deletion import CRD_CLEANUP, FOREGROUND, ORPHAN
from harness.cluster.control.client import Client
from harness.cluster.control.loop import Key, key_of
from harness.cluster.kinds.registry import CRDS
from harness.cluster.objects.errors import ApiError
from harness.cluster.objects.meta import (
    Obj,
    copied,
    deleting,
    meta,
    name_of,
    namespace_of,
    owners_of,
    uid_of,
)
from harness.cluster.store import Change


class GarbageCollector:
    """Deletes dependents of what is gone.

    Keys are (storage, "namespace/name"): one worker for objects of every kind.
    """

    name = "garbage-collector"

    def __init__(self, client: Client) -> None:
        self._client = client
        self._dependents: dict[str, set[tuple[str, str, str]]] = {}

    def keys(self, change: Change) -> Iterable[Key]:
        """The object itself, and the dependents of a deleted one."""
        obj = change.obj
        place = (change.resource, namespace_of(obj), name_of(obj))
        for owner in owners_of(change.previous or {}):
            self._dependents.get(owner.get("uid", ""), set()).discard(place)
        if change.kind == "DELETED":
            yield from self._waiting_owners(obj)
            for storage, namespace, name in sorted(self._dependents.get(uid_of(obj), ())):
                yield (storage, f"{namespace}/{name}")
            return
        for owner in owners_of(obj):
            self._dependents.setdefault(owner.get("uid", ""), set()).add(place)
        if owners_of(obj) or deleting(obj):
            yield (change.resource, f"{namespace_of(obj)}/{name_of(obj)}")

    def _waiting_owners(self, obj: Obj) -> Iterable[Key]:
        """Owners in foreground deletion may now have one dependent less."""
        for owner in owners_of(obj):
            resource = self._client.registry.by_kind(
                owner.get("apiVersion", ""), owner.get("kind", "")
            )
            if resource is not None:
                namespace = namespace_of(obj) if resource.namespaced else ""
                yield (resource.storage, f"{namespace}/{owner.get('name')}")

    def reconcile(self, namespace: str, name: str) -> float | None:
        """Delete an object whose owners are all gone, or finish one that is going."""
        storage, (home, _, plain) = namespace, name.partition("/")
        obj = self._client.store.get(storage, home, plain)
        if obj is None:
            return None
        if deleting(obj):
            self._finish(storage, obj)
            return None
        owners = owners_of(obj)
        states = [self._state(owner, home) for owner in owners]
        if not owners or "unknown" in states or "alive" in states:
            return None
        policy = "Foreground" if "foreground" in states else "Background"
        self._client.delete(storage, obj, propagationPolicy=policy)
        return None

    def _state(self, owner: Obj, namespace: str) -> str:
        """``alive``, ``gone``, ``foreground`` (being deleted) or ``unknown`` (kind not served)."""
        resource = self._client.registry.by_kind(owner.get("apiVersion", ""), owner.get("kind", ""))
        if resource is None:
            return "unknown"
        home = namespace if resource.namespaced else ""
        found = self._client.store.get(resource.storage, home, owner.get("name", ""))
        if found is None or uid_of(found) != owner.get("uid"):
            return "gone"
        if deleting(found) and FOREGROUND in (meta(found).get("finalizers") or ()):
            return "foreground" if owner.get("blockOwnerDeletion") else "alive"
        return "alive"

    def _finish(self, storage: str, obj: Obj) -> None:
        finalizers = meta(obj).get("finalizers") or []
        places = sorted(self._dependents.get(uid_of(obj), ()))
        if ORPHAN in finalizers:
            for place in places:
                self._release(place, uid_of(obj))
            self._drop_finalizer(storage, obj, ORPHAN)
        elif FOREGROUND in finalizers:
            blocking = False
            for place in places:
                found = self._client.store.get(*place)
                if found is None:
                    continue
                owner = next(o for o in owners_of(found) if o.get("uid") == uid_of(obj))
                blocking = blocking or bool(owner.get("blockOwnerDeletion"))
                if not deleting(found):
                    self._client.delete(place[0], found, propagationPolicy="Foreground")
                    blocking = blocking and self._client.store.get(*place) is not None
            if not blocking:
                self._drop_finalizer(storage, obj, FOREGROUND)

    def _release(self, place: tuple[str, str, str], uid: str) -> None:
        found = self._client.store.get(*place)
        if found is None:
            return
        new = copied(found)
        meta(new)["ownerReferences"] = [o for o in owners_of(found) if o.get("uid") != uid]
        self._client.update(place[0], new)

    def _drop_finalizer(self, storage: str, obj: Obj, finalizer: str) -> None:
        found = self._client.store.get(storage, namespace_of(obj), name_of(obj))
        if found is not None:
            new = copied(found)
            meta(new)["finalizers"] = [f for f in meta(new)["finalizers"] if f != finalizer]
            self._client.update(storage, new)


class NamespaceController:
    """Gives namespaces their default service account; empties those that are deleted."""

    name = "namespace"

    def __init__(self, client: Client) -> None:
        self._client = client

    def keys(self, change: Change) -> Iterable[Key]:
        """The namespace, also when something in a terminating one has gone."""
        if change.resource == "namespaces":
            yield ("", name_of(change.obj))
        elif change.kind == "DELETED" and namespace_of(change.obj):
            found = self._client.store.get("namespaces", "", namespace_of(change.obj))
            if found is not None and deleting(found):
                yield ("", name_of(found))
            elif change.resource == "serviceaccounts":
                yield ("", namespace_of(change.obj))

    def reconcile(self, namespace: str, name: str) -> float | None:
        """One step for one namespace."""
        store = self._client.store
        found = store.get("namespaces", namespace, name)
        if found is None:
            return None
        if not deleting(found):
            if store.get("serviceaccounts", name, "default") is None:
                account = {
                    "apiVersion": "v1",
                    "kind": "ServiceAccount",
                    "metadata": {"name": "default", "namespace": name},
                }
                self._client.create("serviceaccounts", account)
            return None
        left = 0
        for resource in list(self._client.registry.stores()):
            if not resource.namespaced:
                continue
            for obj in store.list(resource.storage, name):
                if not deleting(obj):
                    self._client.delete(resource.storage, obj, propagationPolicy="Background")
                left += store.get(resource.storage, name, name_of(obj)) is not None
        if left == 0:
            spec = {**(found.get("spec") or {}), "finalizers": []}
            current = store.get("namespaces", "", name)
            if current is not None:
                self._client.update("namespaces", {**current, "spec": spec})
        return None


class DefinitionController:
    """Deletes the objects of a definition that is being deleted."""

    name = "definitions"

    def __init__(self, client: Client) -> None:
        self._client = client

    def keys(self, change: Change) -> Iterable[Key]:
        """The definition, also when one of its objects has gone."""
        if change.resource == CRDS:
            yield key_of(change)
        elif change.kind == "DELETED" and "." in change.resource:
            yield ("", change.resource)

    def reconcile(self, namespace: str, name: str) -> float | None:
        """One step for one definition."""
        store = self._client.store
        found = store.get(CRDS, namespace, name)
        if found is None or not deleting(found):
            return None
        for obj in store.list(name):
            if not deleting(obj):
                try:
                    self._client.delete(name, obj)
                except ApiError as error:
                    if error.code != 404:
                        raise
        if not store.list(name):
            current = copied(store.get(CRDS, namespace, name) or found)
            held = [f for f in meta(current).get("finalizers") or [] if f != CRD_CLEANUP]
            meta(current)["finalizers"] = held
            self._client.update(CRDS, current)
        return None
