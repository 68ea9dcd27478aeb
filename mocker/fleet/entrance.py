"""What a frontend answers before and after it has a worker."""

from __future__ import annotations

from mocker.api.app import App
from mocker.api.errors import ApiError
from mocker.api.http import send_error, send_json
from mocker.metrics.server import ServerMetrics
from mocker.serving.asgi import BodyPort, Receive, Scope, Send

_COUNTED = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/responses"})


class Entrance:
    """The ASGI application of a frontend: not ready until a worker has said what is served.

    Args:
        metrics: counts requests as they begin.
    """

    def __init__(self, metrics: ServerMetrics) -> None:
        self._metrics = metrics
        self._metrics.started = 0
        self._app: App | None = None

    def open(self, app: App) -> None:
        """From now on this application answers."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self._app is not None:
            self._count(scope)
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            if scope["path"] == "/live":
                await send_json(send, 200, b'{"status": "live"}')
            else:
                reason = "no worker has answered yet"
                await send_error(send, ApiError(503, reason, code="not_ready", retry_after_s=1))

    def direct(self, scope: Scope, body: bytes, port: BodyPort) -> bool:
        """See :class:`mocker.serving.asgi.DirectApp`."""
        if self._app is None or not self._app.direct(scope, body, port):
            return False
        self._count(scope)
        return True

    def _count(self, scope: Scope) -> None:
        metrics = self._metrics
        if scope.get("path") in _COUNTED and scope.get("method") == "POST":
            metrics.started = (metrics.started or 0) + 1
