"""Errors in the shape that OpenAI clients understand."""

from __future__ import annotations

import json

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    501: "not_implemented_error",
    503: "service_unavailable_error",
}


class ApiError(Exception):
    """Ends a request with a status and an OpenAI-shaped body.

    Attributes:
        param: name of the offending field, if there is one.
        code: a short machine-readable reason, if there is one.
        retry_after_s: when to come back, if that is known.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.status = status
        self.message = message
        self.param = param
        self.code = code

    def body(self) -> dict[str, object]:
        """The JSON body."""
        return {
            "error": {
                "message": self.message,
                "type": _TYPES.get(self.status, "server_error"),
                "param": self.param,
                "code": self.code,
            }
        }

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Headers that belong to it."""
        if self.status == 401:
            return ((b"www-authenticate", b"Bearer"),)
        if self.retry_after_s is None:
            return ()
        return ((b"retry-after", b"%d" % self.retry_after_s),)

    def encode(self) -> bytes:
        """The JSON body as bytes."""
        return json.dumps(self.body()).encode()
