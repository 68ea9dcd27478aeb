"""Types to structural schemas of Kubernetes.

A structural schema has a type at every level, no references, no ``additionalProperties:
false`` (unknown keys are pruned) and OpenAPI 3.0 spelling of exclusive bounds.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]
PRESERVE = "x-kubernetes-preserve-unknown-fields"
RULES = "x-kubernetes-validations"
_KEPT = (
    "type",
    "format",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
)
_INT32_MAX = 2**31 - 1


def structural(model: type[BaseModel]) -> Schema:
    """The structural schema of a type, keys as they stand in files."""
    source = model.model_json_schema(by_alias=True)
    return _convert(source, source.get("$defs", {}))


def at(schema: Schema, path: str) -> Schema:
    """The schema below a dotted path of property names; ``[]`` enters the items of a list."""
    here = schema
    for part in path.split(".") if path else []:
        here = here["items"] if part == "[]" else here["properties"][part]
    return here


def require(schema: Schema, path: str, rules: Sequence[Mapping[str, Any]]) -> None:
    """Add CEL rules to the schema below a path."""
    at(schema, path).setdefault(RULES, []).extend(dict(rule) for rule in rules)


def list_map(schema: Schema, path: str, key: str) -> None:
    """Make a list a map whose entries differ in one key."""
    target = at(schema, path)
    target["x-kubernetes-list-type"] = "map"
    target["x-kubernetes-list-map-keys"] = [key]


def _convert(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    node = _resolved(node, definitions)
    out: Schema = {key: node[key] for key in _KEPT if key in node}
    if "description" in node:
        out["description"] = inspect.cleandoc(str(node["description"])).split("\n\n")[0]
    if "const" in node:
        out |= {"type": "string", "enum": [node["const"]]}
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in node:
            out |= {bound: node[exclusive], exclusive: True}
    if out.get("maximum") == _INT32_MAX:
        del out["maximum"]
        out["format"] = "int32"
    if _is_leaf_default(node.get("default")):
        out["default"] = node["default"]
    if "items" in node:
        out["items"] = _convert(node["items"], definitions)
    if "properties" in node:
        out["properties"] = {
            key: _convert(value, definitions) for key, value in node["properties"].items()
        }
        if node.get("required"):
            out["required"] = sorted(node["required"])
    return _open(out, node, definitions)


def _open(out: Schema, node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    """What keys beyond the named ones may be."""
    more = node.get("additionalProperties")
    untyped = isinstance(more, Mapping) and "type" not in _convert(more, definitions)
    if "type" not in out or more is True or untyped:
        out[PRESERVE] = True
    elif isinstance(more, Mapping):
        out["additionalProperties"] = _convert(more, definitions)
    return out


def _resolved(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A node without references and without null as an alternative."""
    merged = dict(node)
    options = [x for x in merged.pop("anyOf", []) if x.get("type") != "null"]
    options += merged.pop("allOf", [])
    if "$ref" in merged:
        options.append({"$ref": merged.pop("$ref")})
    for option in options:
        target = option
        if "$ref" in option:
            target = definitions[option["$ref"].rsplit("/", 1)[1]]
        merged = {**_resolved(target, definitions), **merged}
    return merged


def _is_leaf_default(value: object) -> bool:
    return isinstance(value, bool | int | float | str)
