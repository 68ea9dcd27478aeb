from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from typer.testing import CliRunner

from contracts.command_line import with_options


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    count: Annotated[int, typer.Option(help="How many.", min=1)] = 2
    quiet: Annotated[bool, typer.Option("--quiet")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Given(Shared):
    path: Annotated[Path, typer.Argument(help="A file.")]
    name: Annotated[list[str] | None, typer.Option("--called")] = None


def show(given: Given) -> None:
    """Show what was given."""
    typer.echo(str(given))


def outcome(*words: str):
    app = typer.Typer(add_completion=False)
    app.command()(with_options(Given, show))
    return CliRunner().invoke(app, words)


def test_fields_are_options_and_arguments():
    found = outcome("a.yaml", "--count", "3", "--called", "x", "--called", "y", "--quiet")
    expected = Given(path=Path("a.yaml"), count=3, name=["x", "y"], quiet=True)
    assert found.stdout.strip() == str(expected)
    assert outcome("a.yaml").stdout.strip() == str(Given(path=Path("a.yaml")))


def test_help_and_refusals_are_those_of_a_function_with_these_parameters():
    text = outcome("--help").stdout
    assert "Show what was given." in text
    assert "How many." in text
    assert (outcome().exit_code, outcome("a.yaml", "--count", "0").exit_code) == (2, 2)


def test_it_is_a_function_with_keywords(capsys):
    with_options(Given, show)(path=Path("b"), count=5)
    assert "count=5" in capsys.readouterr().out
