"""What is told of files that the system refuses, and of readers that have gone."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from contracts.errors import InfeasibleError, InputError
from contracts.exits import OUTPUT_LOST, run_command
from contracts.files import folder_for_output, unreadable


def test_a_folder_for_output_is_made_with_its_parents(tmp_path: Path) -> None:
    folder_for_output(tmp_path / "a" / "b", "--out")
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nobody-writes-here"])
def test_a_folder_that_cannot_be_made_is_named_with_its_option(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"--out: cannot be written: .*allowed: a folder") as found:
        folder_for_output(tmp_path / place, "--out")
    assert found.value.value == str(tmp_path / place)


def test_what_cannot_be_read_is_said_without_numbers_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        (tmp_path / "missing").read_text()
    assert unreadable(missing.value) == "cannot be read: No such file or directory"
    with pytest.raises(UnicodeDecodeError) as binary:
        b"\xff".decode()
    assert unreadable(binary.value) == "cannot be read: is not UTF-8 text"


def test_a_file_that_is_refused_is_no_bug(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing"
    assert run_command(missing.read_text) == 4
    assert (
        capsys.readouterr().err == f"error: {missing}: cannot be used: No such file or directory\n"
    )


def test_a_full_disk_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert run_command(full) == 4
    assert "is not complete: No space left on device" in capsys.readouterr().err


def test_another_error_of_the_system_is_a_bug(capsys: pytest.CaptureFixture[str]) -> None:
    def lost() -> None:
        raise OSError(errno.ECONNRESET, "reset")

    assert run_command(lost) == 70
    assert "please report it" in capsys.readouterr().err


def test_the_closest_candidates_take_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    def nothing() -> None:
        raise InfeasibleError("nothing fits", binding_constraint="memory", closest=("a: x", "b: y"))

    assert run_command(nothing) == 1
    assert capsys.readouterr().err == (
        "error: nothing fits; binding constraint: memory\n  closest: a: x\n  closest: b: y\n"
    )


PLAIN = "[print('x' * 1000) for _ in range(1000)]"
LIBRARY = f"""
    try: {PLAIN}
    except OSError: sys.exit(1)
"""  # as rich and typer do


@pytest.mark.parametrize("work", [PLAIN, LIBRARY])
def test_a_reader_that_has_gone_ends_the_command_in_silence(work: str) -> None:
    code = (
        f"import os, sys; from contracts.exits import end_with\ndef work(): {work}\nend_with(work)"
    )
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=writer, stderr=subprocess.PIPE, text=True, timeout=20, check=False,
            env={"PYTHONPATH": ":".join(sys.path)},
        )  # fmt: skip
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (OUTPUT_LOST, "")
