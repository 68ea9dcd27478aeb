"""Names of the ASGI interface, and the one extension of it that our own server offers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

# Key in ``scope["extensions"]``; its value is a :class:`BodyPort`.
BODY_PORT = "mocker.body"
BODY_BYTES_MAX = 16 * 1024 * 1024


class BodyPort(Protocol):
    """Writes parts of a response body without waking the task that answers the request.

    Use it between the first ``http.response.body`` message and the last one.
    """

    @property
    def writable(self) -> bool:
        """False while the reader is slow and much is buffered already."""
        ...

    def write(self, part: bytes) -> None:
        """Send a part of the body now; dropped when the client has gone."""
        ...

    def attach(self, resumed: Callable[[], None], lost: Callable[[], None]) -> None:
        """Call ``resumed`` when it is writable again, ``lost`` when the client has gone."""
        ...

    def abort(self) -> None:
        """Reset the connection."""
        ...
