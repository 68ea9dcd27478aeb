"""One run for the service: the cell of a scenario file, its folder and figures for the database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from contracts.errors import InputError
from harness.run import Profiles, rehearse, rungs_named, with_seeds
from harness.run.execute import Gate
from harness.run.prepare import load_request
from harness.scenario import Scenario, TraceWorkload, load_scenarios
from harness.store import load_run, summarise_runs
from harness.store.in_words import check_row

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a worker is told to run.

    Attributes:
        scenario: file of the job; everything it names lies in the same folder.
        runs_dir: where the run folder is created.
        cell: which combination of the matrix, from 0.
        baseline: file of a baseline beside the scenario to judge against.
    """

    scenario: str
    runs_dir: str
    rungs: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    cell: int = 0
    baseline: str = ""


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


def work(order: Order, profiles: Profiles, progress: Progress) -> Rehearsed:
    """Run what was ordered like ``harness run``, but leave the report to its first reader.

    Args:
        order: what to run.
        profiles: of earlier runs of this process.
        progress: called with a phase, steps done and steps in all.

    Raises:
        RehearsalError: whatever the scenario, the profiler or a rung says.
    """
    path = Path(order.scenario)
    scenario = with_seeds(_cell(path, order.cell), order.seeds, path="seeds")
    check_inside(scenario, path.parent)
    rungs = rungs_named(order.rungs, scenario, path="rungs")
    gate = _gate(path.parent / order.baseline) if order.baseline else None
    if scenario.expect.error is None:
        load_request(scenario)
    done = rehearse(
        scenario,
        Path(order.runs_dir),
        rungs=rungs,
        words=("harness", "run", path.name),
        progress=progress,
        gate=gate,
        profiles=profiles,
    )
    return Rehearsed(
        folder=done.folder.name,
        verdict=done.verdict.outcome.value,
        result={
            "reasons": list(done.verdict.reasons),
            "checks": [
                asdict(check) | {"words": asdict(check_row(check))} for check in done.verdict.checks
            ],
            "rungs": _figures(done.folder),
        },
    )


def check_inside(scenario: Scenario, folder: Path) -> None:
    """Refuse a scenario that reads files outside of its folder.

    Raises:
        InputError: names the file.
    """
    deploy = scenario.deploy
    found = [deploy.dgdr, deploy.model_config, deploy.gpu_file, deploy.step_table]
    if isinstance(scenario.workload, TraceWorkload):
        found.append(scenario.workload.path)
    for path in found:
        if path is not None and not path.resolve().is_relative_to(folder.resolve()):
            raise InputError(
                "leads out of the folder of the scenario; hand the file in with `files`",
                path="scenario",
                value=str(path),
            )


def _gate(baseline: Path) -> Gate:
    # Brings SciPy with it, which most workers never need.
    from harness.compare import baseline_gate  # noqa: PLC0415

    return baseline_gate(baseline)


def _cell(path: Path, cell: int) -> Scenario:
    scenarios = load_scenarios(path)
    if cell >= len(scenarios):
        raise InputError("has no such cell", path="matrix", value=str(cell))
    return scenarios[cell]


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
