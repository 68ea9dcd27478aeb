"""The ASGI application: raw token routes, the rest is FastAPI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mocker.api.admin import add_admin
from mocker.api.errors import ApiError
from mocker.api.exposition import Exposition
from mocker.api.generate import Generation, GenerationRoute
from mocker.api.http import answer_error, header, send_error
from mocker.api.public import build_public
from mocker.api.responses import ResponsesRoute
from mocker.api.server_state import ServerState
from mocker.clock import Clock, WallClock
from mocker.engines.driver import EngineDriver
from mocker.engines.port import TokenSource
from mocker.serving.asgi import Asgi, BodyPort, Receive, Scope, Send
from mocker.text.tokenizer import Tokenizer
from mocker.text.words import WordTokenizer

_GUARDED = "/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppOptions:
    """What an application is built with.

    Attributes:
        seed: chooses the generated text.
        api_key: clients must send it.
        queue_limit: requests in flight beyond which clients get 429.
        startup_s: the server answers 503 for so long, in seconds of wall time.
    """

    seed: int = 0
    tokenizer: Tokenizer = field(default_factory=WordTokenizer)
    api_key: str | None = None
    queue_limit: int | None = None
    startup_s: float = 0.0
    clock: Clock = field(default_factory=WallClock)


def build_app(
    source: TokenSource, exposition: Exposition, options: AppOptions | None = None
) -> App:
    """The application of one server.

    Args:
        source: what answers; its alarms need the event loop that serves the app.
        exposition: what the server says about itself.
        options: the rest.
    """
    options = options or AppOptions()
    clock = options.clock
    state = ServerState(
        clock=clock,
        api_key=options.api_key,
        queue_limit=options.queue_limit,
        ready_at_ns=clock.now_ns() + round(options.startup_s * 1e9),
    )
    generation = Generation(source, state, options.tokenizer, options.seed)
    public = build_public(generation, exposition)
    if isinstance(source, EngineDriver):
        add_admin(public, source, state)
    responses = ResponsesRoute(generation)
    routes: dict[str, Asgi] = {
        "/v1/chat/completions": GenerationRoute(generation, chat=True),
        "/v1/completions": GenerationRoute(generation, chat=False),
        "/v1/responses": responses,
        "/v1/responses/input_tokens": responses,
    }
    return App(routes, public, state)


class App:
    """The ASGI application, and the entrance of our own server to its token routes."""

    def __init__(self, routes: Mapping[str, Asgi], rest: Any, state: ServerState) -> None:  # noqa: ANN401  # FastAPI's type is wider
        self._routes = routes
        self._rest = rest
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope.get("path", "")
        try:
            self._check_key(scope, path)
        except ApiError as error:
            await send_error(send, error)
            return
        route = self._routes.get(path)
        if route is not None:
            await route(scope, receive, send)
        else:
            await self._rest(scope, receive, send)

    def direct(self, scope: Scope, body: bytes, port: BodyPort) -> bool:
        """See :class:`mocker.serving.asgi.DirectApp`."""
        path = scope["path"]
        route = self._routes.get(path)
        if not isinstance(route, GenerationRoute):
            return False
        try:
            self._check_key(scope, path)
            route.direct(scope, body, port)
        except ApiError as error:
            answer_error(port, error)
        return True

    def _check_key(self, scope: Scope, path: str) -> None:
        state = self._state
        if state.api_key is not None and path.startswith(_GUARDED):
            state.check_key(header(scope, b"authorization"))
