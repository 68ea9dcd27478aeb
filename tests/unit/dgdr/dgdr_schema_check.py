"""A small reader of structural schemas: what an API server would refuse and fill in.

Independent of the embedded cluster, so that manifests are checked without it.
"""

from __future__ import annotations

import copy
import re
from typing import Any

import celpy
from celpy.adapter import json_to_cel

PRESERVE = "x-kubernetes-preserve-unknown-fields"
KNOWN_KEYS = {
    *("type", "description", "properties", "required", "items", "additionalProperties", "default"),
    *("enum", "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    *("minLength", "maxLength", "minItems", "maxItems", "maxProperties", PRESERVE),
    *("x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"),
}
_TYPES = {"object": dict, "array": list, "string": str, "boolean": bool}
_environment = celpy.Environment()
_programs: dict[str, Any] = {}


def structural_problems(schema: dict[str, Any], path: str = "") -> list[str]:
    """Rules of structural schemas that a schema breaks."""
    found = [f"{path}: key {key}" for key in schema if key not in KNOWN_KEYS]
    if "type" not in schema and not schema.get(PRESERVE):
        found.append(f"{path}: no type")
    if schema.get("additionalProperties") is not None and "properties" in schema:
        found.append(f"{path}: properties and additionalProperties")
    for key, child in schema.get("properties", {}).items():
        found += structural_problems(child, f"{path}.{key}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            found += structural_problems(schema[key], f"{path}[{key}]")
    if schema.get("x-kubernetes-list-type") == "map":
        for key in schema["x-kubernetes-list-map-keys"]:
            if key not in schema["items"].get("required", []):
                found.append(f"{path}: list key {key} is not required")
    for rule in schema.get("x-kubernetes-validations", []):
        _program(rule["rule"])
    return found


def admit(
    schema: dict[str, Any], data: dict[str, Any], old: dict[str, Any] | None = None
) -> tuple[dict[str, Any], list[str], list[str]]:
    """The stored object, what is refused, and the keys that are pruned."""
    stored, errors, unknown = copy.deepcopy(data), [], []
    _walk(schema, stored, "", errors, unknown)
    if not errors:
        _rules(schema, stored, old, "", errors)
    return stored, errors, unknown


def _walk(schema, value, path, errors, unknown):
    kind = schema.get("type")
    if kind in ("integer", "number"):
        right = isinstance(value, int if kind == "integer" else int | float)
        right = right and not isinstance(value, bool)
    else:
        right = kind is None or isinstance(value, _TYPES[kind])
    if not right:
        errors.append(f"{path}: must be of type {kind}")
        return
    _limits(schema, value, path, errors)
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            _walk(schema["items"], item, f"{path}[{index}]", errors, unknown)
    if isinstance(value, dict):
        _members(schema, value, path, errors, unknown)


def _members(schema, value, path, errors, unknown):
    if path == ".metadata":
        return
    properties = schema.get("properties", {})
    _fill_in(properties, value)
    missing = [key for key in schema.get("required", []) if key not in value]
    errors += [f"{path}.{key}: Required value" for key in missing]
    for key in list(value):
        if key in properties:
            _walk(properties[key], value[key], f"{path}.{key}", errors, unknown)
        elif "additionalProperties" in schema:
            _walk(schema["additionalProperties"], value[key], f"{path}.{key}", errors, unknown)
        elif not schema.get(PRESERVE):
            unknown.append(f"{path}.{key}")
            del value[key]


def _fill_in(properties, value):
    for key, child in properties.items():
        if value.get(key) is None:
            value.pop(key, None)
        if "default" in child and key not in value:
            value[key] = child["default"]


def _limits(schema, value, path, errors):
    if "enum" in schema and value not in schema["enum"]:
        errors.append(f"{path}: Unsupported value: {value!r}")
    if isinstance(value, str):
        if "pattern" in schema and not re.search(schema["pattern"], value):
            errors.append(f"{path}: must match {schema['pattern']}")
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 1 << 20):
            errors.append(f"{path}: length")
    if isinstance(value, int | float) and not isinstance(value, bool):
        low = schema.get("minimum", float("-inf"))
        if value < low or (schema.get("exclusiveMinimum") and value == low):
            errors.append(f"{path}: should be greater than {low}")
    if isinstance(value, list) and len(value) > schema.get("maxItems", 1 << 20):
        errors.append(f"{path}: too many")
    if schema.get("x-kubernetes-list-type") == "map" and isinstance(value, list):
        keys = [tuple(v.get(k) for k in schema["x-kubernetes-list-map-keys"]) for v in value]
        if len(set(keys)) < len(keys):
            errors.append(f"{path}: Duplicate value")


def _rules(schema, value, old, path, errors):
    for rule in schema.get("x-kubernetes-validations", []):
        if "oldSelf" in rule["rule"] and old is None:
            continue
        names = {"self": json_to_cel(value)}
        if old is not None:
            names["oldSelf"] = json_to_cel(old)
        if not _program(rule["rule"]).evaluate(names):
            errors.append(f"{path + rule.get('fieldPath', '')}: {rule['message']}")
    if isinstance(value, dict):
        for key, child in schema.get("properties", {}).items():
            if key in value:
                before = old.get(key) if isinstance(old, dict) else None
                _rules(child, value[key], before, f"{path}.{key}", errors)


def _program(text: str) -> Any:
    if text not in _programs:
        _programs[text] = _environment.program(_environment.compile(text))
    return _programs[text]
