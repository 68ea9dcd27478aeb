"""The ASGI application: two token routes, the rest is FastAPI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from mocker.api.admin import build_admin
from mocker.api.completions import CompletionRoutes, Receive, Scope, Send
from mocker.engine_driver import EngineDriver

Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


def build_app(driver: EngineDriver, *, seed: int) -> Asgi:
    """The application of one server.

    Args:
        driver: what answers; its timer needs the event loop that serves the app.
        seed: chooses the generated text.
    """
    completions = CompletionRoutes(driver, seed)
    admin: Any = build_admin(driver, context_tokens=completions.context_tokens)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path")
        if path == "/v1/chat/completions":
            await completions(scope, receive, send, chat=True)
        elif path == "/v1/completions":
            await completions(scope, receive, send, chat=False)
        else:
            await admin(scope, receive, send)

    return app
