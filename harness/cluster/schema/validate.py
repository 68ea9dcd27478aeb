"""Checks JSON against a structural schema; problems are worded as Kubernetes words them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any

from harness.cluster.objects.errors import FieldProblem, invalid_value, required, unsupported
from harness.cluster.objects.meta import Json

Schema = dict[str, Any]
_INTEGER_BITS = {"int32": 31, "int64": 63}
_TYPES: dict[object, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}


def validate(value: Json, schema: Schema, path: str = "") -> list[FieldProblem]:
    """Every problem of a value, in document order."""
    return list(_check(value, schema, path))


def type_name(value: Json) -> str:
    """JSON type of a value as schemas name it."""
    return "null" if value is None else _TYPES[type(value)]


def _check(value: Json, schema: Schema, path: str) -> Iterator[FieldProblem]:
    if value is None and schema.get("nullable"):
        return
    wrong = _wrong_type(value, schema, path)
    if wrong is not None:
        yield wrong
    if "enum" in schema and value not in schema["enum"]:
        yield unsupported(path, _text(value), [_text(item) for item in schema["enum"]])
    if wrong is not None:
        return
    if isinstance(value, str):
        yield from _check_string(value, schema, path)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from _check_number(value, schema, path)
    elif isinstance(value, list):
        yield from _check_list(value, schema, path)
    elif isinstance(value, dict):
        yield from _check_object(value, schema, path)
    yield from _check_combined(value, schema, path)


def _wrong_type(value: Json, schema: Schema, path: str) -> FieldProblem | None:
    wanted, found = schema.get("type"), type_name(value)
    if schema.get("x-kubernetes-int-or-string"):
        if found in {"integer", "string", "number"}:
            return None
        wanted = "integer,string"
    if not wanted or wanted == found or (wanted == "number" and found == "integer"):
        return None
    if wanted == "integer" and found == "number" and float(value).is_integer():
        return None
    text = f"Invalid value: {json.dumps(found)}: {path} in body must be of type {wanted}: "
    return FieldProblem("FieldValueTypeInvalid", path, text + json.dumps(found))


def _check_string(value: str, schema: Schema, path: str) -> Iterator[FieldProblem]:
    if len(value) > schema.get("maxLength", len(value)):
        text = f"Too long: may not be more than {schema['maxLength']} bytes"
        yield FieldProblem("FieldValueTooLong", path, text)
    pattern = schema.get("pattern")
    if len(value) < schema.get("minLength", 0):
        detail = f"{path} in body should be at least {schema['minLength']} chars long"
        yield invalid_value(path, _text(value), detail)
    elif pattern and _compiled(pattern).search(value) is None:
        yield invalid_value(path, _text(value), f"{path} in body should match '{pattern}'")
    kind = schema.get("format")
    if kind in _FORMATS and not _FORMATS[kind](value):
        detail = f"{path} in body must be of type {kind}: {_text(value)}"
        yield invalid_value(path, _text(value), detail)


def _check_number(value: float, schema: Schema, path: str) -> Iterator[FieldProblem]:
    kind = schema.get("format")
    if kind in _INTEGER_BITS and abs(value) >= 2 ** _INTEGER_BITS[kind]:
        detail = f"Checked value must be of type {schema.get('type')} with format {kind} in {path}"
        yield invalid_value("<nil>", '""', detail)
    low, high = schema.get("minimum"), schema.get("maximum")
    if high is not None and (
        value > high or (schema.get("exclusiveMaximum") is True and value == high)
    ):
        words = "less than" if schema.get("exclusiveMaximum") else "less than or equal to"
        yield invalid_value(path, _text(value), f"{path} in body should be {words} {high:g}")
    if low is not None and (
        value < low or (schema.get("exclusiveMinimum") is True and value == low)
    ):
        words = "greater than" if schema.get("exclusiveMinimum") else "greater than or equal to"
        yield invalid_value(path, _text(value), f"{path} in body should be {words} {low:g}")
    step = schema.get("multipleOf")
    if step and (value / step) != int(value / step):
        yield invalid_value(path, _text(value), f"{path} in body should be a multiple of {step:g}")


def _check_list(value: list[Any], schema: Schema, path: str) -> Iterator[FieldProblem]:
    if len(value) > schema.get("maxItems", len(value)):
        text = f"Too many: {len(value)}: must have at most {schema['maxItems']} items"
        yield FieldProblem("FieldValueTooMany", path, text)
    if len(value) < schema.get("minItems", 0):
        detail = f"{path} in body should have at least {schema['minItems']} items"
        yield invalid_value(path, str(len(value)), detail)
    yield from _duplicates(value, schema, path)
    items = schema.get("items")
    if items:
        for index, item in enumerate(value):
            yield from _check(item, items, f"{path}[{index}]")


def _duplicates(value: list[Any], schema: Schema, path: str) -> Iterator[FieldProblem]:
    kind = schema.get("x-kubernetes-list-type")
    if kind not in {"set", "map"} and not schema.get("uniqueItems"):
        return
    keys = schema.get("x-kubernetes-list-map-keys") or []
    seen: set[str] = set()
    for index, item in enumerate(value):
        shown: Any = item
        if kind == "map" and not isinstance(item, dict):
            detail = "must be an object for an array of list-type map"
            yield invalid_value(f"{path}[{index}]", _text(item), detail)
        elif kind == "map":
            shown = {key: item[key] for key in keys if key in item}
        text = _text(shown)
        if text in seen:
            yield FieldProblem(
                "FieldValueDuplicate", f"{path}[{index}]", f"Duplicate value: {text}"
            )
        seen.add(text)


def _check_object(value: dict[str, Any], schema: Schema, path: str) -> Iterator[FieldProblem]:
    wanted = list(schema.get("required") or [])
    if schema.get("x-kubernetes-embedded-resource"):
        wanted += [key for key in ("apiVersion", "kind") if key not in wanted]
    for key in wanted:
        if key not in value:
            yield required(f"{path}.{key}" if path else key)
    if len(value) > schema.get("maxProperties", len(value)):
        text = f"Too many: {len(value)}: must have at most {schema['maxProperties']} items"
        yield FieldProblem("FieldValueTooMany", path, text)
    if len(value) < schema.get("minProperties", 0):
        detail = f"{path} in body should have at least {schema['minProperties']} properties"
        yield invalid_value(path, str(len(value)), detail)
    properties = schema.get("properties") or {}
    extra = schema.get("additionalProperties")
    for key, item in value.items():
        inner = f"{path}.{key}" if path else key
        if key in properties:
            yield from _check(item, properties[key], inner)
        elif isinstance(extra, dict):
            yield from _check(item, extra, inner)


def _check_combined(value: Json, schema: Schema, path: str) -> Iterator[FieldProblem]:
    shown = json.dumps(path)
    for part in schema.get("allOf") or ():
        yield from _check(value, part, path)
    if schema.get("anyOf") and not any(_fits(value, part, path) for part in schema["anyOf"]):
        detail = f"{shown} must validate at least one schema (anyOf)"
        yield invalid_value(path, _text(value), detail)
    if schema.get("oneOf"):
        fitting = sum(_fits(value, part, path) for part in schema["oneOf"])
        if fitting != 1:
            found = f"Found {fitting} valid alternatives" if fitting else "Found none valid"
            detail = f"{shown} must validate one and only one schema (oneOf). {found}"
            yield invalid_value(path, _text(value), detail)
    if schema.get("not") and _fits(value, schema["not"], path):
        yield invalid_value(path, _text(value), f"{shown} must not validate the schema (not)")


def _fits(value: Json, schema: Schema, path: str) -> bool:
    return next(_check(value, schema, path), None) is None


def _text(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).tzinfo is not None
    except ValueError:
        return False


def _is_date(text: str) -> bool:
    return re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) is not None


_FORMATS: dict[str, Callable[[str], bool]] = {"date-time": _is_time, "date": _is_date}
