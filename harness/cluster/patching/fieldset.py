"""Sets of fields, as ``managedFields`` records them.

A field is a tuple of steps: ``f:name``, ``k:{"name":"a"}`` for an item of a list-map,
``v:"x"`` for a member of a set, and ``.`` last for the existence of a container.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from harness.cluster.objects.meta import Json

Schema = dict[str, Any]
Path = tuple[str, ...]
MISSING = object()
_ROOT_SKIPPED = frozenset({"apiVersion", "kind"})
_META_TRACKED = frozenset({"labels", "annotations", "finalizers", "ownerReferences"})


def flatten(obj: dict[str, Any], schema: Schema, *, containers: bool) -> dict[Path, Any]:
    """Fields of an object with their values; ``containers`` adds those of maps."""
    tracked = {key: value for key, value in obj.items() if key not in _ROOT_SKIPPED}
    if isinstance(tracked.get("metadata"), dict):
        tracked["metadata"] = {
            key: value for key, value in tracked["metadata"].items() if key in _META_TRACKED
        }
        if not tracked["metadata"]:
            del tracked["metadata"]
    found: dict[Path, Any] = {}
    for key, value in tracked.items():
        inner = inner_schema(schema, key)
        dots = containers and key != "metadata"
        _collect((f"f:{key}",), value, inner, found, (dots, containers))
    return found


def inner_schema(schema: Schema, key: str) -> Schema:
    """Schema of a field; empty where nothing is known."""
    found = (schema.get("properties") or {}).get(key, schema.get("additionalProperties"))
    return found if isinstance(found, dict) else {}


def _collect(
    path: Path, value: Json, schema: Schema, found: dict[Path, Any], dots: tuple[bool, bool]
) -> None:
    here, below = dots
    if isinstance(value, dict) and value and schema.get("x-kubernetes-map-type") != "atomic":
        if here:
            found[(*path, ".")] = None
        for key, item in value.items():
            _collect((*path, f"f:{key}"), item, inner_schema(schema, key), found, (below, below))
        return
    kind = schema.get("x-kubernetes-list-type")
    if isinstance(value, list) and value and kind in {"map", "set"}:
        if here:
            found[(*path, ".")] = None
        for item in value:
            step = item_step(item, schema)
            if kind == "set":
                found[(*path, step)] = item
                continue
            found[(*path, step, ".")] = None
            for key, part in item.items():
                inner = inner_schema(schema.get("items") or {}, key)
                _collect((*path, step, f"f:{key}"), part, inner, found, (below, below))
        return
    found[path] = value


def item_step(item: Json, schema: Schema) -> str:
    """The step that leads to an item of a list-map or set."""
    if schema.get("x-kubernetes-list-type") == "set":
        return "v:" + json.dumps(item, separators=(",", ":"), sort_keys=True)
    keys = {}
    for key in schema.get("x-kubernetes-list-map-keys") or ():
        default = ((schema.get("items") or {}).get("properties") or {}).get(key, {})
        if key in item:
            keys[key] = item[key]
        elif "default" in default:
            keys[key] = default["default"]
    return "k:" + json.dumps(keys, separators=(",", ":"), sort_keys=True)


def encode(paths: Iterable[Path]) -> dict[str, Any]:
    """FieldsV1."""
    root: dict[str, Any] = {}
    for path in sorted(paths):
        node = root
        for step in path:
            node = node.setdefault(step, {})
    return root


def decode(fields: dict[str, Any]) -> set[Path]:
    """Fields of FieldsV1."""
    return set(_decoded((), fields))


def _decoded(path: Path, node: dict[str, Any]) -> Iterator[Path]:
    for step, inner in node.items():
        if inner:
            yield from _decoded((*path, step), inner)
        else:
            yield (*path, step)


def value_at(obj: Json, path: Path) -> Json:
    """The value of a field, ``MISSING`` if absent."""
    for step in path:
        if step == ".":
            return obj
        found = _child(obj, step)
        if found is MISSING:
            return MISSING
        obj = found
    return obj


def _child(obj: Json, step: str) -> Json:
    kind, _, text = step.partition(":")
    if kind == "f":
        return obj.get(text, MISSING) if isinstance(obj, dict) else MISSING
    if not isinstance(obj, list):
        return MISSING
    wanted = json.loads(text)
    return next((item for item in obj if _is(item, wanted, kind)), MISSING)


def _is(item: Json, wanted: Json, kind: str) -> bool:
    if kind == "v":
        return bool(item == wanted)
    return isinstance(item, dict) and all(
        item.get(key, wanted[key] if key == "protocol" else None) == value
        for key, value in wanted.items()
    )


def remove_at(obj: Json, path: Path) -> None:
    """Remove a field in place; nothing happens if it is absent."""
    if path[-1] == ".":
        path = path[:-1]
    parent = value_at(obj, path[:-1])
    kind, _, text = path[-1].partition(":")
    if isinstance(parent, dict) and kind == "f":
        parent.pop(text, None)
    elif isinstance(parent, list):
        wanted = json.loads(text)
        parent[:] = [item for item in parent if not _is(item, wanted, kind)]


def shown(path: Path) -> str:
    """A field as error messages show it: ``.spec.items[name="a"].value``."""
    text = ""
    for step in path:
        kind, _, name = step.partition(":")
        if kind == "f":
            text += f".{name}"
        elif kind == "k":
            listed = (f"{key}={json.dumps(value)}" for key, value in json.loads(name).items())
            text += f"[{','.join(listed)}]"
        elif kind == "v":
            text += f"[={name}]"
    return text
