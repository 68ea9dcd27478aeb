"""Requests and answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import yaml

from harness.cluster.http.protobuf import MEDIA_TYPE as PROTOBUF
from harness.cluster.http.protobuf import decode_object
from harness.cluster.objects.errors import ApiError, bad_request, unsupported_media
from harness.cluster.objects.meta import Json, Obj

JSON = "application/json"
_WHOLE_MAX = 1e21  # larger numbers are written with an exponent
_FALSE = frozenset({"false", "0"})
_YAML = frozenset({"application/yaml", "text/yaml", "application/apply-patch+yaml"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request, complete with its body.

    Attributes:
        notes: warnings about the body, filled when it is decoded.
        upgrade: the client wants to talk over a WebSocket.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""
    notes: list[str] = field(default_factory=list)
    upgrade: bool = False

    def flag(self, name: str) -> bool:
        """A query boolean: absent, ``false`` and ``0`` are false, all else is true."""
        value = self.query.get(name)
        return value is not None and value.lower() not in _FALSE

    def number(self, name: str) -> int:
        """A query number, 0 if absent.

        Raises:
            ApiError: 400.
        """
        text = self.query.get(name) or "0"
        try:
            return int(text)
        except ValueError as error:
            raise bad_request(f'{name}: Invalid value: "{text}": must be a number') from error

    @property
    def content_type(self) -> str:
        """Media type of the body without parameters."""
        return self.headers.get("content-type", JSON).partition(";")[0].strip().lower() or JSON

    def document(self) -> Json:
        """The decoded body, None if there is none.

        Raises:
            ApiError: 400 or 415.
        """
        if not self.body:
            return None
        kind = self.content_type
        if kind in _YAML:
            return _parsed_yaml(self.body)
        if kind == PROTOBUF:
            return decode_object(self.body, self.notes)
        if kind == JSON or kind.endswith("+json"):
            return _parsed_json(self.body)
        raise unsupported_media(kind, [JSON, "application/yaml", PROTOBUF])

    def object(self) -> Obj:
        """The decoded body, which must be an object.

        Raises:
            ApiError: 400 or 415.
        """
        found = self.document()
        if not isinstance(found, dict):
            raise bad_request("the body of the request must be an object")
        return found


def _parsed_json(body: bytes) -> Json:
    try:
        return json.loads(body, parse_float=_number)
    except ValueError as error:
        raise bad_request(f"the body of the request is no JSON: {error}") from error


def _number(text: str) -> int | float:
    """A number with a fraction of zero is kept without it, as Kubernetes writes it."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < _WHOLE_MAX else value


def _parsed_yaml(body: bytes) -> Json:
    if body.lstrip()[:1] == b"{":
        return _parsed_json(body)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return json.loads(
            json.dumps(yaml.load(body, Loader=loader), default=str), parse_float=_number
        )
    except (yaml.YAMLError, ValueError) as error:
        raise bad_request(f"the body of the request is no YAML: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One HTTP answer; ``stream`` replaces the body by pieces that come over time."""

    code: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    stream: AsyncIterator[bytes] | None = None


def json_answer(
    value: Json, code: int = 200, *, content_type: str = JSON, warnings: tuple[str, ...] = ()
) -> Answer:
    """An answer with a JSON body."""
    return Answer(
        code=code, body=encoded(value) + b"\n", content_type=content_type, warnings=warnings
    )


def text_answer(text: str, code: int = 200) -> Answer:
    """An answer with a plain text."""
    return Answer(code=code, body=text.encode(), content_type="text/plain; charset=utf-8")


def error_answer(error: ApiError) -> Answer:
    """The Status of a refusal."""
    answer = json_answer(error.status(), error.code)
    wait_s = (error.details or {}).get("retryAfterSeconds")
    if wait_s is not None:
        answer.headers["Retry-After"] = str(wait_s)
    return answer


def encoded(value: Json) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def parsed_query(raw: bytes) -> dict[str, str]:
    """Query parameters; the last one of a name counts."""
    found = parse_qs(raw.decode(), keep_blank_values=True)
    return {name: values[-1] for name, values in found.items()}


def asked_form(accept: str) -> tuple[str, str]:
    """What an ``Accept`` header asks for first: (``as`` parameter, ``v`` parameter).

    Raises:
        ApiError: 406, nothing that is on offer.
    """
    if not accept.strip():
        return "", ""
    for entry in accept.split(","):
        media, _, rest = entry.strip().partition(";")
        parameters = dict(part.strip().split("=", 1) for part in rest.split(";") if "=" in part)
        if media in {JSON, "*/*", "application/*"}:
            return parameters.get("as", ""), parameters.get("v", "")
    message = (
        "only the following media types are accepted: application/json, application/yaml, "
        "application/vnd.kubernetes.protobuf"
    )
    raise ApiError(406, "NotAcceptable", message, {})
