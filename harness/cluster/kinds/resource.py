"""What the server knows about one resource in one version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from harness.cluster.objects.errors import qualified
from harness.cluster.objects.meta import Obj

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of the Table form; ``path`` is JSONPath, None for the name."""

    name: str
    kind: str
    path: str
    format: str = ""
    description: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalePaths:
    """Where the scale subresource finds its numbers (dotted paths)."""

    spec: str
    status: str
    selector: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceType:
    """One resource in one served version.

    Attributes:
        storage: name under which objects of every version are stored.
        stored_as: ``apiVersion`` of the stored form.
        subresources: names such as ``status``; scale is known by ``scale``.
        schema: structural schema of the whole object, None keeps everything.
        generation: whether changes of the specification are counted.
        columns: printer columns of a custom resource.
        selectable: dotted paths that field selectors may name.
        verbs: what clients may do.
        converter: makes another version of an object (object, ``apiVersion``); without one
            only ``apiVersion`` changes.
        builtin: type name in the table of built-in types.
    """

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: frozenset[str] = frozenset()
    storage: str = ""
    stored_as: str = ""
    list_kind: str = ""
    schema: dict[str, Any] | None = field(default=None, compare=False, repr=False)
    generation: bool = False
    scale: ScalePaths | None = None
    columns: tuple[Column, ...] = ()
    selectable: tuple[str, ...] = ()
    custom: bool = False
    deprecated: str | None = None
    verbs: tuple[str, ...] = VERBS
    builtin: str = ""
    converter: Callable[[Obj, str], Obj] | None = field(default=None, compare=False, repr=False)

    @property
    def api_version(self) -> str:
        """``v1`` or ``batch/v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """``widgets.example.com``."""
        return qualified(self.plural, self.group)

    @property
    def fields(self) -> tuple[str, ...]:
        """Paths that field selectors may name."""
        return ("metadata.name", "metadata.namespace", *self.selectable)
