"""What all sections of a DGDR have in common, and the field rules they share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

RULE_ERROR = "rule"
_INT32_MAX = 2**31 - 1


class Section(BaseModel):
    """A strict, frozen group of keys: unknown keys are refused, nothing is coerced.

    Keys on the wire are camelCase. As in Kubernetes, a key set to null counts as absent.
    """

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, alias_generator=to_camel
    )

    @model_validator(mode="before")
    @classmethod
    def _null_means_absent(cls, data: object) -> object:
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if value is not None}
        return data


def rule(holds: Callable[[str], bool], message: str, allowed: str) -> AfterValidator:
    """A check on text whose error carries what would have been allowed."""

    def check(value: str) -> str:
        if not holds(value):
            raise PydanticCustomError(RULE_ERROR, "{message}", {"message": message, **hint})
        return value

    hint = {"allowed": allowed}
    return AfterValidator(check)


def _matches(pattern: str, max_length: int | None = None) -> Callable[[str], bool]:
    compiled = re.compile(pattern, re.ASCII)

    def holds(value: str) -> bool:
        fits = max_length is None or len(value) <= max_length
        return fits and compiled.fullmatch(value) is not None

    return holds


def _is_mount_path(value: str) -> bool:
    return value.startswith("/") and value.strip("/") != "" and not has_dot_segment(value)


def has_dot_segment(path: str) -> bool:
    """Whether a path contains a ``.`` or ``..`` segment."""
    return any(part in (".", "..") for part in path.split("/"))


_DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"

ObjectName = Annotated[
    str,
    rule(
        _matches(rf"{_DNS_LABEL}(\.{_DNS_LABEL})*", max_length=253),
        "is not a Kubernetes object name",
        "at most 253 lower-case letters, digits, '-' and '.', starting and ending with a "
        "letter or digit",
    ),
]
Namespace = Annotated[
    str,
    rule(
        _matches(_DNS_LABEL, max_length=63),
        "is not a Kubernetes namespace",
        "at most 63 lower-case letters, digits and '-', starting and ending with a letter or digit",
    ),
]
ModelName = Annotated[
    str,
    rule(
        _matches(r"\S(.*\S)?"),
        "is not a model name",
        "a Hugging Face id or private model name, not empty and without blanks at its ends",
    ),
]
ImageName = Annotated[
    str,
    rule(
        _matches(r"[^\s/@:][^\s]*[^\s/@:]|[^\s/@:]"),
        "is not a container image",
        "registry/name:tag, without blanks",
    ),
]
RuntimeVersion = Annotated[
    str,
    rule(
        _matches(r"[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}"),
        "is not a runtime version",
        "MAJOR.MINOR.PATCH, each at most 4 digits",
    ),
]
MountPath = Annotated[
    str,
    rule(
        _is_mount_path,
        "is not a mount path",
        "an absolute path below /, without '.' and '..' segments",
    ),
]
PathInClaim = Annotated[
    str,
    rule(
        lambda value: value.strip("/") != "" and not has_dot_segment(value),
        "is not a path inside the claim",
        "a path without '.' and '..' segments",
    ),
]
PositiveNumber = Annotated[float, Field(gt=0)]
PositiveInt32 = Annotated[int, Field(gt=0, le=_INT32_MAX)]
RawObject = dict[str, JsonValue]
