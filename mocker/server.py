"""Serves the application with granian inside the driver's event loop."""

from __future__ import annotations

import asyncio
import signal
import sys

import httpx
from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server

from contracts.errors import PermanentError
from mocker.api import build_app
from mocker.api.app import Asgi
from mocker.clock import WallClock
from mocker.draining import Draining
from mocker.engine_driver import EngineDriver
from mocker.settings import ServeSettings, free_port

START_LIMIT_S = 10.0
# Standard output carries one line only, the one that says the server is ready.
_LOGS_TO_STDERR = {
    "handlers": {
        name: {
            "class": "logging.StreamHandler",
            "formatter": formatter,
            "stream": "ext://sys.stderr",
        }
        for name, formatter in (("console", "generic"), ("access", "access"))
    }
}
STOP_LIMIT_S = 2.0
# Those who spread requests learn within this time that a server is about to go.
DRAIN_LEAST_S = 1.0
# Beyond that new connections wait until others close; granian would stop at 128, and clients
# that keep their connections would hold those for a minute.
CONNECTIONS_MAX = 8192


async def serve(settings: ServeSettings, *, drain_limit_s: float = 0.0) -> None:
    """Serve until SIGINT or SIGTERM; prints one line when ready.

    Args:
        settings: what to serve.
        drain_limit_s: how long requests in flight may take to end after the signal.

    Raises:
        PermanentError: the server does not come up, for example because the port is taken.
    """
    driver = EngineDriver(
        settings.plan,
        speed=settings.speed,
        clock=WallClock(),
        lost_policy=settings.on_worker_lost,
        timer_for=settings.timer_for,
    )
    try:
        app = build_app(driver, seed=settings.seed)
        port = settings.port or free_port(settings.host)
        await serve_app(app, "mocker", settings.host, port, drain_limit_s=drain_limit_s)
    finally:
        driver.close()


async def serve_app(
    app: Asgi, name: str, host: str, port: int, *, drain_limit_s: float = 0.0
) -> None:
    """Serve an application that answers ``/live`` until SIGINT or SIGTERM.

    Args:
        app: the application.
        name: for the line that says it is ready.
        host: address.
        port: port.
        drain_limit_s: how long requests in flight may take to end after the signal.

    Raises:
        PermanentError: the server does not come up, for example because the port is taken.
    """
    draining = Draining(app)
    server = Server(
        draining,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        http1_settings=HTTP1Settings(keep_alive=True),
        websockets=False,
        backlog=CONNECTIONS_MAX,
        backpressure=CONNECTIONS_MAX,
        log_level=LogLevels.error,
        log_dictconfig=_LOGS_TO_STDERR,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    serving = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(stop.wait())
    try:
        base_url = f"http://{host}:{port}"
        await _until_ready(base_url, serving)
        sys.stdout.write(f"{name} ready {base_url}\n")
        sys.stdout.flush()
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if drain_limit_s > 0 and not serving.done():
            await draining.drain(least_s=DRAIN_LEAST_S, most_s=drain_limit_s)
    finally:
        stopping.cancel()
        server.stop()  # type: ignore[no-untyped-call]
        await asyncio.wait({serving}, timeout=STOP_LIMIT_S)
        serving.cancel()


async def _until_ready(base_url: str, serving: asyncio.Task[None]) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + START_LIMIT_S
    async with httpx.AsyncClient(timeout=1.0) as client:
        while loop.time() < deadline and not serving.done():
            try:
                answer = await client.get(f"{base_url}/live")
            except httpx.HTTPError:
                await asyncio.sleep(0.02)
                continue
            if answer.json() == {"status": "live"}:
                return
            break
    raise PermanentError(f"the server did not come up at {base_url}; is the port taken?")
