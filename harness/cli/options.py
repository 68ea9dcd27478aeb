"""Options that several commands share, and what they do to a scenario."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from contracts.errors import InputError, UnsupportedError
from harness.scenario import Rung, Scenario
from harness.settings import checkout, command_line, utc_text
from harness.store import Manifest, Outcome, environment

EXIT_CODES = {Outcome.PASS: 0, Outcome.FAIL: 1, Outcome.INCONCLUSIVE: 5}

ScenarioFile = Annotated[Path, typer.Argument(help="Scenario file (YAML).", show_default=False)]
RunArgument = Annotated[Path, typer.Argument(help="A run folder.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
RunsDir = Annotated[Path, typer.Option(help="Where run folders are.")]
On = Annotated[
    str | None, typer.Option("--on", help="Rungs, separated by commas. Default: the file's.")
]
Speed = Annotated[
    float | None, typer.Option(help="Time dilation of rung mock; overrides the file.")
]
Seeds = Annotated[list[int] | None, typer.Option(help="Seed; may be repeated; overrides the file.")]
_UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def overridden(scenario: Scenario, speed: float | None, seeds: list[int] | None) -> Scenario:
    """The scenario with what the command line says instead of the file.

    Raises:
        InputError: a speed or seeds that cannot be.
    """
    if speed is not None:
        if not 0 < speed < float("inf"):
            raise InputError("is out of range", path="--speed", value=str(speed), allowed="above 0")
        scenario = replace(scenario, mock=replace(scenario.mock, speed=speed))
    if seeds:
        if min(seeds) < 0 or len(set(seeds)) < len(seeds):
            raise InputError(
                "seeds must differ and not be negative", path="--seed", value=str(seeds)
            )
        scenario = replace(scenario, seeds=tuple(seeds))
    return scenario


def chosen_rungs(on: str | None, scenario: Scenario) -> tuple[Rung, ...]:
    """The rungs that the command line names, in the order of the ladder.

    Raises:
        InputError: an unknown or repeated name.
        UnsupportedError: a rung that is not available yet.
    """
    if on is None:
        return scenario.rungs
    names = [name.strip() for name in on.split(",")]
    known = {rung.value: rung for rung in Rung}
    planned = sorted({"vmock", "kube"}.difference(known).intersection(names))
    if planned:
        raise UnsupportedError(f"--on: rung {', '.join(planned)} is not available yet")
    unknown = [name for name in names if name not in known]
    if unknown or len(set(names)) < len(names):
        raise InputError(
            "unknown or repeated rung", path="--on", value=on, allowed=", ".join(known)
        )
    return tuple(rung for rung in Rung if rung.value in names)


def new_manifest(scenario: Scenario, rungs: Sequence[Rung], rerun: Sequence[str]) -> Manifest:
    """The manifest of a run that starts now; ``rerun`` are the words that repeat it."""
    versions, system = environment(checkout())
    return Manifest(
        scenario=scenario.name,
        scenario_text=scenario.text,
        rungs=tuple(rung.value for rung in rungs),
        seeds=scenario.seeds,
        command_line=command_line(),
        rerun_line=shlex.join(rerun),
        versions=versions,
        platform=system,
        started=utc_text(),
    )


def seconds(text: str, *, path: str) -> float:
    """``90``, ``90s``, ``10m`` or ``1.5h`` in seconds.

    Raises:
        InputError: it is none of these.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h|)", text.strip())
    if match is None or float(match[1]) <= 0:
        raise InputError("is not a duration", path=path, value=repr(text), allowed="90s, 10m, 1h")
    return float(match[1]) * _UNITS_S[match[2]]
