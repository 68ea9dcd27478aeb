"""The ASGI application: raw token routes, the rest is FastAPI."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mocker.api.admin import add_admin
from mocker.api.errors import ApiError
from mocker.api.exposition import Exposition
from mocker.api.generate import Generation, GenerationRoute
from mocker.api.http import header, send_error
from mocker.api.public import build_public
from mocker.api.responses import ResponsesRoute
from mocker.api.server_state import ServerState
from mocker.clock import Clock, WallClock
from mocker.engines.driver import EngineDriver
from mocker.engines.port import TokenSource
from mocker.serving.asgi import Asgi, Receive, Scope, Send
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
) -> Asgi:
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
    rest: Any = public

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if state.api_key is not None and path.startswith(_GUARDED):
            try:
                state.check_key(header(scope, b"authorization"))
            except ApiError as error:
                await send_error(send, error)
                return
        route = routes.get(path)
        if route is not None:
            await route(scope, receive, send)
        else:
            await rest(scope, receive, send)

    return app
