"""Executes docs/scenarios.md: its files are written, its commands run, their exit codes hold."""

from __future__ import annotations

import glob
import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contracts.errors import RehearsalError
from harness.cli.app import app

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "scenarios.md"
BLOCKS = re.findall(r"```(yaml|sh)\n(.*?)```", PAGE.read_text(), re.DOTALL)


def run(line: str) -> int:
    words = [found for word in shlex.split(line)[1:] for found in sorted(glob.glob(word)) or [word]]
    result = CliRunner().invoke(app, words)
    assert not isinstance(result.exception, RehearsalError), f"{line}: {result.exception}"
    return result.exit_code


@pytest.mark.slow
def test_the_tutorial_works_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "scenarios", tmp_path / "scenarios")
    monkeypatch.chdir(tmp_path / "scenarios")
    commands = 0
    for language, text in BLOCKS:
        if language == "yaml":
            name = text.splitlines()[0].removeprefix("# ")
            (tmp_path / "scenarios" / name).write_text(text)
            continue
        for line in text.splitlines():
            command, _, comment = line.partition("  # exit ")
            assert run(command) == int(comment or 0), command
            commands += 1
    assert commands >= 10
    assert (tmp_path / "scenarios" / "smaller.yaml").stat().st_size < 700


def test_the_tutorial_names_every_scenario_of_the_library() -> None:
    table = PAGE.read_text().partition("## The library")[2]
    named = set(re.findall(r"`([a-z0-9-]+)`", table))
    assert named == {path.stem for path in (ROOT / "scenarios").glob("*.yaml")}
