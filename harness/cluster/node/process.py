"""Starts, watches and ends local processes; they outlive the server and are found again.

A container is a shell that runs one command in a session of its own, appends its output to
a log file, and leaves the exit code in a file. So the code is known even if the server
was killed meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

HANDLE_SUFFIX = ".handle"
KILLED = 128 + signal.SIGKILL
# The shell ignores what ends its child, so that it lives to note the exit code.
_WRAPPER = 'trap : TERM INT HUP; "$@"; code=$?; echo $code >"$0.new" && mv "$0.new" "$0"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run, and where.

    Attributes:
        exit_file: gets the exit code.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    folder: Path
    log: Path
    exit_file: Path


class Runner(Protocol):
    """Runs commands."""

    def start(self, command: Command) -> str:
        """Start one; returns a handle that is still good after a restart of the server.

        Raises:
            OSError: it cannot be started.
        """
        ...

    def exit_code(self, handle: str, exit_file: Path) -> int | None:
        """The exit code, None while it runs."""
        ...

    def signal(self, handle: str, number: int) -> None:
        """Send a signal to every process of a container; one that is gone is fine."""
        ...


class ProcessRunner:
    """Processes of this machine; a handle is ``PID-STARTTIME``."""

    def __init__(self) -> None:
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, command: Command) -> str:
        """Start a command in its own session.

        Raises:
            OSError: no such folder, or no more processes.
        """
        command.folder.mkdir(parents=True, exist_ok=True)
        command.log.parent.mkdir(parents=True, exist_ok=True)
        command.exit_file.unlink(missing_ok=True)
        with command.log.open("ab") as sink:
            child = subprocess.Popen(
                ["/bin/sh", "-c", _WRAPPER, str(command.exit_file), *command.argv],
                cwd=command.folder,
                env=dict(command.env),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
        handle = f"{child.pid}-{_started(child.pid)}"
        self._children[handle] = child
        command.exit_file.with_suffix(HANDLE_SUFFIX).write_text(handle, encoding="utf-8")
        return handle

    def exit_code(self, handle: str, exit_file: Path) -> int | None:
        """The exit code, None while it runs; 137 if it was killed with its shell."""
        child = self._children.get(handle)
        if child is not None and child.poll() is None:
            return None
        if child is None and is_alive(handle):
            return None
        self._children.pop(handle, None)
        if exit_file.exists():
            text = exit_file.read_text(encoding="utf-8").strip()
            return int(text) if text.isdigit() else KILLED
        return KILLED

    def signal(self, handle: str, number: int) -> None:
        """Signal the process group."""
        pid = int(handle.partition("-")[0])
        if handle not in self._children and not is_alive(handle):
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)


def is_alive(handle: str) -> bool:
    """Whether the very process that a handle names still runs."""
    pid, _, started = handle.partition("-")
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, PermissionError):
        return False
    return _started(int(pid)) == started


def end_leftovers(folder: Path) -> int:
    """Kill processes of pods whose server was killed; returns how many containers."""
    runner, ended = ProcessRunner(), 0
    for path in folder.glob(f"pods/*/*{HANDLE_SUFFIX}"):
        handle = path.read_text(encoding="utf-8")
        if is_alive(handle):
            runner.signal(handle, signal.SIGKILL)
            ended += 1
    return ended


def _started(pid: int) -> str:
    """Start time of a process in clock ticks; empty where /proc is missing."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]
