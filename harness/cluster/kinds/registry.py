"""Finds resource types by path, kind or storage name; follows CustomResourceDefinitions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial

from harness.cluster.kinds.builtin import builtin_types
from harness.cluster.kinds.crd import served_types
from harness.cluster.kinds.resource import ResourceType
from harness.cluster.objects.meta import Obj, name_of

CRDS = "customresourcedefinitions.apiextensions.k8s.io"


class Registry:
    """All resource types that are served now.

    Args:
        definitions: known from the start.
        webhook: converts an object (``spec.conversion.webhook``, object, ``apiVersion``).

    Attributes:
        revision: counts changes, for caches of what is derived from the types.
    """

    def __init__(
        self, definitions: Iterable[Obj] = (), webhook: Callable[[Obj, Obj, str], Obj] | None = None
    ) -> None:
        self.revision = 0
        self._webhook = webhook
        self._types: dict[tuple[str, str, str], ResourceType] = {}
        self._by_storage: dict[str, ResourceType] = {}
        for found in builtin_types():
            self._types[(found.group, found.version, found.plural)] = found
            self._by_storage.setdefault(found.storage, found)
        for definition in definitions:
            self.set_definition(definition)

    def find(self, group: str, version: str, plural: str) -> ResourceType | None:
        """A type by its place in a URL."""
        return self._types.get((group, version, plural))

    def by_kind(self, api_version: str, kind: str) -> ResourceType | None:
        """A type by ``apiVersion`` and ``kind``; other versions of the group will do too."""
        group, _, _ = api_version.rpartition("/")
        near = None
        for found in self._types.values():
            if found.kind == kind and found.group == group:
                if found.api_version == api_version:
                    return found
                near = found
        return near

    def by_storage(self, storage: str) -> ResourceType | None:
        """A type by the name of its store."""
        return self._by_storage.get(storage)

    def __iter__(self) -> Iterator[ResourceType]:
        return iter(self._types.values())

    def stores(self) -> Iterator[ResourceType]:
        """One type for every store."""
        return iter(self._by_storage.values())

    def groups(self) -> dict[str, list[str]]:
        """Versions by group; the preferred version comes first."""
        found: dict[str, list[str]] = {}
        for resource in self._types.values():
            versions = found.setdefault(resource.group, [])
            if resource.version not in versions:
                versions.append(resource.version)
        return {group: sorted(versions, key=_priority) for group, versions in found.items()}

    def in_version(self, group: str, version: str) -> list[ResourceType]:
        """Every type of one group and version."""
        return [r for r in self._types.values() if (r.group, r.version) == (group, version)]

    def set_definition(self, definition: Obj) -> None:
        """Take over a new or changed CustomResourceDefinition."""
        self._drop(name_of(definition))
        conversion = definition["spec"].get("conversion") or {}
        converter = None
        if self._webhook is not None and conversion.get("strategy") == "Webhook":
            converter = partial(self._webhook, conversion.get("webhook") or {})
        for plain in served_types(definition):
            found = replace(plain, converter=converter)
            self._types[(found.group, found.version, found.plural)] = found
            if found.api_version == found.stored_as or found.storage not in self._by_storage:
                self._by_storage[found.storage] = found
        self.revision += 1

    def drop_definition(self, name: str) -> None:
        """Stop serving a custom resource."""
        self._drop(name)
        self.revision += 1

    def _drop(self, storage: str) -> None:
        for key in [key for key, found in self._types.items() if found.storage == storage]:
            del self._types[key]
        self._by_storage.pop(storage, None)


def _priority(version: str) -> tuple[int, int, int, str]:
    """Kubernetes' order: v2, v1, v1beta2, v1beta1, v1alpha1, anything else."""
    stage = {"": 0, "beta": 1, "alpha": 2}
    text = version.removeprefix("v")
    for word, rank in (("alpha", 2), ("beta", 1)):
        major, found, minor = text.partition(word)
        if found and major.isdigit():
            return (rank, -int(major), -int(minor or 0), version)
    return (stage[""], -int(text), 0, version) if text.isdigit() else (3, 0, 0, version)
