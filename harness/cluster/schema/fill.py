"""Removes what a structural schema does not know, and fills in its defaults."""

from __future__ import annotations

from typing import Any

from harness.cluster.objects.meta import Json, copied

_EMBEDDED = frozenset({"apiVersion", "kind", "metadata"})


def prune(value: Json, schema: dict[str, Any], path: str = "") -> list[str]:
    """Drop unknown fields in place.

    Returns:
        Sorted paths of what was dropped, ``spec.items[0].bogus``.
    """
    unknown: list[str] = []
    _prune(value, schema, path, unknown)
    return sorted(unknown)


def _prune(value: Json, schema: dict[str, Any], path: str, unknown: list[str]) -> None:
    if isinstance(value, list):
        items: dict[str, Any] | None = schema.get("items")
        if items is None and not schema.get("x-kubernetes-preserve-unknown-fields"):
            items = {}
        if items is not None:
            for index, item in enumerate(value):
                _prune(item, items, f"{path}[{index}]", unknown)
        return
    if not isinstance(value, dict):
        return
    properties = schema.get("properties") or {}
    extra = schema.get("additionalProperties")
    for key in list(value):
        inner = f"{path}.{key}" if path else key
        if key in properties:
            _prune(value[key], properties[key], inner, unknown)
        elif isinstance(extra, dict):
            _prune(value[key], extra, inner, unknown)
        elif not (extra or _keeps(schema, key)):
            unknown.append(inner)
            del value[key]


def _keeps(schema: dict[str, Any], key: str) -> bool:
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return True
    return bool(schema.get("x-kubernetes-embedded-resource")) and key in _EMBEDDED


def apply_defaults(value: Json, schema: dict[str, Any]) -> None:
    """Fill in defaults in place; nulls that are not allowed give way to a default, or go."""
    if isinstance(value, list):
        for item in value if schema.get("items") else ():
            apply_defaults(item, schema["items"])
        return
    if not isinstance(value, dict):
        return
    properties = schema.get("properties") or {}
    for key, inner in properties.items():
        if "default" in inner and (
            key not in value or (value[key] is None and not inner.get("nullable"))
        ):
            value[key] = copied(inner["default"])
    extra = schema.get("additionalProperties")
    for key in list(value):
        inner = properties.get(key, extra)
        if not isinstance(inner, dict):
            continue
        if value[key] is None and not inner.get("nullable"):
            if "default" not in inner:
                del value[key]
                continue
            value[key] = copied(inner["default"])
        apply_defaults(value[key], inner)
