"""What informers have seen, kept for the passes; and what this process wrote itself."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from contracts.errors import InvariantError
from dgdr.operator.api import Api, Listing, WatchEvent
from dgdr.operator.resources import Resource, resource_of
from dgdr.reconcile.actions import Json, Ref

_Key = tuple[str, str]
_GRAVES_MAX = 4096


class Graves:
    """Versions at which watches have said that objects are gone, for all mirrors of a kind.

    One watch may hear of a deletion before another: what is older than the deletion is not
    there any more, whoever still knows it.
    """

    def __init__(self) -> None:
        self._versions: dict[_Key, str] = {}
        self._lock = threading.Lock()

    def bury(self, data: Json) -> None:
        """Remember a deletion; the oldest are forgotten in time."""
        with self._lock:
            self._versions[_key(data)] = _version(data)
            if len(self._versions) > _GRAVES_MAX:
                del self._versions[next(iter(self._versions))]

    def cover(self, data: Json) -> bool:
        """Whether this state was over when its object was deleted."""
        version, here = self._versions.get(_key(data), ""), _version(data)
        return version.isdigit() and here.isdigit() and int(here) < int(version)


class Mirror:
    """The last known objects of one kind.

    Args:
        namespace: the only one that is followed; None follows all.
        selector: a label that the followed objects have; empty follows all.

    Attributes:
        graves: shared by the mirrors of a kind in one cache.
    """

    def __init__(self, resource: Resource, *, namespace: str | None, selector: str) -> None:
        self.resource = resource
        self.namespace = namespace
        self.selector = selector
        self.synced = False
        self.graves = Graves()
        self._items: dict[_Key, Json] = {}
        self._lock = threading.Lock()

    def reset(self, items: Iterable[Json]) -> list[Json]:
        """Take over a listing; returns what was known and is not there any more."""
        with self._lock:
            before, self._items = self._items, {}
            for item in items:
                key = _key(item)
                known = before.pop(key, None)
                self._items[key] = item if known is None or _newer(item, known) else known
            self.synced = True
        return list(before.values())

    def note(self, data: Json) -> None:
        """An object as of now; what is older than the known state changes nothing."""
        with self._lock:
            known = self._items.get(_key(data))
            if known is None or _newer(data, known):
                self._items[_key(data)] = data

    def drop(self, data: Json) -> None:
        """An object that was deleted; one of its name that is newer stays."""
        self.graves.bury(data)
        with self._lock:
            known = self._items.get(_key(data))
            if known is not None and _newer(data, known):
                del self._items[_key(data)]

    def forget(self, ref: Ref) -> None:
        """An object that this process had deleted."""
        with self._lock:
            self._items.pop((ref.namespace, ref.name), None)

    def get(self, ref: Ref) -> Json | None:
        """An object, None when it is not known."""
        with self._lock:
            found = self._items.get((ref.namespace, ref.name))
        return None if found is None or self.graves.cover(found) else found

    def select(self, namespace: str | None, selector: str) -> list[Json]:
        """Objects with these labels, by namespace and name."""
        with self._lock:
            found = sorted(self._items.items())
        return [
            item
            for (where, _), item in found
            if namespace in (None, where)
            and has_labels(item, selector)
            and not self.graves.cover(item)
        ]

    def follows(self, data: Json) -> bool:
        """Whether an object belongs to what is followed."""
        here = self.namespace in (None, data["metadata"].get("namespace"))
        return here and has_labels(data, self.selector)

    def answers(self, namespace: str | None, selector: str) -> bool:
        """Whether everything that such a query would find is followed."""
        names = {name for name, _ in _terms(selector)}
        wide = self.namespace in (None, namespace)
        return self.synced and wide and (not self.selector or self.selector in names)


class Cache:
    """An API whose reads are answered from mirrors and whose writes are noted in them.

    An answer may be older than the API's, but not older than the last write of this
    process. Kinds that nobody mirrors are read from the API. What a mirror with a selector
    does not know counts as absent, though an object without that label may have the name.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._mirrors: dict[Resource, list[Mirror]] = {}

    def add(self, mirror: Mirror) -> None:
        """Answer from this mirror too."""
        mirrors = self._mirrors.setdefault(mirror.resource, [])
        mirror.graves = mirrors[0].graves if mirrors else mirror.graves
        mirrors.append(mirror)

    def get(self, ref: Ref) -> Json | None:
        """An object, None when it is not there."""
        mirrors = [m for m in self._of(ref) if m.synced and m.namespace in (None, ref.namespace)]
        if not mirrors:
            return self._api.get(ref)
        newest: Json | None = None
        for mirror in mirrors:
            found = mirror.get(ref)
            if found is not None and (newest is None or _newer(found, newest)):
                newest = found
        return copy.deepcopy(newest)

    def list(self, resource: Resource, namespace: str | None = None, selector: str = "") -> Listing:
        """All objects of a kind with these labels; a mirror's have no common version."""
        for mirror in self._mirrors.get(resource, ()):
            if mirror.answers(namespace, selector):
                items = copy.deepcopy(mirror.select(namespace, selector))
                return Listing(items=tuple(items), resource_version="")
        return self._api.list(resource, namespace, selector)

    def watch(
        self, resource: Resource, namespace: str | None, selector: str, resource_version: str
    ) -> Iterator[WatchEvent]:
        """Changes, from the API."""
        return self._api.watch(resource, namespace, selector, resource_version)

    def create(self, data: Json) -> Json:
        """Create an object."""
        return self._noted(self._api.create(data))

    def replace(self, data: Json) -> Json:
        """Replace an object."""
        return self._noted(self._api.replace(data))

    def patch(self, ref: Ref, change: Mapping[str, Any], *, status: bool = False) -> Json:
        """Merge a change."""
        return self._noted(self._api.patch(ref, change, status=status))

    def delete(self, ref: Ref, uid: str) -> None:
        """Delete an object; until an informer has seen its state it counts as absent."""
        self._api.delete(ref, uid)
        for mirror in self._of(ref):
            mirror.forget(ref)

    def _noted(self, data: Json) -> Json:
        for mirror in self._of(Ref.of(data)):
            if mirror.follows(data):
                mirror.note(copy.deepcopy(data))
        return data

    def _of(self, ref: Ref) -> Sequence[Mirror]:
        return self._mirrors.get(resource_of(ref), ())


def has_labels(data: Json, selector: str) -> bool:
    """Whether an object matches a selector of terms ``label`` and ``label=value``."""
    labels = data["metadata"].get("labels") or {}
    return all(name in labels and value in (None, labels[name]) for name, value in _terms(selector))


def _terms(selector: str) -> Iterator[tuple[str, str | None]]:
    for term in filter(None, selector.split(",")):
        name, equal, value = term.partition("=")
        if name.strip("!() ") != name or " " in name or value.startswith("="):
            raise InvariantError(f"selector {selector!r} is more than label and label=value")
        yield name, value if equal else None


def _key(data: Json) -> _Key:
    metadata = data["metadata"]
    return str(metadata.get("namespace", "")), str(metadata["name"])


def _newer(data: Json, known: Json) -> bool:
    """Whether a state is at least as new; versions that are no numbers come in order."""
    versions = [_version(item) for item in (data, known)]
    if not all(version.isdigit() for version in versions):
        return True
    return int(versions[0]) >= int(versions[1])


def _version(data: Json) -> str:
    return str(data["metadata"].get("resourceVersion", ""))
