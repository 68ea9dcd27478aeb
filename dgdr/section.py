"""What all sections of a DGDR have in common, and the field rules they share."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    JsonValue,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

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


@dataclass(frozen=True, slots=True)
class TextRule:
    """A check on text whose error carries what would have been allowed.

    Attributes:
        schema: the same rule as keys of a JSON schema, as far as a schema can say it.
    """

    holds: Callable[[str], bool]
    message: str
    allowed: str
    schema: dict[str, Any] = field(default_factory=dict, hash=False)

    def check(self, value: str) -> str:
        """The value itself, when it follows the rule."""
        if not self.holds(value):
            raise PydanticCustomError(
                RULE_ERROR, "{message}", {"message": self.message, "allowed": self.allowed}
            )
        return value

    def __get_pydantic_core_schema__(
        self, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), **self.schema}


def rule(holds: Callable[[str], bool], message: str, allowed: str, **schema: str | int) -> TextRule:
    """A check on text, and the part of it that a JSON schema can express."""
    return TextRule(holds, message, allowed, dict(schema))


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
        pattern=rf"^{_DNS_LABEL}(\.{_DNS_LABEL})*$",
        maxLength=253,
    ),
]
Namespace = Annotated[
    str,
    rule(
        _matches(_DNS_LABEL, max_length=63),
        "is not a Kubernetes namespace",
        "at most 63 lower-case letters, digits and '-', starting and ending with a letter or digit",
        pattern=rf"^{_DNS_LABEL}$",
        maxLength=63,
    ),
]
ModelName = Annotated[
    str,
    rule(
        _matches(r"\S(.*\S)?"),
        "is not a model name",
        "a Hugging Face id or private model name, not empty and without blanks at its ends",
        pattern=r"^\S(.*\S)?$",
        minLength=1,
    ),
]
ImageName = Annotated[
    str,
    rule(
        _matches(r"[^\s/@:][^\s]*[^\s/@:]|[^\s/@:]"),
        "is not a container image",
        "registry/name:tag, without blanks",
        pattern=r"^([^\s/@:][^\s]*[^\s/@:]|[^\s/@:])$",
    ),
]
RuntimeVersion = Annotated[
    str,
    rule(
        _matches(r"[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}"),
        "is not a runtime version",
        "MAJOR.MINOR.PATCH, each at most 4 digits",
        pattern=r"^[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}$",
    ),
]
MountPath = Annotated[
    str,
    rule(
        _is_mount_path,
        "is not a mount path",
        "an absolute path below /, without '.' and '..' segments",
        pattern=r"^/+[^/]",
    ),
]
PathInClaim = Annotated[
    str,
    rule(
        lambda value: value.strip("/") != "" and not has_dot_segment(value),
        "is not a path inside the claim",
        "a path without '.' and '..' segments",
        pattern=r"[^/]",
    ),
]
PositiveNumber = Annotated[float, Field(gt=0)]
PositiveInt32 = Annotated[int, Field(gt=0, le=_INT32_MAX)]
RawObject = dict[str, JsonValue]
