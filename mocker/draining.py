"""Lets a server end only when what it has begun is done."""

from __future__ import annotations

import asyncio

from mocker.api.app import Asgi
from mocker.api.completions import Receive, Scope, Send


class Draining:
    """Wraps an ASGI application and counts the requests that are being answered.

    New requests are still answered while it drains: whoever spreads requests needs a moment
    to learn that this server is about to go.

    Args:
        app: the application.
    """

    def __init__(self, app: Asgi) -> None:
        self._app = app
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; probes and scrapes do not count."""
        counts = scope["type"] == "http" and scope["method"] != "GET"
        self._open += counts
        if self._open:
            self._idle.clear()
        try:
            await self._app(scope, receive, send)
        finally:
            self._open -= counts
            if not self._open:
                self._idle.set()

    async def drain(self, *, least_s: float, most_s: float) -> bool:
        """Wait until nothing is being answered.

        Args:
            least_s: wait at least so long, for requests that are on their way.
            most_s: give up after so long.

        Returns:
            Whether everything was answered.
        """
        loop = asyncio.get_running_loop()
        end_s = loop.time() + most_s
        await asyncio.sleep(min(least_s, most_s))
        try:
            async with asyncio.timeout_at(end_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
