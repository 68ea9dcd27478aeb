"""Reads fields of a JSON body by hand, as fast as possible, with errors that name them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json

from mocker.api.errors import ApiError


def json_object(body: bytes) -> dict[str, Any]:
    """The body as an object.

    Raises:
        ApiError: 400.
    """
    try:
        data = from_json(body)
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise ApiError(400, "the body must be a JSON object")
    return data


def flag(data: Mapping[str, Any], name: str) -> bool:
    """A boolean, false when missing.

    Raises:
        ApiError: 400.
    """
    value = data.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise ApiError(400, f"{name} must be true or false", param=name)
    return value


def integer(
    data: Mapping[str, Any], name: str, default: int, *, low: int, high: int | None = None
) -> int:
    """An integer within bounds.

    Raises:
        ApiError: 400.
    """
    value = data.get(name)
    if value is None:
        return default
    too_high = high is not None and isinstance(value, int) and value > high
    if isinstance(value, bool) or not isinstance(value, int) or value < low or too_high:
        allowed = f"at least {low}" + (f" and at most {high}" if high is not None else "")
        shown = repr(value)[:80]
        raise ApiError(400, f"{name} must be an integer of {allowed}, got {shown}", param=name)
    return value


def number(data: Mapping[str, Any], name: str, low: float, high: float) -> None:
    """A number within bounds, if it is there; sampling has no meaning here.

    Raises:
        ApiError: 400.
    """
    value = data.get(name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ApiError(
            400, f"{name} must be a number from {low:g} to {high:g}, got {value!r:.80}", param=name
        )


def mapping(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    """An object, empty when missing.

    Raises:
        ApiError: 400.
    """
    value = data.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ApiError(400, f"{name} must be an object", param=name)
    return value


def text(data: Mapping[str, Any], name: str) -> str:
    """A text that must be there.

    Raises:
        ApiError: 400.
    """
    value = data.get(name)
    if not isinstance(value, str) or not value:
        raise ApiError(400, f"{name} must be a non-empty string", param=name)
    return value


def texts(data: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A text or a list of them, none of them empty.

    Raises:
        ApiError: 400.
    """
    value = data.get(name)
    if value is None:
        return ()
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(s, str) and s for s in found):
        raise ApiError(400, f"{name} must be a string or a list of strings", param=name)
    return tuple(found)
