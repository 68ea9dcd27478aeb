"""``python -m profiler ui DIR``: the page with a server behind it that can apply a choice."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Header, HTTPException
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from pydantic import BaseModel, ConfigDict

from contracts.errors import InputError, PermanentError, RehearsalError
from profiler.page.apply import Creator, apply_documents
from profiler.page.render import render_page
from profiler.page.selection import load_selection

# Streams that go on for ever are cut off after so long.
_DRAIN_S = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The cluster that a choice can be applied to.

    Attributes:
        name: what the button says.
    """

    name: str
    namespace: str
    creator: Creator


class _Choice(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    id: str


def selection_app(folder: Path, target: Target | None, *, token: str | None = None) -> FastAPI:
    """The page of one profile.

    ``GET /`` is the page, ``GET /deployments/{id}.yaml`` the documents of a candidate,
    ``POST /apply`` with ``{"id": ...}`` creates them; it wants the token that the page holds,
    so that no other site can make a browser apply something.

    Raises:
        InputError: the folder holds no profile.
    """
    selection = load_selection(folder)
    token = token or secrets.token_urlsafe(24)
    live = None if target is None else {"cluster": target.name, "token": token}
    page = render_page(selection, folder, live=live)
    app = FastAPI(title="Deployments to choose from", docs_url=None, redoc_url=None)

    @app.get("/", response_class=HTMLResponse)
    def index() -> str:
        return page

    @app.get("/deployments/{name}.yaml", response_class=PlainTextResponse)
    def deployment(name: str) -> str:
        try:
            return selection.candidate(name).dgd_yaml
        except InputError as error:
            raise HTTPException(404, str(error)) from error

    @app.post("/apply")
    async def apply(choice: _Choice, x_selection_token: str = Header(default="")) -> JSONResponse:
        if target is None:
            return _refused(409, "no cluster was given: start with --kubeconfig")
        if not secrets.compare_digest(x_selection_token.encode(), token.encode()):
            return _refused(403, "the token is not that of this page; reload it")
        try:
            text = selection.candidate(choice.id).dgd_yaml
            done = await run_in_threadpool(apply_documents, target.creator, text, target.namespace)
        except InputError as error:
            return _refused(422, str(error))
        except RehearsalError as error:
            return _refused(502, str(error))
        return JSONResponse({"message": done})

    return app


def _refused(status: int, why: str) -> JSONResponse:
    return JSONResponse({"error": why}, status)


def serve_app(app: FastAPI, host: str, port: int, ready: str) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        app: with its lifespan.
        host: address to listen on.
        port: 0 takes a free one.
        ready: printed once requests are answered, ``{url}`` replaced.

    Raises:
        PermanentError: the port cannot be opened, for example because it is taken.
    """
    try:
        listener = socket.create_server((host, port))
    except OSError as error:
        raise PermanentError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    url = f"http://{host}:{listener.getsockname()[1]}"
    config = uvicorn.Config(
        app, log_level="warning", timeout_graceful_shutdown=_DRAIN_S, lifespan="on"
    )
    with listener:
        asyncio.run(_Server(config, ready.format(url=url)).serve([listener]))


class _Server(uvicorn.Server):
    """Says when it is ready, and ends with exit code 0 when it is told to."""

    def __init__(self, config: uvicorn.Config, ready: str) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            sys.stdout.write(f"{self._ready}\n")
            sys.stdout.flush()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        for number in numbers:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)
