"""Merge patch (RFC 7386) and Kubernetes' strategic merge patch."""

from __future__ import annotations

from typing import Any

from harness.cluster.objects.errors import bad_request
from harness.cluster.objects.meta import Json, copied

Schema = dict[str, Any]
_DIRECTIVES = ("$patch", "$retainKeys")
_ORDER = "$setElementOrder/"
_DELETE = "$deleteFromPrimitiveList/"


def merge_patch(document: Json, patch: Json) -> Json:
    """A patched copy; null removes a field."""
    if not isinstance(patch, dict):
        return copied(patch)
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def strategic_patch(document: Json, patch: Json, schema: Schema) -> Json:
    """A patched copy; lists with a merge key are merged item by item.

    Raises:
        ApiError: 400, an item of such a list has no merge key.
    """
    if not isinstance(patch, dict):
        return copied(patch)
    if patch.get("$patch") == "replace":
        return {key: copied(value) for key, value in patch.items() if key not in _DIRECTIVES}
    if patch.get("$patch") == "delete":
        return {}
    result = dict(document) if isinstance(document, dict) else {}
    if "$retainKeys" in patch:
        result = {key: value for key, value in result.items() if key in patch["$retainKeys"]}
    for key, value in patch.items():
        if key not in _DIRECTIVES:
            _strategic_key(result, key, value, schema)
    for key, value in patch.items():
        field = key.removeprefix(_ORDER)
        if field != key and isinstance(result.get(field), list):
            result[field] = _ordered(result[field], value, _inner(schema, field))
    return result


def _strategic_key(result: dict[str, Any], key: str, value: Json, schema: Schema) -> None:
    if key.startswith(_DELETE):
        field = key.removeprefix(_DELETE)
        result[field] = [item for item in result.get(field) or [] if item not in value]
    elif key.startswith(_ORDER):
        return
    elif value is None:
        result.pop(key, None)
    else:
        result[key] = _strategic_field(result.get(key), value, _inner(schema, key))


def _inner(schema: Schema, key: str) -> Schema:
    found = (schema.get("properties") or {}).get(key, schema.get("additionalProperties"))
    return found if isinstance(found, dict) else {}


def _strategic_field(value: Json, patch: Json, schema: Schema) -> Json:
    if not isinstance(patch, list):
        return strategic_patch(value, patch, schema)
    key = schema.get("x-kubernetes-patch-merge-key")
    if key:
        return _merged_list(value or [], patch, key, schema.get("items") or {})
    if schema.get("x-kubernetes-list-type") == "set":
        return [*(value or []), *(item for item in patch if item not in (value or []))]
    return copied(patch)


def _merged_list(items: list[Any], patch: list[Any], key: str, schema: Schema) -> list[Any]:
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
        kept = [item for item in patch if item.get("$patch") != "replace"]
        return [copied(item) for item in kept]
    result = list(items)
    for change in patch:
        if not isinstance(change, dict) or key not in change:
            raise bad_request(f"map: {change} does not contain declared merge key: {key}")
        index = next((i for i, item in enumerate(result) if item.get(key) == change[key]), None)
        if change.get("$patch") == "delete":
            result = [item for item in result if item.get(key) != change[key]]
        elif index is None:
            result.append(strategic_patch({}, change, schema))
        else:
            result[index] = strategic_patch(result[index], change, schema)
    return result


def _ordered(items: list[Any], order: list[Any], schema: Schema) -> list[Any]:
    key = schema.get("x-kubernetes-patch-merge-key")
    wanted = [entry.get(key) if isinstance(entry, dict) else entry for entry in order]

    def place(item: Json) -> int:
        name = item.get(key) if isinstance(item, dict) else item
        return wanted.index(name) if name in wanted else len(wanted)

    return sorted(items, key=place)
