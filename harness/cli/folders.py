"""Commands on run folders: ``ls``, ``report``, ``diff``, ``replay``, ``baseline``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from contracts.errors import InputError
from contracts.files import folder_for_output
from harness.cli.console import progress_bars
from harness.cli.options import AsJson, RunArgument, RunsDir
from harness.compare import baseline_of, diff_lines, diff_runs, write_baseline
from harness.explore import replay
from harness.explore.replay import replay_scenario
from harness.report import write_report
from harness.run import new_manifest
from harness.settings import utc_text
from harness.store import RunFolder, load_run
from profiler import draw_missing


def list_runs(runs_dir: RunsDir = Path("runs"), as_json: AsJson = False) -> None:
    """List run folders with their status and verdict, newest last."""
    if not runs_dir.is_dir():
        raise InputError("is no folder", path="--runs-dir", value=str(runs_dir))
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


def report(run_folder: RunArgument, as_json: AsJson = False) -> None:
    """Render report.html of a run folder again, and plots of its profile that are missing."""
    path = write_report(run_folder)
    draw_missing(run_folder / "profile")
    print(json.dumps({"report": str(path)}) if as_json else f"report: {path}")


def diff(
    left: RunArgument,
    right: RunArgument,
    as_json: AsJson = False,
) -> None:
    """Show what differs between two runs, on each rung, and why.

    Exit codes: 0 every recorded event is the same, 1 something differs, 2 bad input.
    """
    found = diff_runs(load_run(left), load_run(right))
    if as_json:
        print(json.dumps(asdict(found) | {"same": found.same}, indent=2))
    else:
        print("\n".join(diff_lines(found)))
    raise typer.Exit(0 if found.same else 1)


def replay_run(
    run_folder: RunArgument, as_json: AsJson = False, runs_dir: RunsDir = Path("runs")
) -> None:
    """Run a run folder again from its own copies and compare event by event.

    Rungs on a wall clock run again and are not compared bit for bit.

    Exit codes: 0 the same, 1 it diverged, 2 bad input, 5 nothing could be compared.
    """
    recorded, scenario = load_run(run_folder), replay_scenario(run_folder)
    folder_for_output(runs_dir, "--runs-dir")
    manifest = new_manifest(scenario, scenario.rungs, ["harness", "replay", str(run_folder)])
    with (
        RunFolder.create(runs_dir, manifest, now_text=utc_text) as folder,
        progress_bars(quiet=as_json and not sys.stderr.isatty()) as progress,
    ):
        found = replay(recorded, scenario, folder, progress)
    write_report(found.folder)
    if as_json:
        print(json.dumps({**asdict(found), "folder": str(found.folder)}, indent=2))
    else:
        for key in found.same:
            print(f"same      {key}")
        for key in found.not_compared:
            print(f"wall clock, not compared  {key}")
        for key, divergence in found.diverged.items():
            print(f"diverged  {key}: {divergence}")
        print(f"replayed into {found.folder}")
    raise typer.Exit(1 if found.diverged else 0 if found.same else 5)


def baseline(
    run_folder: RunArgument,
    out: Annotated[
        Path | None, typer.Option(help="File to write. Default: SCENARIO.baseline.json.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Share by which a figure may get worse.")
    ] = 0.05,
    as_json: AsJson = False,
) -> None:
    """Write the figures of a run as a baseline for harness run --baseline."""
    found = baseline_of(load_run(run_folder), tolerance_ratio=tolerance)
    path = out or Path(f"{found.scenario}.baseline.json")
    if path.is_dir():
        raise InputError("is a folder", path="--out", value=str(path), allowed="a file's name")
    folder_for_output(path.parent, "--out")
    write_baseline(path, found)
    count = len(found.figures)
    shown = {"baseline": str(path), "runs": count}
    print(
        json.dumps(shown)
        if as_json
        else f"baseline: {path} ({count} run{'' if count == 1 else 's'})"
    )
