"""Options that several commands share, and what they do to a scenario."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from contracts.errors import InputError
from harness.cli.cells import ExecutorKind
from harness.run import rungs_named, with_seeds
from harness.scenario import Rung, Scenario
from harness.store import Outcome

EXIT_CODES = {Outcome.PASS: 0, Outcome.FAIL: 1, Outcome.INCONCLUSIVE: 5}

ScenarioFile = Annotated[Path, typer.Argument(help="Scenario file (YAML).", show_default=False)]
RunArgument = Annotated[Path, typer.Argument(help="A run folder.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
RunsDir = Annotated[Path, typer.Option(help="Where run folders are.")]
On = Annotated[
    str | None, typer.Option("--on", help="Rungs, separated by commas. Default: the file's.")
]
Speed = Annotated[
    float | None,
    typer.Option(help="Time dilation of rungs mock and kube; overrides the file."),
]
Kubeconfig = Annotated[
    Path | None,
    typer.Option(help="Cluster of rung kube. Default: the embedded one, started for each run."),
]
Seeds = Annotated[list[int] | None, typer.Option(help="Seed; may be repeated; overrides the file.")]
ExecutorOption = Annotated[
    ExecutorKind,
    typer.Option("--executor", help="Processes of this machine, or Ray (extra ray)."),
]
Jobs = Annotated[int | None, typer.Option(min=1, help="Runs at a time. Default: cores.")]
RayAddress = Annotated[
    str | None, typer.Option(help="Of a Ray cluster. Default: Ray is started on this machine.")
]
_UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def overridden(
    scenario: Scenario,
    speed: float | None,
    seeds: list[int] | None,
    kubeconfig: Path | None = None,
) -> Scenario:
    """The scenario with what the command line says instead of the file.

    Raises:
        InputError: a speed or seeds that cannot be, or a kubeconfig that is not there.
    """
    if speed is not None:
        if not 0 < speed < float("inf"):
            raise InputError("is out of range", path="--speed", value=str(speed), allowed="above 0")
        scenario = replace(
            scenario,
            mock=replace(scenario.mock, speed=speed),
            kube=replace(scenario.kube, speed=speed),
        )
    if kubeconfig is not None:
        if not kubeconfig.is_file():
            raise InputError("is no file", path="--kubeconfig", value=str(kubeconfig))
        scenario = replace(scenario, kube=replace(scenario.kube, kubeconfig=kubeconfig.resolve()))
    return with_seeds(scenario, seeds or (), path="--seed")


def chosen_rungs(on: str | None, scenario: Scenario) -> tuple[Rung, ...]:
    """The rungs that the command line names, in the order of the ladder.

    Raises:
        InputError: an unknown or repeated name.
    """
    names = () if on is None else [name.strip() for name in on.split(",")]
    return rungs_named(names, scenario, path="--on")


def seconds(text: str, *, path: str) -> float:
    """``90``, ``90s``, ``10m`` or ``1.5h`` in seconds.

    Raises:
        InputError: it is none of these.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h|)", text.strip())
    if match is None or float(match[1]) <= 0:
        raise InputError("is not a duration", path=path, value=repr(text), allowed="90s, 10m, 1h")
    return float(match[1]) * _UNITS_S[match[2]]
