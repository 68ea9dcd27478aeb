"""``harness``: rehearse scenarios, validate them, render reports."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from contracts.errors import InfeasibleError, InputError, UnsupportedError
from harness.accuracy import GroupError, read_points, replay, summarise_errors
from harness.cli.bench import bench_app
from harness.cli.console import progress_bars
from harness.cli.settings import checkout, command_line, utc_text
from harness.cluster.cli import cluster_app
from harness.report import write_report
from harness.run import Execution, execute
from harness.run.facts import plan_lines
from harness.run.prepare import load_request
from harness.scenario import Rung, Scenario, load_scenario
from harness.scenario.model import MockSettings
from harness.store import Check, Manifest, Outcome, RunFolder, Verdict, environment, load_run

app = typer.Typer(
    name="harness",
    help="Rehearse a Dynamo deployment request on a laptop.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
EXIT_CODES = {Outcome.PASS: 0, Outcome.FAIL: 1, Outcome.INCONCLUSIVE: 5}

app.add_typer(cluster_app)
app.add_typer(bench_app)

ScenarioFile = Annotated[Path, typer.Argument(help="Scenario file (YAML).", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


@app.callback()
def harness() -> None:
    """Rehearse a Dynamo deployment request on a laptop."""


@app.command(
    epilog="Example: harness run scenarios/quickstart.yaml --on sim,mock",
)
def run(  # noqa: PLR0913  # options of a command line
    scenario_file: ScenarioFile,
    on: Annotated[
        str | None, typer.Option("--on", help="Rungs, separated by commas. Default: the file's.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would happen and stop.")] = False,
    as_json: AsJson = False,
    speed: Annotated[
        float | None, typer.Option(help="Time dilation of rung mock; overrides the file.")
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="Seed; may be repeated; overrides the file.")
    ] = None,
    runs_dir: Annotated[Path, typer.Option(help="Where run folders are made.")] = Path("runs"),
) -> None:
    """Run a scenario on one or more rungs, judge it and write a report.

    Exit codes: 0 pass, 1 fail, 2 bad input, 3 unsupported, 4 infrastructure,
    5 inconclusive, 70 bug, 130 interrupted.
    """
    scenario = _overridden(load_scenario(scenario_file), speed, seed)
    rungs = _rungs(on, scenario)
    load_request(scenario)  # a wrong DGDR leaves no run folder behind
    if plan:
        lines = list(plan_lines(scenario, rungs))
        print(json.dumps(lines, indent=2) if as_json else "\n".join(lines))
        return
    manifest = _manifest(scenario, scenario_file, rungs, speed=speed, seeds=seed)
    with (
        RunFolder.create(runs_dir, manifest, now_text=utc_text) as folder,
        progress_bars(quiet=as_json and not sys.stderr.isatty()) as progress,
    ):
        execution = execute(scenario, folder, rungs=rungs, progress=progress)
    report = write_report(execution.folder)
    if as_json:
        print(json.dumps(_as_json(execution, report), indent=2))
    else:
        print("\n".join(_verdict_lines(execution.verdict)))
        print(f"report: {report}")
    raise typer.Exit(EXIT_CODES[execution.verdict.outcome])


@app.command(epilog="Example: harness validate scenarios/quickstart.yaml")
def validate(scenario_file: ScenarioFile, as_json: AsJson = False) -> None:
    """Check a scenario and its DGDR without running anything."""
    scenario = load_scenario(scenario_file)
    dgdr = load_request(scenario)
    found = {"scenario": scenario.name, "dgdr": dgdr.metadata.name, "valid": True}
    print(json.dumps(found) if as_json else f"{scenario_file}: valid")


@app.command(epilog="Example: harness report runs/20260101T120000Z-quickstart-1")
def report(
    run_folder: Annotated[Path, typer.Argument(help="A run folder.")], as_json: AsJson = False
) -> None:
    """Render report.html of a run folder again."""
    path = write_report(run_folder)
    print(json.dumps({"report": str(path)}) if as_json else f"report: {path}")


@app.command(name="ls", epilog="Example: harness ls")
def list_runs(
    runs_dir: Annotated[Path, typer.Option(help="Where run folders are.")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """List run folders with their status and verdict, newest last."""
    folders = sorted(path.parent for path in runs_dir.glob("*/manifest.json"))
    rows = []
    for folder in folders:
        loaded = load_run(folder)
        outcome = loaded.verdict.outcome.value if loaded.verdict else None
        rows.append({"run": str(folder), "status": loaded.manifest.status, "verdict": outcome})
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            print(f"{row['status']:<11} {row['verdict'] or '-':<13} {row['run']}")


@app.command(epilog="Example: harness accuracy ../shared/data")
def accuracy(
    data: Annotated[Path, typer.Argument(help="Folder with measured points (CSV).")],
    as_json: AsJson = False,
) -> None:
    """Replay measured points and print how far off the simulator is."""
    points, skipped = read_points(data)
    results = []
    with progress_bars(quiet=as_json) as progress:
        for number, point in enumerate(points, start=1):
            try:
                results.append((point, replay(point)))
            except InfeasibleError:
                skipped["does not fit on the GPU as simulated"] += 1
            progress("replaying", number, len(points))
    errors = summarise_errors(results)
    if as_json:
        print(json.dumps({"errors": [asdict(e) for e in errors], "skipped": skipped}, indent=2))
        return
    for error in errors:
        print(_error_line(error))
    for reason, count in skipped.most_common():
        print(f"not replayed: {count} ({reason})")


def _error_line(error: GroupError) -> str:
    rank = "   -" if error.rank_correlation is None else f"{error.rank_correlation:4.2f}"
    return (
        f"{' '.join(part for part in error.group if part):<78} {error.figure:<8}"
        f"{error.points:>5}  median {error.median_abs_ratio:6.1%}  p90 {error.p90_abs_ratio:6.1%}"
        f"  bias {error.bias_ratio:+6.1%}  rank {rank}"
    )


def _overridden(scenario: Scenario, speed: float | None, seeds: list[int] | None) -> Scenario:
    if speed is not None:
        if not 0 < speed < float("inf"):
            raise InputError("is out of range", path="--speed", value=str(speed), allowed="above 0")
        scenario = replace(scenario, mock=MockSettings(speed=speed))
    if seeds:
        if min(seeds) < 0 or len(set(seeds)) < len(seeds):
            raise InputError(
                "seeds must differ and not be negative", path="--seed", value=str(seeds)
            )
        scenario = replace(scenario, seeds=tuple(seeds))
    return scenario


def _rungs(on: str | None, scenario: Scenario) -> tuple[Rung, ...]:
    if on is None:
        return scenario.rungs
    names = [name.strip() for name in on.split(",")]
    known = {rung.value: rung for rung in Rung}
    planned = sorted({"vmock", "kube"}.intersection(names))
    if planned:
        raise UnsupportedError(f"--on: rung {', '.join(planned)} is not available yet")
    unknown = [name for name in names if name not in known]
    if unknown or len(set(names)) < len(names):
        raise InputError(
            "unknown or repeated rung", path="--on", value=on, allowed=", ".join(known)
        )
    return tuple(rung for rung in Rung if rung.value in names)


def _manifest(
    scenario: Scenario,
    scenario_file: Path,
    rungs: tuple[Rung, ...],
    *,
    speed: float | None,
    seeds: list[int] | None,
) -> Manifest:
    versions, system = environment(checkout())
    words = ["harness", "run", str(scenario_file), "--on", ",".join(rung.value for rung in rungs)]
    words += [] if speed is None else ["--speed", f"{speed:g}"]
    words += [word for seed in seeds or () for word in ("--seed", str(seed))]
    return Manifest(
        scenario=scenario.name,
        scenario_text=scenario.text,
        rungs=tuple(rung.value for rung in rungs),
        seeds=scenario.seeds,
        command_line=command_line(),
        rerun_line=shlex.join(words),
        versions=versions,
        platform=system,
        started=utc_text(),
    )


def _verdict_lines(verdict: Verdict) -> list[str]:
    lines = [f"verdict: {verdict.outcome.value}"]
    lines += [f"  {_check_line(check)}" for check in verdict.checks]
    return lines + [f"  {reason}" for reason in verdict.reasons if not verdict.checks]


def _check_line(check: Check) -> str:
    unit = f" {check.unit}" if check.unit else ""
    measured = "no data" if check.measured is None else f"{check.measured:.4g}{unit}"
    bound = {"at_least": ">=", "at_most": "<=", "equal": "="}[check.bound.value]
    note = f" ({check.note})" if check.note else ""
    return (
        f"{check.outcome.value:<13} {check.name:<26} {check.rung:<12} "
        f"{measured} {bound} {check.asked:g}{unit}{note}"
    )


def _as_json(execution: Execution, report: Path) -> dict[str, Any]:
    verdict = execution.verdict
    return {
        "verdict": verdict.outcome.value,
        "folder": str(execution.folder),
        "report": str(report),
        "reasons": list(verdict.reasons),
        "checks": [
            {
                "name": check.name,
                "rung": check.rung,
                "seed": check.seed,
                "outcome": check.outcome.value,
                "bound": check.bound.value,
                "asked": check.asked,
                "measured": check.measured,
                "unit": check.unit,
                "note": check.note,
            }
            for check in verdict.checks
        ],
    }
