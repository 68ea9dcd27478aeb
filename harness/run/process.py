"""Starts the mocker as a process of its own and makes sure that it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from contracts.errors import PermanentError

START_LIMIT_S = 30.0
STOP_LIMIT_S = 5.0
READY = "mocker ready "


@contextlib.asynccontextmanager
async def running_mocker(arguments: Sequence[str], log: Path) -> AsyncIterator[str]:
    """Run ``python -m mocker serve`` while the block is active; yields its base URL.

    The process gets a group of its own, so that nothing of it survives the block.

    Raises:
        PermanentError: it does not start; shows the end of its log.
    """
    with log.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "mocker",
            "serve",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=sink,
            start_new_session=True,
        )
        try:
            yield await _base_url(process, log)
        finally:
            await _stop(process)


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
            await _stop(process)


async def _base_url(process: asyncio.subprocess.Process, log: Path) -> str:
    if process.stdout is None:
        raise PermanentError("the mocker has no standard output")
    try:
        line = await asyncio.wait_for(process.stdout.readline(), START_LIMIT_S)
    except TimeoutError:
        line = b""
    text = line.decode(errors="replace").strip()
    if not text.startswith(READY):
        tail = log.read_text(encoding="utf-8", errors="replace")[-2000:].strip()
        raise PermanentError(f"the mocker did not start: {text or tail or 'no output'}")
    return text.removeprefix(READY)


async def _stop(process: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_LIMIT_S)
