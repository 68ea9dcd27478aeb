"""Starts other programs as processes of their own and makes sure that they end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from contracts.errors import PermanentError
from contracts.exits import UNTIL_STDIN_ENDS

START_LIMIT_S = 30.0
STOP_LIMIT_S = 5.0
READY = "mocker ready "


@contextlib.asynccontextmanager
async def running_mocker(arguments: Sequence[str], log: Path) -> AsyncIterator[str]:
    """Run ``python -m mocker serve`` while the block is active; yields its base URL.

    Raises:
        PermanentError: it does not start; shows the end of its log.
    """
    words = [sys.executable, "-m", "mocker", "serve", *arguments, UNTIL_STDIN_ENDS]
    async with running(words, log) as process:
        yield await said(process, READY, log, what="the mocker")


@contextlib.asynccontextmanager
async def running(
    words: Sequence[str], log: Path, *, stop_limit_s: float = STOP_LIMIT_S
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program while the block is active; what it says on stderr goes to ``log``.

    The process gets a group of its own, so that nothing of it survives the block.

    Args:
        words: of the command.
        log: file to write.
        stop_limit_s: time to end by itself once it was told to.
    """
    with log.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=sink,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            await _stop(process, stop_limit_s)
            if process.stdin is not None:
                process.stdin.close()


async def said(process: asyncio.subprocess.Process, ready: str, log: Path, *, what: str) -> str:
    """What follows ``ready`` on the first line that a program prints.

    Raises:
        PermanentError: it prints something else, or nothing in time; shows the end of its log.
    """
    if process.stdout is None:
        raise PermanentError(f"{what} has no standard output")
    try:
        line = await asyncio.wait_for(process.stdout.readline(), START_LIMIT_S)
    except TimeoutError:
        line = b""
    text = line.decode(errors="replace").strip()
    if not text.startswith(ready):
        raise PermanentError(f"{what} did not start: {text or log_end(log) or 'no output'}")
    return text.removeprefix(ready)


def log_end(log: Path) -> str:
    """The last words of a program."""
    return log.read_text(encoding="utf-8", errors="replace")[-2000:].strip()


async def run_to_end(
    words: Sequence[str], log: Path, environment: Mapping[str, str], limit_s: float
) -> int:
    """Run a command in a group of its own; returns its exit code, minus a signal's number.

    It is ended with everything that it started when the limit is reached or the wait is
    interrupted.

    Raises:
        OSError: it cannot be started.
    """
    with log.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env=dict(environment),
            start_new_session=True,
        )
        try:
            return await asyncio.wait_for(process.wait(), limit_s)
        except TimeoutError:
            return -signal.SIGTERM
        finally:
            await _stop(process, STOP_LIMIT_S)


async def _stop(process: asyncio.subprocess.Process, limit_s: float) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), limit_s)
