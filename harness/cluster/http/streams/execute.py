"""``pods/NAME/exec``: a command in the surroundings of a container, over one WebSocket.

The first byte of a message is its channel: 0 input, 1 output, 2 errors, 3 the outcome as a
Status, 4 the size of a terminal, 255 the end of the channel that the second byte names.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.cluster.http.streams.socket import WebSocket
from harness.cluster.objects.meta import Obj

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_STDIN, _STDOUT, _STDERR, _OUTCOME, _CLOSE = 0, 1, 2, 3, 255
_PIECE = 32_768


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a command needs to run as if it were in a container."""

    argv: Sequence[str]
    env: Mapping[str, str]
    folder: Path


# (pod, container, command) -> surroundings; ApiError if the container does not run
Inside = Callable[[Obj, str, Sequence[str]], Surroundings]


async def execute(socket: WebSocket, inside: Surroundings, *, stdin: bool) -> None:
    """Run a command, pass on what it reads and writes, and tell how it ended."""
    inside.folder.mkdir(parents=True, exist_ok=True)
    try:
        process = await asyncio.create_subprocess_exec(
            *inside.argv,
            stdin=PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            cwd=inside.folder,
            env=dict(inside.env),
            start_new_session=True,
        )
    except OSError as error:
        await socket.send(
            bytes([_OUTCOME]) + _failure(f"{inside.argv[0]}: {error}", "InternalError")
        )
        await socket.close()
        return
    feeding = asyncio.create_task(_feed(socket, process))
    try:
        await asyncio.gather(
            _copy(process.stdout, _STDOUT, socket), _copy(process.stderr, _STDERR, socket)
        )
        code = await process.wait()
        await socket.send(bytes([_OUTCOME]) + _outcome(code))
    finally:
        feeding.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(asyncio.CancelledError):
            await feeding
    await socket.close()  # not while it is read: it would not get out


async def _copy(source: asyncio.StreamReader | None, channel: int, socket: WebSocket) -> None:
    while source is not None and (piece := await source.read(_PIECE)):
        await socket.send(bytes([channel]) + piece)


async def _feed(socket: WebSocket, process: Process) -> None:
    """Input of the command; it is ended when the client leaves."""
    sink = process.stdin
    async for message in socket.messages():
        if sink is None or not message:
            continue
        if message[0] == _STDIN:
            with contextlib.suppress(OSError):
                sink.write(message[1:])
                await sink.drain()
        elif message[0] == _CLOSE and message[1:2] == bytes([_STDIN]):
            sink.close()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _outcome(code: int) -> bytes:
    if code == 0:
        return json.dumps({"metadata": {}, "status": "Success"}).encode()
    code = code if code > 0 else 128 - code
    return _failure(f"command terminated with non-zero exit code: {code}", "NonZeroExitCode", code)


def _failure(message: str, reason: str, code: int | None = None) -> bytes:
    status: Obj = {"metadata": {}, "status": "Failure", "message": message, "reason": reason}
    if code is not None:
        status["details"] = {"causes": [{"reason": "ExitCode", "message": str(code)}]}
    return json.dumps(status).encode()
