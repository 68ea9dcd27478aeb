"""CEL rules (``x-kubernetes-validations``) of structural schemas.

Values are converted by their schema type, because CEL does not compare an int with a
double. Of the libraries of Kubernetes there is what :mod:`harness.cluster.schema.cel_functions`
has; a rule that needs another one fails with that reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import celpy
from celpy import celtypes
from celpy.celparser import CELParseError
from celpy.evaluation import CELEvalError, CELUnsupportedError, base_functions

from harness.cluster.objects.errors import FieldProblem, invalid_value
from harness.cluster.objects.meta import Json
from harness.cluster.schema.cel_functions import FUNCTIONS
from harness.cluster.schema.cel_types import TYPE_FUNCTIONS

Schema = dict[str, Any]
RULES = "x-kubernetes-validations"
_RESERVED = frozenset(
    [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)
MISSING = object()


def rule_problems(
    value: Json, schema: Schema, *, old: Json = MISSING, path: str = ""
) -> list[FieldProblem]:
    """Every broken rule.

    Args:
        value: checked value; must fit the schema.
        schema: structural schema.
        old: stored value on updates; rules with ``oldSelf`` are skipped without one.
        path: path of the value.
    """
    return list(_walk(value, schema, old, path))


def check_rules(schema: Schema, path: str) -> list[FieldProblem]:
    """Rules of a schema that do not parse."""
    problems = []
    for place, rule in _rules(schema, path):
        try:
            _program(rule["rule"])
        except CELParseError as error:
            text = str(error).splitlines()[0]
            shown = f'apiextensions.ValidationRule{{Rule:"{rule["rule"]}"}}'
            problems.append(invalid_value(f"{place}.rule", shown, f"compilation failed: {text}"))
    return problems


def has_rules(schema: Schema) -> bool:
    """Whether a schema has a rule anywhere."""
    return next(_rules(schema, ""), None) is not None


def _rules(schema: Schema, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for index, rule in enumerate(schema.get(RULES) or ()):
        yield f"{path}.{RULES}[{index}]", rule
    for name, inner in (schema.get("properties") or {}).items():
        yield from _rules(inner, f"{path}.properties[{name}]")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from _rules(schema[key], f"{path}.{key}")


def _walk(value: Json, schema: Schema, old: Json, path: str) -> Iterator[FieldProblem]:
    if value is None:
        return
    for rule in schema.get(RULES) or ():
        problem = _broken(rule, value, schema, old, path)
        if problem is not None:
            yield problem
    if isinstance(value, dict):
        properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
        for key, item in value.items():
            inner = properties.get(key, extra)
            if isinstance(inner, dict):
                before = old.get(key, MISSING) if isinstance(old, dict) else MISSING
                yield from _walk(item, inner, before, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and schema.get("items"):
        for index, item in enumerate(value):
            before = _same_item(item, schema, old)
            yield from _walk(item, schema["items"], before, f"{path}[{index}]")


def _same_item(item: Json, schema: Schema, old: Json) -> Json:
    """The stored item of a list-map that has the same keys."""
    keys = schema.get("x-kubernetes-list-map-keys")
    if not keys or not isinstance(old, list) or not isinstance(item, dict):
        return MISSING
    wanted = [item.get(key) for key in keys]
    found = (entry for entry in old if [entry.get(key) for key in keys] == wanted)
    return next(found, MISSING)


def _broken(
    rule: dict[str, Any], value: Json, schema: Schema, old: Json, path: str
) -> FieldProblem | None:
    values = {"self": _to_cel(value, schema)}
    if re.search(r"\boldSelf\b", rule["rule"]):
        if old is MISSING and not rule.get("optionalOldSelf"):
            return None
        values["oldSelf"] = _to_cel(None if old is MISSING else old, schema)
    field = path + (rule.get("fieldPath") or "") or "<nil>"
    try:
        result = _program(rule["rule"]).evaluate(values)
        if result:
            return None
        text = rule.get("message") or f"failed rule: {rule['rule'].strip()}"
        if rule.get("messageExpression"):
            text = str(_program(rule["messageExpression"]).evaluate(values))
    except (CELEvalError, CELUnsupportedError) as error:
        text = f"rule evaluation failed: {_first(error)}"
    reason = rule.get("reason") or "FieldValueInvalid"
    return FieldProblem(reason, field, f"{_WORDS.get(reason, 'Invalid value')}: {text}")


_WORDS = {
    "FieldValueRequired": "Required value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueDuplicate": "Duplicate value",
}


def _first(error: Exception) -> str:
    return str(error.args[0] if error.args else error).splitlines()[0]


@lru_cache(maxsize=1024)
def _program(rule: str) -> celpy.Runner:
    environment = celpy.Environment()
    functions = {**FUNCTIONS, **TYPE_FUNCTIONS, **_COMPARISONS}
    return environment.program(environment.compile(rule), functions=functions)


def _compared(name: str) -> Callable[[Json, Json], Json]:
    """A comparison that also takes an integer and a double, as Kubernetes' CEL does."""
    plain = base_functions[name]

    def compare(left: Json, right: Json) -> Json:
        if isinstance(left, celtypes.DoubleType) and isinstance(right, _INTEGERS):
            right = celtypes.DoubleType(int(right))
        elif isinstance(right, celtypes.DoubleType) and isinstance(left, _INTEGERS):
            left = celtypes.DoubleType(int(left))
        return plain(left, right)

    return compare


_INTEGERS = (celtypes.IntType, celtypes.UintType)
_COMPARISONS = {name: _compared(name) for name in ("_<_", "_<=_", "_>_", "_>=_", "_==_", "_!=_")}


def _to_cel(value: Json, schema: Schema) -> Json:
    if value is None:
        return None
    if isinstance(value, bool):
        return celtypes.BoolType(value)
    if isinstance(value, (int, float)):
        as_double = schema.get("type") == "number" or isinstance(value, float)
        return celtypes.DoubleType(value) if as_double else celtypes.IntType(value)
    if isinstance(value, str):
        if schema.get("format") == "date-time":
            return celtypes.TimestampType(value)
        return celtypes.StringType(value)
    if isinstance(value, list):
        items = schema.get("items") or {}
        return celtypes.ListType([_to_cel(item, items) for item in value])
    properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
    extra = extra if isinstance(extra, dict) else {}
    return celtypes.MapType(
        {
            celtypes.StringType(escaped(key) if key in properties else key): _to_cel(
                item, properties.get(key, extra)
            )
            for key, item in value.items()
        }
    )


def escaped(name: str) -> str:
    """A property name as CEL expressions spell it."""
    if name in _RESERVED:
        return f"__{name}__"
    for sign, word in (
        ("__", "__underscores__"),
        (".", "__dot__"),
        ("-", "__dash__"),
        ("/", "__slash__"),
    ):
        name = name.replace(sign, word)
    return name
