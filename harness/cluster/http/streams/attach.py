"""``pods/NAME/attach``: what a container writes from now on, over one WebSocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

from harness.cluster.http.streams.socket import WebSocket
from harness.cluster.objects.meta import Obj

_STDOUT, _OUTCOME = 1, 3

# (pod, container) -> pieces of its output until it ends; ApiError if it does not run
Output = Callable[[Obj, str], AsyncIterator[bytes]]


async def attach(socket: WebSocket, pieces: AsyncIterator[bytes]) -> None:
    """Pass on output until the container ends or the client leaves.

    Output and errors are one file here, so all of it is on the channel of output. Input is
    taken and dropped: containers have none.
    """
    writing = asyncio.create_task(_write(socket, pieces))
    leaving = asyncio.create_task(_until_it_leaves(socket))
    try:
        await asyncio.wait({writing, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (writing, leaving):
            task.cancel()
        await asyncio.gather(writing, leaving, return_exceptions=True)
    await socket.close()  # not while it is read: it would not get out


async def _write(socket: WebSocket, pieces: AsyncIterator[bytes]) -> None:
    async for piece in pieces:
        await socket.send(bytes([_STDOUT]) + piece)
    success = {"metadata": {}, "status": "Success"}
    await socket.send(bytes([_OUTCOME]) + json.dumps(success).encode())


async def _until_it_leaves(socket: WebSocket) -> None:
    async for _ in socket.messages():
        pass
