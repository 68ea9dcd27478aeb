"""Tables and metadata-only objects."""

from __future__ import annotations

from collections.abc import Sequence

from harness.cluster.kinds.resource import Column, ResourceType
from harness.cluster.objects.meta import Json, Obj, parsed_time
from harness.cluster.objects.paths import find_path
from harness.cluster.tables.builtin import BUILTIN, Cell, age, age_text

_NAME = {
    "name": "Name",
    "type": "string",
    "format": "name",
    "description": "Name must be unique within a namespace. Is required when creating resources, "
    "although some resources may allow a client to request the generation of an appropriate name "
    "automatically. Name is primarily intended for creation idempotence and configuration "
    "definition. Cannot be updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names",
    "priority": 0,
}


def table(
    resource: ResourceType,
    objects: Sequence[Obj],
    metadata: Obj,
    *,
    include: str = "Metadata",
    now_s: float,
) -> Obj:
    """A Table.

    Args:
        resource: type of the objects; decides on the columns.
        objects: served forms.
        metadata: of the list, or of the single object.
        include: ``includeObject`` of the query: ``None``, ``Metadata`` or ``Object``.
        now_s: for ages, seconds since 1970.
    """
    columns = _columns(resource)
    rows = []
    for obj in objects:
        row: Obj = {"cells": [cell(obj, now_s) for _, cell in columns]}
        if include == "Object":
            row["object"] = obj
        elif include != "None":
            row["object"] = partial(obj)
        rows.append(row)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": [definition for definition, _ in columns],
        "rows": rows,
    }


def partial(obj: Obj) -> Obj:
    """Only the metadata of an object."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": obj.get("metadata") or {},
    }


def _columns(resource: ResourceType) -> list[tuple[Obj, Cell]]:
    found: list[tuple[Obj, Cell]] = [(_NAME, lambda obj, _: obj["metadata"].get("name"))]
    if resource.custom:
        return found + [(_definition(column), _custom_cell(column)) for column in resource.columns]
    for name, priority, cell in BUILTIN.get(resource.kind, (("Age", 0, age),)):
        kind = "string" if name != "Age" else "date"
        definition = Column(name=name, kind=kind, path="", priority=priority)
        found.append((_definition(definition), cell))
    return found


def _definition(column: Column) -> Obj:
    return {
        "name": column.name,
        "type": column.kind,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    }


def _custom_cell(column: Column) -> Cell:
    def cell(obj: Obj, now_s: float) -> Json:
        value = find_path(obj, column.path)
        if column.kind == "date" and isinstance(value, str):
            try:
                return age_text(now_s - parsed_time(value))
            except ValueError:
                return "<invalid>"
        return value

    return cell
