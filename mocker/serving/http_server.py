"""Our own HTTP server: accepts, times out, drains."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from contracts.errors import PermanentError
from mocker.serving.asgi import Asgi, DirectApp
from mocker.serving.connection import HttpConnection, Upgrade

BACKLOG = 4096
SWEEP_S = 1.0
# Connections that are looked at without a break, so that idle ones delay no token.
SWEEP_PART = 256
# Clients pool connections for 300 s; a server that closes earlier races with them.
KEEP_ALIVE_S = 600.0
# A request must be complete this long after its first byte.
REQUEST_S = 30.0


class HttpServer:
    """Serves one application on one address.

    Args:
        app: the ASGI application.
        request_s: patience with clients that send slowly.
        keep_alive_s: patience with idle connections.
        upgrades: other protocols by the name in the ``Upgrade`` header.

    Attributes:
        direct: the application, if it answers some requests without a task.
        connections: open ones.
    """

    def __init__(
        self,
        app: Asgi,
        *,
        request_s: float = REQUEST_S,
        keep_alive_s: float = KEEP_ALIVE_S,
        upgrades: Mapping[bytes, Upgrade] | None = None,
    ) -> None:
        self.app = app
        self.direct: DirectApp | None = app if isinstance(app, DirectApp) else None
        self.upgrades = upgrades or {}
        self.connections: set[HttpConnection] = set()
        self._request_s = request_s
        self._keep_alive_s = keep_alive_s
        self._loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._unswept: list[HttpConnection] = []

    def now_s(self) -> float:
        """Seconds on the loop's clock."""
        return self._loop.time()

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port.

        Raises:
            PermanentError: the address cannot be had.
        """
        loop = self._loop
        try:
            self._server = await loop.create_server(
                lambda: HttpConnection(self, loop), host, port, backlog=BACKLOG
            )
        except OSError as error:
            raise PermanentError(
                f"the server did not come up at http://{host}:{port}; is the port taken? ({error})"
            ) from error
        self._sweeper = loop.call_later(SWEEP_S, self._sweep)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self, drain_s: float) -> None:
        """Accept nothing more, let answers end for a while, then close."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.finish()
        deadline = self.now_s() + drain_s
        while self.connections and self.now_s() < deadline:
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            if connection.transport is not None:
                connection.transport.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
        await asyncio.sleep(0)

    def _sweep(self) -> None:
        """Close connections whose client has used up its time, a few at a time."""
        now_s = self.now_s()
        if not self._unswept:
            self._unswept = list(self.connections)
        part, self._unswept = self._unswept[:SWEEP_PART], self._unswept[SWEEP_PART:]
        for connection in part:
            owing_s = connection.overdue_since_s
            late = owing_s is not None and now_s - owing_s > self._request_s
            unused = connection.idle and now_s - connection.since_s > self._keep_alive_s
            if (late or unused) and connection.transport is not None:
                connection.transport.abort()
        rounds = 1 + len(self.connections) // SWEEP_PART
        self._sweeper = self._loop.call_later(SWEEP_S / rounds, self._sweep)
