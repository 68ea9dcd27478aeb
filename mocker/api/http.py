"""Bodies and answers of the routes that are plain ASGI."""

from __future__ import annotations

from mocker.api.errors import ApiError
from mocker.serving.asgi import BODY_BYTES_MAX, BodyPort, Headers, Receive, Scope, Send

JSON_TYPE = (b"content-type", b"application/json")


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """The whole request body.

    Raises:
        ApiError: 413 when it is too large.
    """
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        return bytes(message.get("body", b""))
    announced = header(scope, b"content-length")
    if announced and announced.isdigit() and int(announced) > BODY_BYTES_MAX:
        raise ApiError(413, f"the body is larger than {BODY_BYTES_MAX} bytes")
    parts, size = [], 0
    while True:
        if message["type"] == "http.disconnect":
            raise ApiError(400, "the client closed the connection")
        part = message.get("body", b"")
        size += len(part)
        if size > BODY_BYTES_MAX:
            raise ApiError(413, f"the body is larger than {BODY_BYTES_MAX} bytes")
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()


def only_post(scope: Scope) -> None:
    """Refuse other methods.

    Raises:
        ApiError: 405.
    """
    if scope["method"] != "POST":
        raise ApiError(405, f"{scope['method']} is not allowed here, use POST")


async def send_part(send: Send, part: bytes, *, more: bool = True) -> None:
    """A part of a body."""
    await send({"type": "http.response.body", "body": part, "more_body": more})


async def send_json(
    send: Send, status: int, body: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    """A complete JSON answer."""
    length = (b"content-length", b"%d" % len(body))
    await send(
        {"type": "http.response.start", "status": status, "headers": [JSON_TYPE, length, *headers]}
    )
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, error: ApiError) -> None:
    """An error answer."""
    await send_json(send, error.status, error.encode(), error.headers())


def answer_json(port: BodyPort, status: int, body: bytes, headers: Headers = ()) -> None:
    """A complete JSON answer without a task."""
    port.whole(status, (JSON_TYPE, (b"content-length", b"%d" % len(body)), *headers), body)


def answer_error(port: BodyPort, error: ApiError) -> None:
    """An error answer without a task."""
    answer_json(port, error.status, error.encode(), error.headers())


def header(scope: Scope, name: bytes) -> str | None:
    """A header's value; names are in lower case."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return None
