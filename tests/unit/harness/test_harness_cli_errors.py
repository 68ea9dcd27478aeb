"""What the command line says before it begins, when it cannot end well."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from contracts.errors import InputError
from harness.cli.app import app
from harness.store import load_run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run {scenario} --runs-dir {file}", "--runs-dir: cannot be written: File exists"),
        ("run {scenario} --runs-dir {file}/x", "--runs-dir: cannot be written: Not a directory"),
        ("bench planner --quick --out {file}", "--out: cannot be written: File exists"),
        ("serve --port 0 --data {file}", "--data: cannot be written: File exists"),
        ("ls --runs-dir {file}", "--runs-dir: is no folder"),
        ("ls --runs-dir {file}/missing", "--runs-dir: is no folder"),
        ("cluster up --data {file}", "--data: cannot be written: File exists"),
        ("cluster up --sku foo", "--sku: no performance facts for this GPU"),
        ("cluster up --images {file}", "must be a list of rules"),
        ("runs --service foo", "--service: is no address (got foo); allowed: http://HOST:PORT"),
    ],
)
def test_bad_options_are_named_before_the_work_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, message: str
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    file = tmp_path / "file.yaml"
    file.write_text("{}")
    scenario = Path(__file__).parents[3] / "scenarios" / "smoke.yaml"
    found = CliRunner().invoke(app, words.format(scenario=scenario, file=file).split())
    assert isinstance(found.exception, InputError)
    assert message in str(found.exception)


def test_a_file_is_no_run_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is not a run folder"):
        load_run(tmp_path / "file")
