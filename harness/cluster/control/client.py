"""What controllers use of the API: typed shortcuts over the verbs, without a transport."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.cluster.api import Call, Writes
from harness.cluster.clock import Clock
from harness.cluster.kinds.registry import Registry
from harness.cluster.kinds.resource import ResourceType
from harness.cluster.objects.errors import ApiError
from harness.cluster.objects.meta import (
    Obj,
    copied,
    digest,
    name_of,
    namespace_of,
    time_text,
    uid_of,
)
from harness.cluster.store import Store


@dataclass(slots=True, kw_only=True)
class Client:
    """The API for controllers.

    Attributes:
        component: name under which events are reported.
    """

    writes: Writes
    component: str = "controller-manager"
    _call: Call = field(default_factory=Call)

    @property
    def store(self) -> Store:
        """The store."""
        return self.writes.store

    @property
    def clock(self) -> Clock:
        """The clock."""
        return self.writes.clock

    @property
    def registry(self) -> Registry:
        """The resource types."""
        return self.writes.registry

    def now(self) -> str:
        """The present as objects show it."""
        return time_text(self.clock.unix_s())

    def resource(self, storage: str) -> ResourceType:
        """A resource type by storage name.

        Raises:
            ApiError: 404, it is not served (any more).
        """
        found = self.registry.by_storage(storage)
        if found is None:
            raise ApiError(404, "NotFound", f"{storage} is not served")
        return found

    def create(self, storage: str, obj: Obj) -> Obj:
        """Create an object.

        Raises:
            ApiError: as for any client.
        """
        resource = self.resource(storage)
        return self.writes.create(resource, namespace_of(obj), obj, self._call)

    def delete(self, storage: str, obj: Obj, **options: object) -> None:
        """Delete an object; one that is gone already is fine.

        Raises:
            ApiError: as for any client but 404.
        """
        wanted: Obj = {"preconditions": {"uid": uid_of(obj)}, **options}
        key = (namespace_of(obj), name_of(obj))
        try:
            self.writes.delete(self.resource(storage), key, wanted, self._call)
        except ApiError as error:
            if error.code not in {404, 409}:
                raise

    def set_status(self, storage: str, obj: Obj, status: Obj) -> None:
        """Replace the status of the stored object; nothing is written if it is the same."""
        found = self.store.get(storage, namespace_of(obj), name_of(obj))
        if found is None or uid_of(found) != uid_of(obj) or found.get("status") == status:
            return
        self.store.put(storage, {**found, "status": status})

    def update(self, storage: str, obj: Obj) -> Obj:
        """Store a changed object with all checks.

        Raises:
            ApiError: as for any client.
        """
        resource = self.resource(storage)
        key = (namespace_of(obj), name_of(obj))
        old = self.writes.stored(resource, *key)
        return self.writes.finish_update(resource, old, copied(obj), self._call)

    def event(self, obj: Obj, reason: str, message: str, *, warning: bool = False) -> None:
        """Record an event about an object; a repeated one is counted."""
        namespace = namespace_of(obj) or "default"
        seed = f"{uid_of(obj)}/{reason}/{message}"
        name = f"{name_of(obj)}.{digest(seed, 16)}"
        now = self.now()
        found = self.store.get("events", namespace, name)
        if found is not None:
            count = found.get("count", 1) + 1
            self.store.put("events", {**found, "count": count, "lastTimestamp": now})
            return
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {
                "apiVersion": obj.get("apiVersion"),
                "kind": obj.get("kind"),
                "name": name_of(obj),
                "namespace": namespace_of(obj),
                "uid": uid_of(obj),
            },
            "reason": reason,
            "message": message,
            "type": "Warning" if warning else "Normal",
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": {"component": self.component},
            "reportingComponent": self.component,
        }
        try:
            self.create("events", event)
        except ApiError as error:
            if error.code not in {403, 404}:  # the namespace is going away
                raise
