"""Serves an application with granian inside the running event loop."""

from __future__ import annotations

import asyncio

import httpx
from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server

from contracts.errors import PermanentError
from mocker.serving.asgi import Asgi

START_LIMIT_S = 10.0
STOP_LIMIT_S = 2.0
# Granian answers at most this many requests at once and leaves further clients waiting.
BACKLOG = 4096
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


class GranianServer:
    """Serves one application; it must answer ``/live``."""

    def __init__(self, app: Asgi) -> None:
        self._app = app
        self._serving: asyncio.Task[None] | None = None
        self._server: Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port.

        Raises:
            PermanentError: the server does not come up, for example because the port is taken.
        """
        self._server = Server(
            self._app,
            address=host,
            port=port,
            interface=Interfaces.ASGINL,
            http1_settings=HTTP1Settings(keep_alive=True),
            websockets=False,
            backlog=BACKLOG,
            backpressure=BACKLOG,
            log_level=LogLevels.error,
            log_dictconfig=_LOGS_TO_STDERR,
        )
        self._serving = asyncio.create_task(self._server.serve())
        await _until_ready(f"http://{host}:{port}", self._serving)
        return port

    async def stop(self, drain_s: float) -> None:
        """Stop; answers that have not ended after a while are cut off."""
        if self._server is None or self._serving is None:
            return
        self._server.stop()  # type: ignore[no-untyped-call]
        await asyncio.wait({self._serving}, timeout=max(drain_s, STOP_LIMIT_S))
        self._serving.cancel()


async def _until_ready(base_url: str, serving: asyncio.Task[None]) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + START_LIMIT_S
    async with httpx.AsyncClient(timeout=1.0, trust_env=False) as client:
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
