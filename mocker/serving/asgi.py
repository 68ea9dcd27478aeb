"""Names of the ASGI interface, and the extensions of it that our own server offers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Protocol, runtime_checkable

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

# Sends bytes at once; false, and nothing is sent, when others wait already or the client has gone.
Offer = Callable[[bytes], bool]

# Key in ``scope["extensions"]``; its value is a :class:`BodyPort`.
BODY_PORT = "mocker.body"
BODY_BYTES_MAX = 16 * 1024 * 1024


class BodyPort(Protocol):
    """Writes an answer without a task.

    Under ASGI only :meth:`attach` is of use; an application with a direct entrance uses all.
    """

    @property
    def writable(self) -> bool:
        """False while the reader is slow and much is buffered already."""
        ...

    def open(self, status: int, headers: Headers, part: bytes) -> None:
        """Send the head and the first part of the body."""
        ...

    def write(self, part: bytes) -> None:
        """Send a part of the body now; dropped when the client has gone."""
        ...

    def offer(self) -> Offer | None:
        """The shortest way for parts in chunked form; ``None`` when the body goes otherwise."""
        ...

    def close(self, part: bytes = b"") -> None:
        """Send the last part; nothing may be said afterwards."""
        ...

    def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole answer; nothing may be said afterwards."""
        ...

    def attach(self, resumed: Callable[[], None], lost: Callable[[], None]) -> None:
        """Call ``resumed`` when it is writable again, ``lost`` when the client has gone."""
        ...

    def abort(self) -> None:
        """Reset the connection."""
        ...


@runtime_checkable
class DirectApp(Protocol):
    """An ASGI application that answers some requests in calls instead of a task."""

    def direct(self, scope: Scope, body: bytes, port: BodyPort) -> bool:
        """Begin to answer, or say that ASGI has to do it."""
        ...
