"""Runs the application in this process and asks it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx
import uvicorn

from contracts.plan import DeploymentPlan
from mocker.api import AppOptions, build_app, exposition_of
from mocker.clock import WallClock
from mocker.engines.driver import EngineDriver
from mocker.engines.options import DriverOptions
from mocker.serving.asgi import Asgi
from mocker.serving.http_server import HttpServer

T = TypeVar("T")
MODEL = "meta-llama/Llama-3.1-8B"
Served = AsyncIterator[tuple[str, httpx.AsyncBaseTransport]]


@asynccontextmanager
async def _asgi(app: Asgi) -> Served:
    yield "http://mocker", httpx.ASGITransport(app=app)


@asynccontextmanager
async def _own(app: Asgi) -> Served:
    server = HttpServer(app)
    port = await server.start("127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{port}", httpx.AsyncHTTPTransport()
    finally:
        await server.stop(0.0)


@asynccontextmanager
async def _uvicorn(app: Asgi) -> Served:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(
            uvicorn.Config(app, lifespan="off", ws="none", log_level="error", access_log=False)
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            port = listener.getsockname()[1]
            yield f"http://127.0.0.1:{port}", httpx.AsyncHTTPTransport()
        finally:
            server.should_exit = True
            await serving


_SERVERS = {"asgi": _asgi, "own": _own, "uvicorn": _uvicorn}


def with_server(
    plan: DeploymentPlan,
    act: Callable[[httpx.AsyncClient, EngineDriver], Awaitable[T]],
    *,
    speed: float = float("inf"),
    options: AppOptions | None = None,
    by: str = "asgi",
) -> T:
    """Run ``act(client, driver)`` against a server of the plan; never sleeps by default.

    ``by`` is what speaks HTTP: nobody (``asgi``), our ``own`` server, or ``uvicorn``.
    """

    async def body() -> T:
        driver = EngineDriver(plan, clock=WallClock(), options=DriverOptions(speed=speed))
        app = build_app(driver, exposition_of(driver), options)
        try:
            async with (
                _SERVERS[by](app) as (base, transport),
                httpx.AsyncClient(transport=transport, base_url=base, timeout=20) as client,
            ):
                return await act(client, driver)
        finally:
            driver.close()

    return asyncio.run(body())


def chat(words: str = "one two three", **changes: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": words}], **changes}


def events(text: str) -> list[dict[str, Any]]:
    """Chunks of a stream, the end mark left out."""
    lines = [line for line in text.split("\n") if line.startswith("data: ")]
    return [json.loads(line[6:]) for line in lines if line != "data: [DONE]"]
