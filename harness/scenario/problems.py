"""Turns pydantic's findings into input errors that name the place and the allowed values."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from contracts.errors import CombinedInputError, InputError

_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "model_type": "a section of keys and values",
    "model_attributes_type": "a section of keys and values",
    "finite_number": "a finite number",
}
_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
    "too_short": ("min_length", "number of entries at least"),
    "string_too_short": ("min_length", "number of characters at least"),
    "string_too_long": ("max_length", "number of characters at most"),
    "string_pattern_mismatch": ("pattern", "text that matches"),
}


def input_errors(error: ValidationError, model: type[BaseModel], source: str) -> CombinedInputError:
    """All findings of one validation, in the order of the file format."""
    return CombinedInputError([_translate(detail, model, source) for detail in error.errors()])


def unknown_text(value: str, allowed: Sequence[str]) -> str:
    """A hint such as ``; did you mean 'mock'?``, empty when nothing is near."""
    near = difflib.get_close_matches(value, allowed, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _translate(detail: ErrorDetails, model: type[BaseModel], source: str) -> InputError:
    path, parent = _place(detail["loc"], model)
    kind, context = detail["type"], detail.get("ctx", {})
    value: str | None = render(detail["input"])
    if kind == "extra_forbidden":
        key, known = str(detail["loc"][-1]), _keys(parent)
        message = f"unknown key {key!r}{unknown_text(key, known)}"
        return InputError(message, source=source, path=path, allowed=", ".join(known))
    if kind == "missing":
        return InputError("is required", source=source, path=path)
    if kind == "union_tag_not_found":
        path, kind = f"{path}.kind", "missing kind"
    if kind == "union_tag_invalid":
        path, value = f"{path}.kind", context["tag"]
    message, allowed = _reason(kind, context, detail)
    return InputError(message, source=source, path=path, value=value, allowed=allowed)


def _reason(kind: str, context: Mapping[str, Any], detail: ErrorDetails) -> tuple[str, str | None]:
    if kind == "missing kind":
        return "is required", None
    if kind == "union_tag_invalid":
        tags = [tag.strip("' ") for tag in str(context["expected_tags"]).split(",")]
        return f"unknown kind{unknown_text(str(context['tag']), tags)}", ", ".join(tags)
    if kind == "literal_error":
        options = str(context["expected"]).replace(" or ", ", ").replace("'", "")
        return f"unknown value{_near(detail['input'], options)}", options
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return "is out of range", f"{words} {context[name]}"
    if kind in _WANTED:
        return "has the wrong type", _WANTED[kind]
    return detail["msg"], None


def _near(value: object, options: str) -> str:
    return unknown_text(value, options.split(", ")) if isinstance(value, str) else ""


def render(value: object) -> str:
    """A value as people would write it, cut to a readable length."""
    text = {None: "nothing", True: "true", False: "false"}.get(value) if _simple(value) else None
    text = repr(value) if text is None else text
    return text if len(text) <= 80 else f"{text[:77]}..."


def _simple(value: object) -> typing.TypeGuard[bool | None]:
    return value is None or isinstance(value, bool)


def _place(loc: Sequence[int | str], model: type[BaseModel]) -> tuple[str, type[BaseModel] | None]:
    """Dotted path without union tags, and the section that holds the last key."""
    path = ""
    parent: type[BaseModel] | None = model
    here: Any = model
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
            continue
        options = _models(here)
        if len(options) > 1:
            here = next((o for o in options if _tag(o) == part), None)
            continue
        parent = options[0] if options else None
        path += f".{part}" if path else part
        here = _annotation(parent, part)
    return path, parent


def _keys(section: type[BaseModel] | None) -> list[str]:
    fields = section.model_fields if section else {}
    return [field.alias or name for name, field in fields.items()]


def _annotation(section: type[BaseModel] | None, key: str) -> Any:  # noqa: ANN401 - a type form
    fields = section.model_fields if section else {}
    return next((f.annotation for name, f in fields.items() if key in (name, f.alias)), None)


def _tag(section: type[BaseModel]) -> object:
    values = get_args(_annotation(section, "kind"))
    return values[0] if values else None


def _models(annotation: Any) -> list[type[BaseModel]]:  # noqa: ANN401 - a type form
    """Sections that an annotation may stand for, looked up through lists and unions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (list, typing.Union, UnionType, typing.Annotated):
        return [found for part in get_args(annotation) for found in _models(part)]
    return []
