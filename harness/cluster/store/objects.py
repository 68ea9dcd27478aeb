"""Objects by resource, namespace and name; one global version; a bounded history."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from harness.cluster.objects.errors import expired
from harness.cluster.objects.meta import Obj, name_of, namespace_of
from harness.cluster.store.journal import Journal

HISTORY = 20_000
Key = tuple[str, str]
Objects = list[Obj]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One write.

    Attributes:
        kind: ``ADDED``, ``MODIFIED`` or ``DELETED``.
        resource: storage name, ``widgets.example.com`` or ``pods``.
        obj: the new state; for a deletion the last one with the deletion's version.
        previous: the state before, None for a new object.
    """

    version: int
    kind: str
    resource: str
    obj: Obj
    previous: Obj | None


class Subscription:
    """Changes of one resource, in order, until closed.

    Attributes:
        wake: called after a change was added; set it to wait for one.
        lost: the reader fell behind by more than the history; it must list again.
    """

    def __init__(self, resource: str, limit: int) -> None:
        self.resource = resource
        self.wake: Callable[[], None] = _nothing
        self.lost = False
        self._limit = limit
        self._pending: deque[Change] = deque()

    def offer(self, change: Change) -> None:
        """Take in a change of any resource."""
        if change.resource != self.resource or self.lost:
            return
        self._pending.append(change)
        if len(self._pending) > self._limit:
            self.cut()
        self.wake()

    def cut(self) -> None:
        """Forget what is pending and tell the reader that it lost track."""
        self._pending.clear()
        self.lost = True
        self.wake()

    def taken(self) -> Iterator[Change]:
        """What came in since the last call."""
        while self._pending:
            yield self._pending.popleft()


def _nothing() -> None:
    """Nobody waits."""


class Store:
    """The only holder of state; every call is synchronous and complete when it returns.

    Objects that were handed in or out must not be changed afterwards.

    Args:
        journal: keeps changes over a crash; None keeps them in memory.
        history: changes kept for watches that resume.
    """

    def __init__(self, journal: Journal | None = None, *, history: int = HISTORY) -> None:
        self.version = 0
        self.oldest = 0
        self.listeners: list[Callable[[Change], None]] = []
        self._journal = journal
        self._limit = history
        self._objects: defaultdict[str, dict[Key, Obj]] = defaultdict(dict)
        self._history: deque[Change] = deque()
        self._subscriptions: list[Subscription] = []
        if journal is not None:
            self._restore(journal)

    def get(self, resource: str, namespace: str, name: str) -> Obj | None:
        """One object."""
        return self._objects[resource].get((namespace, name))

    def list(self, resource: str, namespace: str | None = None) -> Objects:
        """Objects sorted by namespace and name; None stands for all namespaces."""
        found = self._objects[resource]
        return [found[key] for key in sorted(found) if namespace is None or key[0] == namespace]

    def list_at(self, resource: str, version: int, namespace: str | None) -> Objects:
        """The list as it was at a version.

        Raises:
            ApiError: 410, that version is out of reach.
        """
        if version < self.oldest:
            raise expired(version, self.oldest)
        found = dict(self._objects[resource])
        for change in reversed(self._history):
            if change.version <= version:
                break
            if change.resource == resource:
                key = (namespace_of(change.obj), name_of(change.obj))
                if change.previous is None:
                    found.pop(key, None)
                else:
                    found[key] = change.previous
        return [found[key] for key in sorted(found) if namespace is None or key[0] == namespace]

    def resources(self) -> tuple[str, ...]:
        """Storage names that have objects."""
        return tuple(resource for resource, found in self._objects.items() if found)

    def put(self, resource: str, obj: Obj) -> Obj:
        """Store an object under a new version; returns it with that version."""
        key = (namespace_of(obj), name_of(obj))
        previous = self._objects[resource].get(key)
        return self._write(resource, obj, previous, "ADDED" if previous is None else "MODIFIED").obj

    def remove(self, resource: str, namespace: str, name: str) -> Obj:
        """Delete an object that exists; returns its last state with the deletion's version."""
        previous = self._objects[resource][(namespace, name)]
        return self._write(resource, previous, previous, "DELETED").obj

    def subscribe(self, resource: str, after: int | None) -> Subscription:
        """Follow a resource from a version on; None starts with the next change.

        Raises:
            ApiError: 410, that version is out of reach.
        """
        subscription = Subscription(resource, self._limit)
        if after is not None:
            if after < self.oldest:
                raise expired(after, self.oldest)
            for change in self._history:
                if change.version > after:
                    subscription.offer(change)
        self._subscriptions.append(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Stop following."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    def forget_history(self) -> None:
        """Drop the whole history, as a compaction does: older watches get 410."""
        self._history.clear()
        self.oldest = self.version

    def compact(self) -> None:
        """Write a snapshot and empty the journal."""
        if self._journal is not None:
            objects = {key: list(found.values()) for key, found in self._objects.items() if found}
            self._journal.compact({"version": self.version, "objects": objects})

    def close(self) -> None:
        """Close the journal."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _write(self, resource: str, obj: Obj, previous: Obj | None, kind: str) -> Change:
        version = self.version + 1
        stored = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(version)}}
        change = Change(
            version=version, kind=kind, resource=resource, obj=stored, previous=previous
        )
        if self._journal is not None:
            self._journal.append(_record(change))
        self._take(change)
        if self._journal is not None and self._journal.compaction_due:
            self.compact()
        for subscription in tuple(self._subscriptions):
            subscription.offer(change)
        for listener in self.listeners:
            listener(change)
        return change

    def _take(self, change: Change) -> None:
        key = (namespace_of(change.obj), name_of(change.obj))
        if change.kind == "DELETED":
            self._objects[change.resource].pop(key, None)
        else:
            self._objects[change.resource][key] = change.obj
        self.version = change.version
        self._history.append(change)
        while len(self._history) > self._limit:
            self.oldest = self._history.popleft().version

    def _restore(self, journal: Journal) -> None:
        snapshot = journal.snapshot()
        if snapshot is not None:
            self.version = self.oldest = snapshot["version"]
            for resource, objects in snapshot["objects"].items():
                self._objects[resource] = {(namespace_of(o), name_of(o)): o for o in objects}
        for record in journal.records():
            if record["version"] > self.version:
                self._take(self._change(record))

    def _change(self, record: dict[str, Any]) -> Change:
        resource, obj = record["resource"], record["object"]
        previous = self._objects[resource].get((namespace_of(obj), name_of(obj)))
        if record["kind"] == "DELETED" and previous is not None:
            obj = {
                **previous,
                "metadata": {**previous["metadata"], "resourceVersion": str(record["version"])},
            }
        return Change(
            version=record["version"],
            kind=record["kind"],
            resource=resource,
            obj=obj,
            previous=previous,
        )


def _record(change: Change) -> dict[str, Any]:
    obj = change.obj
    if change.kind == "DELETED":
        obj = {"metadata": {"name": name_of(obj), "namespace": namespace_of(obj)}}
    return {
        "version": change.version,
        "kind": change.kind,
        "resource": change.resource,
        "object": obj,
    }
