"""Deployer ``mock``: each candidate is a mocker of its own on this machine."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
from pydantic import TypeAdapter

from contracts.exits import UNTIL_STDIN_ENDS
from contracts.plan import DeploymentPlan
from profiler.dgdr.files import write_bytes
from profiler.thorough.capacity import kv_capacity
from profiler.thorough.isolate import isolated_plan
from profiler.thorough.ports import CandidateError, Order, OutputError, Served

READY = "mocker ready "
_PLAN = TypeAdapter(DeploymentPlan)
_STOP_LIMIT_S = 5.0
_LOG_TAIL = 2000


class MockDeployer:
    """Starts ``python -m mocker serve`` and ends it.

    Args:
        speed: simulated seconds in a second of wall time.
        step_times: of the mocker.
        start_limit_s: until it must answer.
        command: words that start the mocker; tests replace them.
    """

    def __init__(
        self,
        *,
        speed: float = 1.0,
        step_times: str = "roofline",
        start_limit_s: float = 60.0,
        command: Sequence[str] = (sys.executable, "-m", "mocker", "serve"),
    ) -> None:
        self._speed = speed
        self._step_times = step_times
        self._start_limit_s = start_limit_s
        self._command = tuple(command)

    @contextmanager
    def running(self, order: Order) -> Iterator[Served]:
        """See the port; plan and log are files of the candidate's folder."""
        log = order.folder / "mocker.log"
        plan = isolated_plan(order)
        try:
            path = write_bytes(order.folder / "plan.json", _PLAN.dump_json(plan, indent=2))
            sink = log.open("wb")
        except OSError as error:
            raise OutputError(f"{order.folder} cannot be written: {error}") from error
        arguments = ["--plan", str(path), "--port", "0", "--speed", str(self._speed)]
        with sink:
            process = subprocess.Popen(
                [*self._command, *arguments, "--step-times", self._step_times, UNTIL_STDIN_ENDS],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                start_new_session=True,
            )
            try:
                url = self._url(process, log)
                tokens, source = kv_capacity(order.engine, "", _metrics(url))
                yield Served(
                    order=order, url=url, kv_tokens=tokens, kv_source=source, speed=self._speed
                )
            finally:
                _stop(process)

    def _url(self, process: subprocess.Popen[bytes], log: Path) -> str:
        lines: queue.Queue[bytes] = queue.Queue()
        stdout = process.stdout
        assert stdout is not None
        reader = threading.Thread(target=lambda: lines.put(stdout.readline()), daemon=True)
        reader.start()
        try:
            text = lines.get(timeout=self._start_limit_s).decode(errors="replace").strip()
        except queue.Empty:
            raise CandidateError(
                f"the mocker was not ready after {self._start_limit_s:g} s"
            ) from None
        if not text.startswith(READY):
            tail = log.read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL:].strip()
            raise CandidateError(f"the mocker did not start: {text or tail or 'no output'}")
        return text.removeprefix(READY)


def _metrics(url: str) -> list[str]:
    """The mocker's metrics, nothing when it has none."""
    try:
        with httpx.Client(timeout=10.0, trust_env=False) as client:
            return [client.get(f"{url}/metrics").raise_for_status().text]
    except httpx.HTTPError:
        return []


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the process and everything that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_LIMIT_S)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
