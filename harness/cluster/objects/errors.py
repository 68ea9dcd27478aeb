"""Failures as the Kubernetes API words them: a Status object with code and reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

NOT_CHECKED = (
    "Invalid value: null: some validation rules were not checked because the object was "
    "invalid; correct the existing errors to complete validation"
)


class ApiError(Exception):
    """One refused request.

    Attributes:
        code: HTTP status.
        reason: machine-readable word of the protocol.
        details: ``details`` of the Status object; None leaves it out.
    """

    def __init__(
        self, code: int, reason: str, message: str, details: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def status(self) -> dict[str, Any]:
        """The Status object."""
        found: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
        }
        if self.details is not None:
            found["details"] = self.details
        found["code"] = self.code
        return found


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One wrong field; ``message`` is complete, as ``Invalid value: 3: ...``."""

    reason: str
    field: str
    message: str


def invalid_value(field: str, value: str, detail: str) -> FieldProblem:
    """A value outside of what is allowed; ``value`` is already rendered."""
    return FieldProblem("FieldValueInvalid", field, f"Invalid value: {value}: {detail}")


def required(field: str, detail: str = "") -> FieldProblem:
    """A missing value."""
    text = f"Required value: {detail}" if detail else "Required value"
    return FieldProblem("FieldValueRequired", field, text)


def unsupported(field: str, value: str, allowed: Sequence[str]) -> FieldProblem:
    """A value that is not in an enumeration; all texts are already rendered."""
    return FieldProblem(
        "FieldValueNotSupported",
        field,
        f"Unsupported value: {value}: supported values: {', '.join(allowed)}",
    )


def forbidden_value(field: str, detail: str) -> FieldProblem:
    """A field that may not be set or changed."""
    return FieldProblem("FieldValueForbidden", field, f"Forbidden: {detail}")


def _details(name: str, group: str, kind: str) -> dict[str, Any]:
    found = {"name": name, "group": group, "kind": kind}
    return {key: value for key, value in found.items() if value}


def qualified(resource: str, group: str) -> str:
    """``widgets.example.com``, or the bare plural in the core group."""
    return f"{resource}.{group}" if group else resource


def bad_request(message: str) -> ApiError:
    """400."""
    return ApiError(400, "BadRequest", message)


def not_found(plural: str, group: str, name: str) -> ApiError:
    """404 for one object."""
    message = f'{qualified(plural, group)} "{name}" not found'
    return ApiError(404, "NotFound", message, _details(name, group, plural))


def already_exists(plural: str, group: str, name: str) -> ApiError:
    """409 on create."""
    message = f'{qualified(plural, group)} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, _details(name, group, plural))


def conflict(plural: str, group: str, name: str, why: str | None = None) -> ApiError:
    """409 on a stale resourceVersion or a failed precondition."""
    reason = why or (
        "the object has been modified; please apply your changes to the latest version and try "
        "again"
    )
    message = f'Operation cannot be fulfilled on {qualified(plural, group)} "{name}": {reason}'
    return ApiError(409, "Conflict", message, _details(name, group, plural))


def invalid(kind: str, group: str, name: str, problems: Sequence[FieldProblem]) -> ApiError:
    """422 with every wrong field."""
    texts = [f"{problem.field}: {problem.message}" for problem in problems]
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    causes = [
        {"reason": problem.reason, "message": problem.message, "field": problem.field}
        for problem in problems
    ]
    details = {**_details(name, group, kind), "causes": causes}
    message = f'{qualified(kind, group)} "{name}" is invalid: {text}'
    return ApiError(422, "Invalid", message, details)


def forbidden(plural: str, group: str, name: str, why: str) -> ApiError:
    """403."""
    shown = f'{qualified(plural, group)} "{name}"' if name else qualified(plural, group)
    details = _details(name, group, plural)
    return ApiError(403, "Forbidden", f"{shown} is forbidden: {why}", details)


def expired(wanted: int, oldest: int) -> ApiError:
    """410: a resourceVersion whose history is gone."""
    message = f"too old resource version: {wanted} ({oldest})"
    return ApiError(410, "Expired", message)


def method_not_allowed() -> ApiError:
    """405."""
    message = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", message, {})


def unsupported_media(content_type: str, accepted: Sequence[str]) -> ApiError:
    """415."""
    message = (
        f"the body of the request was in an unknown format ({content_type}) - accepted media "
        f"types include: {', '.join(accepted)}"
    )
    return ApiError(415, "UnsupportedMediaType", message, {})


def future_version(wanted: int, current: int) -> ApiError:
    """504: a resourceVersion that was not handed out yet."""
    details = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    message = f"Timeout: Too large resource version: {wanted}, current: {current}"
    return ApiError(504, "Timeout", message, details)
