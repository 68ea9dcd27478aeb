"""One run from a scenario file to a folder with a report, and its figures for the database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from contracts.errors import InputError
from harness.report import write_report
from harness.run import execute
from harness.run.prepare import load_request
from harness.scenario import Rung, Scenario, load_scenario
from harness.settings import checkout, utc_text
from harness.store import Manifest, RunFolder, environment, load_run, summarise_runs

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """What the service keeps of a run.

    Attributes:
        folder: name of the run folder.
        result: reasons and checks of the verdict, a summary and digest for each rung.
    """

    folder: str
    verdict: str
    result: dict[str, Any]


def rehearse(
    path: Path,
    runs_dir: Path,
    *,
    rungs: tuple[str, ...],
    seeds: tuple[int, ...],
    progress: Progress,
) -> Rehearsed:
    """Run a scenario file like ``harness run``.

    Raises:
        RehearsalError: whatever the scenario, the profiler or a rung says.
    """
    scenario = load_scenario(path)
    if seeds:
        scenario = replace(scenario, seeds=seeds)
    chosen = _rungs(scenario, rungs)
    load_request(scenario)
    versions, system = environment(checkout())
    manifest = Manifest(
        scenario=scenario.name,
        scenario_text=scenario.text,
        rungs=tuple(rung.value for rung in chosen),
        seeds=scenario.seeds,
        command_line=("harness", "serve"),
        rerun_line=f"harness run {path.name} --on {','.join(rung.value for rung in chosen)}",
        versions=versions,
        platform=system,
        started=utc_text(),
    )
    with RunFolder.create(runs_dir, manifest, now_text=utc_text) as folder:
        done = execute(scenario, folder, rungs=chosen, progress=progress)
    progress("report", 0, 1)
    write_report(done.folder)
    return Rehearsed(
        folder=done.folder.name,
        verdict=done.verdict.outcome.value,
        result={
            "reasons": list(done.verdict.reasons),
            "checks": [asdict(check) for check in done.verdict.checks],
            "rungs": _figures(done.folder),
        },
    )


def _rungs(scenario: Scenario, names: tuple[str, ...]) -> tuple[Rung, ...]:
    known = {rung.value: rung for rung in Rung}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError("unknown rung", path="rungs", value=unknown[0], allowed=", ".join(known))
    return tuple(known[name] for name in known if name in names) or scenario.rungs


def _figures(folder: Path) -> dict[str, Any]:
    run = load_run(folder)
    if run.setup is None:
        return {}
    sla = run.setup.plan.sla
    return {
        rung: {
            **asdict(summarise_runs([r.record.table for r in run.of_rung(rung)], sla)),
            "digests": {str(r.seed): r.record.digest for r in run.of_rung(rung)},
        }
        for rung in run.rungs()
    }
