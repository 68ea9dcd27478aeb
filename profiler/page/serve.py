"""``python -m profiler ui DIR``: the page with a server behind it that can apply a choice."""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI, Header, HTTPException
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server.embed import Server
from pydantic import BaseModel, ConfigDict

from contracts.errors import InputError, PermanentError, RehearsalError
from profiler.page.apply import Creator, apply_documents
from profiler.page.render import render_page
from profiler.page.selection import load_selection

_START_LIMIT_S = 10.0
_STOP_LIMIT_S = 20.0


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


async def serve_app(app: FastAPI, host: str, port: int, ready: str) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        app: with its lifespan.
        host: address to listen on.
        port: 0 takes a free one.
        ready: printed once the port is open, ``{url}`` replaced.

    Raises:
        PermanentError: the port does not open, for example because it is taken.
    """
    port = port or _free_port(host)
    server = Server(
        app,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        websockets=False,
        log_level=LogLevels.error,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    serving = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(stop.wait())
    try:
        await _until_open(host, port, serving)
        sys.stdout.write(ready.format(url=f"http://{host}:{port}") + "\n")
        sys.stdout.flush()
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        server.stop()  # type: ignore[no-untyped-call]
        await asyncio.wait({serving}, timeout=_STOP_LIMIT_S)
        serving.cancel()


async def _until_open(host: str, port: int, serving: asyncio.Task[None]) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _START_LIMIT_S
    while loop.time() < deadline and not serving.done():
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(0.02)
            continue
        writer.close()
        return
    raise PermanentError(f"nothing listens on {host}:{port}; is the port taken?")


def _free_port(host: str) -> int:
    with socket.socket() as found:
        found.bind((host, 0))
        return int(found.getsockname()[1])
