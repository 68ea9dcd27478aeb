"""Label and field selectors."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

from harness.cluster.objects.errors import bad_request
from harness.cluster.objects.meta import Obj, labels_of
from harness.cluster.objects.paths import dotted

Match = Callable[[Obj], bool]

_SET = re.compile(r"\s*([\w./-]+)\s+(in|notin)\s*\(([^()]*)\)\s*")
_EQUAL = re.compile(r"\s*([\w./-]+)\s*(==|=|!=)\s*([\w.-]*)\s*")
_EXISTS = re.compile(r"\s*(!?)\s*([\w./-]+)\s*")
_ORDER = re.compile(r"\s*([\w./-]+)\s*([<>])\s*(-?\d+)\s*")
_COMMA = re.compile(r",(?![^()]*\))")


def label_selector(text: str) -> Match:
    """A match from ``a=b,c in (d,e),!f``.

    Raises:
        ApiError: 400, the text cannot be understood.
    """
    tests = [_label_test(part) for part in _COMMA.split(text)] if text.strip() else []

    def match(obj: Obj) -> bool:
        labels = labels_of(obj)
        return all(test(labels) for test in tests)

    return match


def _label_test(part: str) -> Callable[[dict[str, str]], bool]:
    if found := _SET.fullmatch(part):
        key, operator, listed = found.groups()
        values = {value.strip() for value in listed.split(",")}
        if operator == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if found := _EQUAL.fullmatch(part):
        key, operator, value = found.groups()
        if operator == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if found := _ORDER.fullmatch(part):
        key, operator, value = found.groups()
        return lambda labels: _ordered(labels.get(key), operator, int(value))
    if found := _EXISTS.fullmatch(part):
        absent, key = found.groups()
        return lambda labels: (key in labels) != bool(absent)
    raise bad_request(f"unable to parse requirement: found '{part.strip()}', expected: identifier")


def _ordered(found: str | None, operator: str, bound: int) -> bool:
    if found is None or not found.lstrip("-").isdigit():
        return False
    return int(found) > bound if operator == ">" else int(found) < bound


def matches_selector(selector: Obj | None, labels: dict[str, str]) -> bool:
    """Whether labels match a LabelSelector object; an absent one matches nothing."""
    if selector is None:
        return False
    wanted: dict[str, str] = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(matches_expression(rule, labels) for rule in selector.get("matchExpressions") or [])


def matches_expression(rule: Obj, labels: dict[str, str]) -> bool:
    """Whether labels match one ``{key, operator, values}`` requirement."""
    found = labels.get(rule["key"])
    operator, values = rule["operator"], rule.get("values") or []
    if operator in {"Gt", "Lt"}:
        return _ordered(found, ">" if operator == "Gt" else "<", int(values[0]))
    return {
        "In": found in values,
        "NotIn": found not in values,
        "Exists": found is not None,
        "DoesNotExist": found is None,
    }[operator]


def selector_text(selector: Obj | None) -> str:
    """A LabelSelector object in the short form of the scale subresource."""
    wanted = (selector or {}).get("matchLabels") or {}
    return ",".join(f"{key}={value}" for key, value in sorted(wanted.items()))


def field_selector(text: str, fields: Collection[str]) -> Match:
    """A match from ``metadata.name=a,status.phase!=Running``.

    Args:
        text: the selector.
        fields: dotted paths that may be asked for.

    Raises:
        ApiError: 400, unknown field or wrong form.
    """
    tests: list[tuple[str, bool, str]] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        found = re.fullmatch(r"([^=!]+?)\s*(==|=|!=)\s*(.*)", part)
        if found is None:
            raise bad_request(f"invalid field selector: {text!r}; can't understand {part!r}")
        field, operator, value = found.groups()
        if field not in fields:
            raise bad_request(f"field label not supported: {field}")
        tests.append((field, operator != "!=", value))
    return lambda obj: all(
        (_field_text(obj, field) == value) == equal for field, equal, value in tests
    )


def _field_text(obj: Obj, field: str) -> str:
    value: Any = dotted(obj, field)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
