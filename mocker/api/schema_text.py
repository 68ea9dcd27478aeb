"""The smallest JSON that fits a JSON schema, with words from the vocabulary as texts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

DEPTH_MAX = 16


def fitting_json(schema: Mapping[str, Any], words: Sequence[str]) -> str:
    """JSON of a schema; objects have their required properties, or all if none is required.

    Args:
        schema: JSON schema; keywords that are not understood are passed over.
        words: what texts are made of.
    """
    value = _value(schema, schema, list(words), 0) if schema else {"answer": words[0]}
    return json.dumps(value)


def _value(schema: Any, root: Mapping[str, Any], words: list[str], depth: int) -> Any:  # noqa: ANN401  # one branch for each keyword
    if not isinstance(schema, dict) or depth > DEPTH_MAX:
        return None
    given = [[schema[name]] for name in ("const",) if name in schema]
    given += [schema[name] for name in ("enum", "examples") if isinstance(schema.get(name), list)]
    if given and given[0]:
        return given[0][0]
    if isinstance(schema.get("$ref"), str):
        return _value(_referred(schema["$ref"], root), root, words, depth + 1)
    for name in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(name), list) and schema[name]:
            return _value(schema[name][0], root, words, depth + 1)
    kind = schema.get("type")
    kind = next(iter(kind), None) if isinstance(kind, list) else kind
    if kind == "object" or "properties" in schema:
        return _object(schema, root, words, depth)
    if kind == "array":
        count = schema.get("minItems")
        count = min(count, 100) if isinstance(count, int) else 1
        return [_value(schema.get("items", {}), root, words, depth + 1) for _ in range(count)]
    return _plain(kind, schema, words)


def _object(
    schema: Mapping[str, Any], root: Mapping[str, Any], words: list[str], depth: int
) -> dict[str, Any]:
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    required = schema.get("required")
    names = required if isinstance(required, list) and required else list(properties)
    return {
        name: _value(properties.get(name), root, words, depth + 1)
        for name in names
        if isinstance(name, str)
    }


def _plain(kind: object, schema: Mapping[str, Any], words: list[str]) -> Any:  # noqa: ANN401  # JSON
    if kind in ("integer", "number"):
        low = schema.get("minimum", 0)
        return low if isinstance(low, int | float) else 0
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    word = words[0]
    words.append(words.pop(0))
    longest, shortest = schema.get("maxLength"), schema.get("minLength")
    if isinstance(shortest, int):
        while len(word) < min(shortest, 1000):
            word += f" {words[len(word) % len(words)]}"
    return word[:longest] if isinstance(longest, int) and longest >= 0 else word


def _referred(reference: str, root: Mapping[str, Any]) -> Any:  # noqa: ANN401  # JSON
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part) if isinstance(found, dict) else None
    return found
