"""``harness run``, ``plan``, ``validate`` and ``schema``: from a file to a verdict."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from contracts.command_line import with_options
from contracts.files import folder_for_output
from harness.cli.cells import Cell, ExecutorKind, make_executor, run_cells
from harness.cli.options import (
    EXIT_CODES,
    AsJson,
    ExecutorOption,
    Jobs,
    Kubeconfig,
    On,
    RayAddress,
    RunsDir,
    ScenarioFile,
    Seeds,
    Speed,
    chosen_rungs,
    overridden,
)
from harness.cli.render import execution_json, verdict_lines
from harness.compare import read_baseline
from harness.run import Execution, plan_lines, plan_run
from harness.run.prepare import load_request
from harness.scenario import Scenario, load_scenarios
from harness.scenario.published import schema_text
from harness.store import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Options of ``harness run``."""

    scenario_file: ScenarioFile
    on: On = None
    plan: Annotated[bool, typer.Option("--plan", help="As the command plan.")] = False
    as_json: AsJson = False
    speed: Speed = None
    seed: Seeds = None
    baseline: Annotated[
        Path | None, typer.Option(help="Fail when figures are worse than in this baseline.")
    ] = None
    runs_dir: RunsDir = Path("runs")
    executor: ExecutorOption = ExecutorKind.LOCAL
    jobs: Jobs = None
    ray_address: RayAddress = None
    kubeconfig: Kubeconfig = None

    def words(self) -> tuple[str, ...]:
        """The command line that repeats a run."""
        words = ["harness", "run", str(self.scenario_file)]
        words += [] if self.speed is None else ["--speed", f"{self.speed:g}"]
        words += [] if self.kubeconfig is None else ["--kubeconfig", str(self.kubeconfig)]
        words += [word for each in self.seed or () for word in ("--seed", str(each))]
        return tuple(words)

    def cells(self, scenarios: list[Scenario]) -> list[Cell]:
        """One run for each scenario."""
        return [
            Cell(
                scenario=each,
                rungs=chosen_rungs(self.on, each),
                words=self.words(),
                runs_dir=self.runs_dir,
                baseline=self.baseline,
            )
            for each in scenarios
        ]


def run_scenarios(given: RunOptions) -> None:
    """Run a scenario on one or more rungs, judge it and write a report.

    Each combination of a matrix gets a run folder of its own. On rung sim they run side by
    side on the cores of this machine, or on Ray, with the same results as one by one.

    Exit codes: 0 pass, 1 fail, 2 bad input, 3 unsupported, 4 infrastructure,
    5 inconclusive, 70 bug, 130 interrupted.
    """
    scenarios = [
        overridden(each, given.speed, given.seed, given.kubeconfig)
        for each in load_scenarios(given.scenario_file)
    ]
    for scenario in scenarios:
        chosen_rungs(given.on, scenario)
        if scenario.expect.error is None:
            load_request(scenario)  # a wrong DGDR leaves no run folder behind
    if given.plan:
        _show_plans(scenarios, given.on, as_json=given.as_json)
        return
    if given.baseline is not None:
        read_baseline(given.baseline)  # a wrong one leaves no run folder behind
    folder_for_output(given.runs_dir, "--runs-dir")
    cells = given.cells(scenarios)
    place = make_executor(
        given.executor, tasks=len(cells), jobs=given.jobs, address=given.ray_address
    )
    done = run_cells(cells, place, quiet=given.as_json and not sys.stderr.isatty())
    _show(done, as_json=given.as_json)
    raise typer.Exit(EXIT_CODES[_outcome(done)])


run = with_options(RunOptions, run_scenarios)


def _outcome(done: list[Execution]) -> Outcome:
    """The worst of all cells."""
    found = {each.verdict.outcome for each in done}
    for outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE):
        if outcome in found:
            return outcome
    return Outcome.PASS


def _show(done: list[Execution], *, as_json: bool) -> None:
    found = [execution_json(each, each.folder / "report.html") for each in done]
    if as_json:
        whole = {"verdict": _outcome(done).value, "cells": found}
        print(json.dumps(found[0] if len(found) == 1 else whole, indent=2))
        return
    for each in done:
        if len(done) > 1:
            print(each.folder.name)
        print("\n".join(verdict_lines(each.verdict)))
        print(f"report: {each.folder / 'report.html'}")
    if len(done) > 1:
        print(f"verdict of all {len(done)}: {_outcome(done).value}")


def plan(
    scenario_file: ScenarioFile,
    on: On = None,
    as_json: AsJson = False,
    speed: Speed = None,
    seed: Seeds = None,
) -> None:
    """Show everything that a run would do, on each rung, and create nothing.

    Exit codes: 0, 2 bad input, 3 a rung refuses the scenario.
    """
    scenarios = [overridden(each, speed, seed) for each in load_scenarios(scenario_file)]
    if not _show_plans(scenarios, on, as_json=as_json):
        raise typer.Exit(3)


def _show_plans(scenarios: list[Scenario], on: str | None, *, as_json: bool) -> bool:
    plans = [plan_run(each, chosen_rungs(on, each)) for each in scenarios]
    if as_json:
        print(json.dumps([asdict(each) for each in plans], indent=2))
    else:
        print("\n\n".join("\n".join(plan_lines(each)) for each in plans))
    return not any(each.refused for each in plans)


def validate(
    scenario_files: Annotated[
        list[Path], typer.Argument(help="Scenario files (YAML).", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Check scenarios and their DGDRs without running anything."""
    found = []
    for path in scenario_files:
        for scenario in load_scenarios(path):
            # A scenario that expects to be refused may be refused here.
            if scenario.expect.error is None:
                load_request(scenario)
            found.append({"file": str(path), "scenario": scenario.name, "valid": True})
        if not as_json:
            print(f"{path}: valid")
    if as_json:
        print(json.dumps(found, indent=2))


def schema(
    _as_json: Annotated[bool, typer.Option("--json", help="It is JSON in any case.")] = True,
) -> None:
    """Print the JSON Schema of scenario files, for completion in editors."""
    print(schema_text(), end="")
