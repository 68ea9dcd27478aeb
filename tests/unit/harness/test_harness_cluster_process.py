"""Real processes under the runner: codes, logs, groups, a second runner that finds them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from harness.cluster.node.images import NoCommandError, local_command
from harness.cluster.node.process import (
    KILLED,
    Command,
    ProcessRunner,
    end_leftovers,
    is_alive,
)


def command(folder: Path, script: str) -> Command:
    return Command(
        argv=["sh", "-c", script],
        env={"PATH": os.environ["PATH"], "WORD": "word"},
        folder=folder / "pods" / "u" / "root",
        log=folder / "pods" / "u" / "logs" / "c.0.log",
        exit_file=folder / "pods" / "u" / "c.0.exit",
    )


def ended(runner: ProcessRunner, handle: str, wanted: Command) -> int:
    for _ in range(500):
        code = runner.exit_code(handle, wanted.exit_file)
        if code is not None:
            return code
        time.sleep(0.01)
    raise AssertionError("the process does not end")


def said(wanted: Command, word: str) -> None:
    for _ in range(500):
        if word in wanted.log.read_text():
            return
        time.sleep(0.01)
    raise AssertionError("the process does not start")


@pytest.fixture
def runner() -> ProcessRunner:
    return ProcessRunner()


def test_code_and_log(tmp_path: Path, runner: ProcessRunner) -> None:
    wanted = command(tmp_path, "echo $WORD; echo err >&2; exit 3")
    assert ended(runner, runner.start(wanted), wanted) == 3
    assert wanted.log.read_text() == "word\nerr\n"


def test_a_signal_reaches_the_whole_group(tmp_path: Path, runner: ProcessRunner) -> None:
    wanted = command(tmp_path, "sleep 100 & echo on; sleep 100; wait")
    handle = runner.start(wanted)
    said(wanted, "on")
    runner.signal(handle, signal.SIGTERM)
    assert ended(runner, handle, wanted) == 128 + signal.SIGTERM


def test_a_killed_shell_leaves_no_code(tmp_path: Path, runner: ProcessRunner) -> None:
    wanted = command(tmp_path, "sleep 100")
    handle = runner.start(wanted)
    runner.signal(handle, signal.SIGKILL)
    assert ended(runner, handle, wanted) == KILLED


def test_another_runner_finds_the_process_and_its_code(
    tmp_path: Path, runner: ProcessRunner
) -> None:
    wanted = command(tmp_path, "read line < fifo; exit 5")
    wanted.folder.mkdir(parents=True)
    os.mkfifo(wanted.folder / "fifo")
    handle = runner.start(wanted)
    other = ProcessRunner()
    assert other.exit_code(handle, wanted.exit_file) is None
    (wanted.folder / "fifo").write_text("go\n")
    assert ended(runner, handle, wanted) == 5
    assert other.exit_code(handle, wanted.exit_file) == 5
    assert other.exit_code("1-nonsense", tmp_path / "none") == KILLED


def test_leftovers_are_ended(tmp_path: Path, runner: ProcessRunner) -> None:
    wanted = command(tmp_path, "sleep 100")
    handle = runner.start(wanted)
    assert is_alive(handle)
    assert end_leftovers(tmp_path) == 1
    assert ended(runner, handle, wanted) == KILLED
    assert end_leftovers(tmp_path) == 0


def test_arguments_alone_are_a_command_where_they_name_a_program() -> None:
    container = {"image": "busybox", "args": ["sh", "-c", "echo hi"]}
    assert local_command(container, (), {}) == ["sh", "-c", "echo hi"]
    for args in (["--port", "80"], ["no-such-program"], []):
        with pytest.raises(NoCommandError, match="give the container a command"):
            local_command({"image": "busybox", "args": args}, (), {})
