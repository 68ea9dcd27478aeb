"""Serves an application until the process is told to stop."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mocker.serving.asgi import Asgi
from mocker.serving.connection import Upgrade
from mocker.serving.granian_server import GranianServer
from mocker.serving.http_server import HttpServer
from mocker.settings import ServerKind, free_port

DRAIN_S = 2.0
# Requests leave few cycles behind; looking for them a hundred times less often saves a tenth.
GC_THRESHOLDS = 50_000, 20, 50


class Server(Protocol):
    """What serves an application."""

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port."""
        ...

    async def stop(self, drain_s: float) -> None:
        """Let answers end for a while, then close."""
        ...


async def _at_once() -> None:
    """Nothing to wait for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeHooks:
    """What happens besides serving.

    Attributes:
        upgrades: other protocols that connections may turn into; needs our own server.
        stopping: awaited after the signal, while the server still serves.
        drain_s: how long answers may go on after that.
    """

    upgrades: Mapping[bytes, Upgrade] = field(default_factory=dict)
    stopping: Callable[[], Awaitable[None]] = _at_once
    drain_s: float = DRAIN_S


async def serve_app(  # one of each thing a server is told
    app: Asgi,
    name: str,
    host: str,
    port: int,
    *,
    kind: ServerKind = ServerKind.BUILT_IN,
    hooks: ServeHooks | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; prints one line when ready.

    Args:
        app: the application; it answers ``/live``.
        name: for the line.
        host: address to listen on.
        port: 0 takes any free one.
        kind: what speaks HTTP.
        hooks: what else happens at start and end.

    Raises:
        PermanentError: the server does not come up, for example because the port is taken.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    hooks = hooks or ServeHooks()
    server: Server = HttpServer(app, upgrades=hooks.upgrades)
    if kind is ServerKind.GRANIAN:
        server = GranianServer(app)
    try:
        if kind is ServerKind.GRANIAN and port == 0:
            port = free_port(host)
        port = await server.start(host, port)
        # What is loaded stays; collecting it again and again would delay tokens.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        sys.stdout.write(f"{name} ready http://{host}:{port}\n")
        sys.stdout.flush()
        await stop.wait()
        await hooks.stopping()
    finally:
        await server.stop(hooks.drain_s)
