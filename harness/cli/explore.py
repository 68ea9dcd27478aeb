"""``harness search``: look for failures."""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from contracts.command_line import with_options
from contracts.errors import InputError
from contracts.units import NS_PER_S
from harness.cli.cells import ExecutorKind, make_executor
from harness.cli.options import AsJson, ExecutorOption, Jobs, RayAddress, seconds
from harness.explore import SearchResult, search
from profiler.load.clock import Clock, WallClock

_COMMENT = "# yaml-language-server: $schema={schema}\n"
_PATHS = ("dgdr", "model_config", "gpu_file", "step_table")
SECONDS_DEFAULT = "60s"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """Options of ``harness search``."""

    length: Annotated[
        str | None, typer.Option("--for", help="How long to search: 90s, 10m, 1h. Default 60s.")
    ] = None
    count: Annotated[int | None, typer.Option(min=1, help="Stop after so many.")] = None
    seed: Annotated[int, typer.Option(min=0, help="Root seed of the scenarios.")] = 1
    first: Annotated[int, typer.Option(min=0, help="Number of the first scenario.")] = 0
    scenarios: Annotated[
        Path, typer.Option(help="Folder in which their requests (dgdr/...) are.")
    ] = Path("scenarios")
    save_to: Annotated[
        Path | None, typer.Option("--save", help="Folder for the scenarios that fail.")
    ] = None
    executor: ExecutorOption = ExecutorKind.LOCAL
    jobs: Jobs = None
    ray_address: RayAddress = None
    as_json: AsJson = False

    def more(self, clock: Clock) -> Callable[[int], bool]:
        """Whether to go on after so many scenarios, from now on.

        Raises:
            InputError: ``--for`` is no duration.
        """
        endless = self.length is None and self.count is not None
        limit = None if endless else seconds(self.length or SECONDS_DEFAULT, path="--for")
        start_ns = clock.now_ns()

        def more(tried: int) -> bool:
            in_time = limit is None or clock.now_ns() - start_ns < limit * NS_PER_S
            return in_time and (self.count is None or tried < self.count)

        return more


def search_scenarios(given: SearchOptions) -> None:
    """Try random scenarios: invariants always, recovery after their faults have healed.

    Exit codes: 0 nothing was found, 1 a deployment did not recover, 70 an invariant broke.
    """
    folder = given.scenarios
    if not (folder / "dgdr").is_dir():
        raise InputError("has no folder dgdr", path="--scenarios", value=str(folder))
    more = given.more(WallClock())
    place = make_executor(
        given.executor, tasks=given.count, jobs=given.jobs, address=given.ray_address
    )
    found = search(
        seed=given.seed,
        folder=folder,
        more=more,
        first=given.first,
        report=_say_tried,
        executor=place,
    )
    _finish_line()
    if given.save_to is not None:
        for finding in found.findings:
            path = given.save_to / f"{finding.document['name']}.yaml"
            save(finding.document, folder, path)
    _show(found, as_json=given.as_json)
    bug = any(finding.bug for finding in found.findings)
    raise typer.Exit(70 if bug else 1 if found.findings else 0)


search_command = with_options(SearchOptions, search_scenarios)


def save(document: dict[str, Any], base: Path, path: Path) -> None:
    """Write a scenario elsewhere; its paths still lead to the same files.

    Args:
        document: its paths start from ``base``.
        base: folder of the scenario that it comes from.
        path: file to write.
    """
    moved = copy.deepcopy(document)
    sections = [(moved["deploy"], key) for key in _PATHS]
    sections.append((moved["workload"].get("trace") or {}, "path"))
    path.parent.mkdir(parents=True, exist_ok=True)
    for section, key in sections:
        if section.get(key) is not None:
            target = (base / section[key]).resolve()
            section[key] = os.path.relpath(target, path.parent.resolve())
    schema = os.path.relpath((base / "scenario.schema.json").resolve(), path.parent.resolve())
    text = _COMMENT.format(schema=schema) + yaml.safe_dump(moved, sort_keys=False)
    path.write_text(text, encoding="utf-8")


def _show(found: SearchResult, *, as_json: bool) -> None:
    rows = [
        {
            "number": finding.number,
            "problem": finding.problem,
            "bug": finding.bug,
            "rerun": f"harness search --seed {found.seed} --first {finding.number} --count 1",
            "scenario": finding.document,
        }
        for finding in found.findings
    ]
    if as_json:
        counts = {"seed": found.seed, "tried": found.tried, "refused": found.refused}
        print(json.dumps({**counts, "findings": rows}, indent=2))
        return
    for row in rows:
        print(f"{'BUG ' if row['bug'] else ''}{row['problem']}")
        print(f"  again: {row['rerun']}")
    print(
        f"{found.tried} scenarios tried, {found.refused} refused, {len(rows)} findings "
        f"(seed {found.seed})"
    )


def _say_tried(tried: int, findings: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{tried} scenarios tried, {findings} findings")


def _finish_line() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\n")
