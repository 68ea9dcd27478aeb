"""Turns findings of pydantic into input errors that name place, value and allowed values."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from contracts.errors import CombinedInputError, InputError
from dgdr.section import RULE_ERROR

_WANTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a section of keys and values",
    "model_type": "a section of keys and values",
    "invalid-json-value": "text, numbers, true, false, null, lists and sections",
}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than_equal": ("le", "at most"),
}
_VALUE_LENGTH_MAX = 80
_KEY_MARK = "[key]"  # pydantic's last part of the location of a key that is wrong itself


def raise_problems(problems: Sequence[InputError]) -> None:
    """Raise the only problem as it is and several as one combined error; none is fine."""
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise CombinedInputError(problems)


def field_problems(error: ValidationError, model: type[BaseModel], source: str) -> list[InputError]:
    """Every finding of one validation, in the order of the file format."""
    return [_translate(detail, model, source) for detail in error.errors()]


def render(value: object) -> str:
    """A value as it would stand in the file, cut to a readable length."""
    text = (
        "nothing"
        if value is None
        else json.dumps(value, default=str, ensure_ascii=False, skipkeys=True)
    )
    return text if len(text) <= _VALUE_LENGTH_MAX else f"{text[: _VALUE_LENGTH_MAX - 3]}..."


def near_text(value: object, options: Sequence[str]) -> str:
    """A hint such as ``; did you mean 'vllm'?``, empty when nothing is near."""
    if not isinstance(value, str):
        return ""
    by_lower = {option.lower(): option for option in options}
    wanted = value.strip().lower()
    near = [option for option in by_lower if len(wanted) > 1 and option.startswith(wanted)]
    near = near or difflib.get_close_matches(wanted, list(by_lower), n=1, cutoff=0.6)
    return f"; did you mean {by_lower[near[0]]!r}?" if near else ""


def _translate(detail: ErrorDetails, model: type[BaseModel], source: str) -> InputError:
    loc, kind, found = _without_tags(detail["loc"], model), detail["type"], detail["input"]
    path = dotted(loc) or None
    if kind == "extra_forbidden":
        return _unknown_key(loc, model, source, found)
    if kind == "missing":
        field = _fields(_section_at(model, loc[:-1])).get(str(loc[-1]))
        allowed = field.description if field and field.description else "a value"
        return InputError("is required", source=source, path=path, value="nothing", allowed=allowed)
    if kind == "invalid_key" or detail["loc"][-1:] == (_KEY_MARK,):
        path = dotted([*loc[:-1], render(found)])
        return InputError(
            "keys must be text", source=source, path=path, value=render(found), allowed="text"
        )
    message, allowed = _reason(kind, detail.get("ctx", {}), found, detail["msg"])
    return InputError(message, source=source, path=path, value=render(found), allowed=allowed)


def _reason(
    kind: str, context: Mapping[str, Any], found: object, fallback: str
) -> tuple[str, str | None]:
    """Message and allowed values of one kind of finding."""
    if kind in ("enum", "literal_error"):
        options = re.findall(r"'([^']*)'", str(context["expected"]))
        return f"unknown value{near_text(found, options)}", ", ".join(options)
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return "is out of range", f"{words} {int(context[name])}"
    if kind == RULE_ERROR:
        return str(context["message"]), str(context["allowed"])
    if kind == "finite_number":
        return "is not finite", "a finite number"
    if kind in _WANTED:
        return "has the wrong type", _WANTED[kind]
    return fallback, None


def _unknown_key(
    loc: Sequence[int | str], model: type[BaseModel], source: str, found: object
) -> InputError:
    key, parent = str(loc[-1]), _section_at(model, loc[:-1])
    known = list(_fields(parent))
    spelled = key.replace("_", "").lower()
    homes = [path for path in _paths(model) if path.split(".")[-1].lower() == spelled]
    hint = f"; did you mean {homes[0]!r}?" if homes else near_text(key, known)
    return InputError(
        f"unknown key {key!r}{hint}",
        source=source,
        path=dotted(loc),
        value=render(found),
        allowed=", ".join(known),
    )


def _without_tags(loc: Sequence[int | str], model: type[BaseModel]) -> list[int | str]:
    """A location without the names of types that pydantic puts into raw JSON data.

    Inside raw data the first key stands alone, and each further key or position follows
    the name of the type it was found in: ``x, dict, y, list, 0`` is ``x.y[0]``.
    """
    clean: list[int | str] = []
    here: type[BaseModel] | None = model
    for index, part in enumerate(loc):
        clean.append(part)
        if isinstance(part, int):
            continue
        field = _fields(here).get(part)
        here = _section_of(field.annotation) if field else None
        if here is None:
            rest = [p for p in loc[index + 1 :] if p != _KEY_MARK]
            while rest and isinstance(rest[0], int):
                clean.append(rest.pop(0))
            return [*clean, *rest[::2]]
    return clean


def dotted(loc: Iterable[int | str]) -> str:
    """A location as a dotted path with list positions in brackets."""
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else part
    return path


def _fields(section: type[BaseModel] | None) -> dict[str, Any]:
    """Fields of a section by the name they have in the file."""
    fields = section.model_fields if section else {}
    return {field.alias or name: field for name, field in fields.items()}


def _section_at(model: type[BaseModel], loc: Iterable[int | str]) -> type[BaseModel] | None:
    """The section that a location leads to, None when it leads into raw data."""
    here: type[BaseModel] | None = model
    for part in loc:
        if isinstance(part, str):
            field = _fields(here).get(part)
            here = _section_of(field.annotation) if field else None
    return here


def _section_of(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_section_of(part) for part in get_args(annotation))
    return next((section for section in inner if section is not None), None)


def _paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted paths of all keys of the request, ``status`` left out."""
    for key, field in _fields(model).items():
        if key == "status":
            continue
        yield f"{prefix}{key}"
        section = _section_of(field.annotation)
        if section is not None:
            yield from _paths(section, f"{prefix}{key}.")
