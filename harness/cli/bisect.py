"""``harness bisect``: where a failure comes from, by scenario, by time or by commit."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from contracts.errors import InputError
from harness.cli.explore import save
from harness.cli.options import AsJson
from harness.explore import shrink
from harness.explore.commits import commits_between, first_failing, judge_in_worktree
from harness.explore.moment import find_moment
from harness.scenario import load_scenario
from harness.settings import checkout


def bisect(
    scenario: Annotated[Path, typer.Option(help="A scenario that fails on rung sim.")],
    out: Annotated[
        Path | None, typer.Option(help="File to write. Default: regressions/NAME.yaml beside it.")
    ] = None,
    time: Annotated[
        bool, typer.Option("--time", help="Find the shortest traffic that still fails.")
    ] = False,
    commits: Annotated[
        str | None,
        typer.Option(help="GOOD..BAD: find the first commit of this checkout that fails."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Shrink a failing scenario to the smallest one that still fails in the same way.

    With --time only its traffic is shortened, which tells when it goes wrong. With --commits the
    scenario stays as it is, and the first commit with which it fails is looked for.

    Exit codes: 0 it was found, 2 bad input, or the scenario does not fail.
    """
    if time and commits is not None:
        raise InputError("excludes --commits", path="--time")
    if commits is not None:
        _by_commits(scenario, commits, as_json=as_json)
        return
    found = load_scenario(scenario)
    path = out or scenario.parent / "regressions" / f"{found.name}.yaml"
    shown: dict[str, Any]
    if time:
        moment = find_moment(found, _say_step)
        document, failing, runs = moment.document, moment.failing, moment.runs
        shown = {"fails": moment.fails, "holds": moment.holds, "unit": moment.unit}
        text = (
            f"fails with {moment.fails:g} {moment.unit} of traffic, not with {moment.holds:g}; "
            f"{runs} runs"
        )
    else:
        shrunk = shrink(found, _say_step)
        document, failing, runs = shrunk.document, shrunk.failing, shrunk.runs
        shown = {"steps": list(shrunk.steps)}
        text = f"{len(shrunk.steps)} steps, {runs} runs"
    save(document, scenario.parent, path)
    if as_json:
        head = {"scenario": str(path), "failing": sorted(failing)}
        print(json.dumps({**head, **shown, "runs": runs}, indent=2))
    else:
        print(f"still fails: {', '.join(sorted(failing))}")
        print(f"scenario: {path} ({text})")


def _by_commits(scenario: Path, span: str, *, as_json: bool) -> None:
    load_scenario(scenario)  # a wrong file is told before any checkout
    repository = checkout()
    commits = commits_between(repository, span)
    with (
        tempfile.TemporaryDirectory(prefix="bisect-runs-") as runs,
        judge_in_worktree(repository, scenario, Path(runs)) as judge,
    ):
        found = first_failing(commits, judge, _say_step)
    if as_json:
        print(json.dumps(asdict(found), indent=2))
        return
    print(f"first commit that fails: {found.commit} (of {len(commits)}, {found.runs} runs)")
    if found.suspects:
        print(f"could not be judged: {', '.join(each[:12] for each in found.suspects)}")


def _say_step(step: str, runs: int) -> None:
    sys.stderr.write(f"{runs:>4} runs: {step}\n")
