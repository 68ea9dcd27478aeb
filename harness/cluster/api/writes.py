"""Create, update, patch and delete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.cluster.api import prepare
from harness.cluster.api.admission import Admission, Attempt
from harness.cluster.api.call import Call
from harness.cluster.api.changes import check_version, count_generation, keep_meta, separated
from harness.cluster.api.convert import to_served, to_stored
from harness.cluster.api.deletion import check_preconditions, finished, marked
from harness.cluster.clock import Clock
from harness.cluster.kinds.crd import accept_definition
from harness.cluster.kinds.registry import CRDS, Registry
from harness.cluster.kinds.resource import ResourceType
from harness.cluster.objects.errors import (
    ApiError,
    already_exists,
    bad_request,
    forbidden,
    not_found,
)
from harness.cluster.objects.meta import (
    Obj,
    copied,
    deleting,
    made_uid,
    meta,
    name_of,
    name_suffix,
    namespace_of,
    time_text,
    uid_of,
    version_of,
)
from harness.cluster.objects.outside import shared
from harness.cluster.patching import apply_config, track_update
from harness.cluster.patching.managed import Author
from harness.cluster.store import Store

_FIRST_STATUS: dict[str, Obj] = {
    "pods": {"phase": "Pending"},
    "namespaces": {"phase": "Active"},
    "services": {"loadBalancer": {}},
    "persistentvolumeclaims": {"phase": "Pending"},
    "persistentvolumes": {"phase": "Available"},
}


@dataclass(slots=True, kw_only=True)
class Writes:
    """The writing verbs.

    Attributes:
        seed: makes uids differ between clusters.
        on_create: completes a new object that is about to be checked, in place.
        admission: asked about what clients want to write.
    """

    store: Store
    registry: Registry
    clock: Clock
    seed: str = ""
    on_create: Callable[[ResourceType, Obj], None] | None = None
    admission: Admission | None = None
    _made: int = 0

    def create(self, resource: ResourceType, namespace: str, body: Obj, call: Call) -> Obj:
        """Store a new object.

        Raises:
            ApiError: 400, 403, 404, 409 or 422.
        """
        obj = copied(body)
        prepare.check_place(resource, obj, namespace, None)
        if meta(obj).get("resourceVersion"):
            text = "resourceVersion should not be set on objects to be created"
            raise ApiError(500, "InternalError", text)
        meta(obj).pop("managedFields", None)
        self._new_meta(obj)
        return self._store_new(resource, obj, call, operation="Update")

    def _new_meta(self, obj: Obj) -> None:
        metadata = meta(obj)
        seed = shared("seed", self._new_seed)
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + name_suffix(f"name/{seed}")
        for key in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
            metadata.pop(key, None)
        metadata["uid"] = made_uid(seed)
        metadata["creationTimestamp"] = shared("created", lambda: time_text(self.clock.unix_s()))

    def _new_seed(self) -> str:
        self._made += 1
        return f"{self.seed}/{self.store.version + 1}/{self._made}"

    def _store_new(self, resource: ResourceType, obj: Obj, call: Call, *, operation: str) -> Obj:
        prepare.decode(resource, obj, call)
        meta(obj).pop("generation", None)
        if resource.generation:
            meta(obj)["generation"] = 1
        if "status" in resource.subresources and resource.kind != "Node":
            obj.pop("status", None)
        if resource.storage in _FIRST_STATUS:
            obj["status"] = copied(_FIRST_STATUS[resource.storage])
        if self.on_create is not None:
            self.on_create(resource, obj)
        obj = self._mutated(resource, obj, None, call)
        prepare.check(resource, obj, None)
        self._check_home(resource, obj)
        self._admitted(resource, obj, None, call)
        if resource.storage == CRDS:
            accept_definition(obj, time_text(self.clock.unix_s()))
        if call.options.manager and operation == "Update":
            author = self._author(resource, call)
            meta(obj)["managedFields"] = track_update(None, obj, resource.schema or {}, author)
        prepare.tidy_meta(obj)
        if self.store.get(resource.storage, namespace_of(obj), name_of(obj)) is not None:
            raise already_exists(resource.plural, resource.group, name_of(obj))
        if call.options.dry_run:
            return obj
        return self._put(resource, obj)

    def _mutated(
        self, resource: ResourceType, obj: Obj, old: Obj | None, call: Call, subresource: str = ""
    ) -> Obj:
        """The object as admission webhooks want it."""
        if self.admission is None:
            return obj
        changed = self.admission.mutate(
            Attempt(resource=resource, obj=obj, old=old, call=call, subresource=subresource)
        )
        if changed is not obj:
            prepare.decode(resource, changed, call)
        return changed

    def _admitted(
        self,
        resource: ResourceType,
        obj: Obj | None,
        old: Obj | None,
        call: Call,
        subresource: str = "",
    ) -> None:
        if self.admission is not None:
            self.admission.validate(
                Attempt(resource=resource, obj=obj, old=old, call=call, subresource=subresource)
            )

    def _put(self, resource: ResourceType, new: Obj) -> Obj:
        """Store an object; the writer sees it in the version in which it was written."""
        saved = self.store.put(resource.storage, to_stored(resource, new))
        if resource.converter is None:
            return to_served(resource, saved)
        return {**new, "metadata": {**meta(new), "resourceVersion": str(version_of(saved))}}

    def _check_home(self, resource: ResourceType, obj: Obj) -> None:
        """The namespace exists and is not going away; neither is the definition."""
        if resource.custom:
            definition = self.store.get(CRDS, "", resource.storage)
            if definition is not None and deleting(definition):
                why = "create not allowed while custom resource definition is terminating"
                raise forbidden(resource.plural, resource.group, name_of(obj), why)
        if not resource.namespaced:
            return
        name = namespace_of(obj)
        namespace = self.store.get("namespaces", "", name)
        if namespace is None:
            raise not_found("namespaces", "", name)
        if deleting(namespace):
            why = f"unable to create new content in namespace {name} because it is being terminated"
            error = forbidden(resource.plural, resource.group, name_of(obj), why)
            message = f"namespace {name} is being terminated"
            cause = {"reason": "NamespaceTerminating", "message": message}
            cause["field"] = "metadata.namespace"
            (error.details or {})["causes"] = [cause]
            raise error

    def stored(self, resource: ResourceType, namespace: str, name: str) -> Obj:
        """The object as stored.

        Raises:
            ApiError: 404.
        """
        found = self.store.get(resource.storage, namespace, name)
        if found is None:
            raise not_found(resource.plural, resource.group, name)
        return found

    def update(
        self,
        resource: ResourceType,
        namespace: str,
        body: Obj,
        call: Call,
        *,
        subresource: str = "",
    ) -> Obj:
        """Replace an object, or its status.

        Raises:
            ApiError: 400, 404, 409 or 422.
        """
        name = name_of(body)
        old = self.stored(resource, namespace, name)
        new = copied(body)
        prepare.check_place(resource, new, namespace, name)
        if not meta(new).get("resourceVersion") and resource.custom:
            raise prepare.version_missing(resource, name)
        return self.finish_update(resource, old, new, call, subresource=subresource)

    def patch(
        self,
        resource: ResourceType,
        key: tuple[str, str],
        change: Callable[[Obj], Any],
        call: Call,
        *,
        subresource: str = "",
    ) -> Obj:
        """Change an object by a function of its served form.

        Raises:
            ApiError: 400, 404, 409 or 422.
        """
        old = self.stored(resource, *key)
        new = change(copied(to_served(resource, old)))
        if not isinstance(new, dict):
            raise bad_request("the patched document is no object")
        prepare.check_place(resource, new, *key)
        return self.finish_update(resource, old, new, call, subresource=subresource)

    def apply(
        self,
        resource: ResourceType,
        key: tuple[str, str],
        config: Obj,
        call: Call,
        *,
        subresource: str = "",
    ) -> tuple[Obj, bool]:
        """Server-side apply; returns the object and whether it is new.

        Raises:
            ApiError: 400, 404, 409 or 422.
        """
        if (config.get("metadata") or {}).get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        config = copied(config)
        prepare.check_place(resource, config, *key)
        author = self._author(resource, call, subresource)
        schema, force = resource.schema or {}, call.options.force
        old = self.store.get(resource.storage, *key)
        if old is None:
            if subresource:
                raise not_found(resource.plural, resource.group, key[1])
            obj = apply_config(None, config, schema, author, force=force)
            meta(obj).pop("resourceVersion", None)
            self._new_meta(obj)
            return self._store_new(resource, obj, call, operation="Apply"), True
        new = apply_config(to_served(resource, old), config, schema, author, force=force)
        result = self.finish_update(
            resource, old, new, call, subresource=subresource, operation="Apply"
        )
        return result, False

    def finish_update(
        self,
        resource: ResourceType,
        stored: Obj,
        new: Obj,
        call: Call,
        *,
        subresource: str = "",
        operation: str = "Update",
    ) -> Obj:
        """Check a changed object and store it; nothing is written if nothing changed.

        Raises:
            ApiError: 400, 409 or 422.
        """
        old = to_served(resource, stored)
        check_version(resource, old, new)
        prepare.decode(resource, new, call)
        new = separated(resource, old, new, subresource)
        keep_meta(old, new)
        new = self._mutated(resource, new, old, call, subresource)
        count_generation(resource, old, new)
        prepare.check(resource, new, old)
        self._admitted(resource, new, old, call, subresource)
        if resource.storage == CRDS and not subresource:
            accept_definition(new, time_text(self.clock.unix_s()))
        if operation == "Update":
            given = meta(new).get("managedFields")
            meta(new)["managedFields"] = meta(old).get("managedFields")
            if given == []:
                meta(new)["managedFields"] = []
            elif call.options.manager:
                author = self._author(resource, call, subresource)
                fields = track_update(old, new, resource.schema or {}, author)
                meta(new)["managedFields"] = fields
        prepare.tidy_meta(new)
        meta(new)["resourceVersion"] = meta(old)["resourceVersion"]
        if new == old:
            return old
        if call.options.dry_run:
            return new
        written = self._put(resource, new)
        if finished(written):
            gone = self.store.remove(resource.storage, namespace_of(new), name_of(new))
            meta(written)["resourceVersion"] = str(version_of(gone))
        return written

    def _author(self, resource: ResourceType, call: Call, subresource: str = "") -> Author:
        return Author(
            manager=call.options.manager,
            subresource=subresource,
            api_version=resource.api_version,
            now=time_text(self.clock.unix_s()),
        )

    def delete(self, resource: ResourceType, key: tuple[str, str], options: Obj, call: Call) -> Obj:
        """Delete an object, or mark it as being deleted.

        Returns:
            A Status if the object is gone, otherwise the object.

        Raises:
            ApiError: 403, 404 or 409.
        """
        old = self.stored(resource, *key)
        check_preconditions(resource, old, options.get("preconditions") or {})
        self._admitted(resource, None, old, call)
        new = marked(resource, old, options, self.clock.unix_s())
        dry = call.options.dry_run or bool(options.get("dryRun"))
        if new is None:
            gone = old if dry else self.store.remove(resource.storage, *key)
            if resource.storage == "pods":
                return to_served(resource, gone)
            details = {"name": key[1], "group": resource.group, "kind": resource.plural}
            details = {name: value for name, value in details.items() if value}
            details["uid"] = uid_of(gone)
            return {
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Success",
                "details": details,
            }
        served = to_served(resource, new)
        if new == old or dry:
            return served
        saved = self.store.put(resource.storage, new)
        return {**served, "metadata": {**meta(served), "resourceVersion": str(version_of(saved))}}
