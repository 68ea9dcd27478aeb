"""One scenario from what was asked for to a judged run folder; command line and service use it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from contracts.errors import InputError
from harness.run.execute import Execution, Gate, Progress, execute
from harness.run.profiles import Profiles
from harness.scenario import Rung, Scenario
from harness.settings import checkout, command_line, utc_text
from harness.store import Manifest, RunFolder, environment


def rungs_named(names: Sequence[str], scenario: Scenario, *, path: str) -> tuple[Rung, ...]:
    """The rungs of these names in the order of the ladder; those of the scenario without names.

    Args:
        names: as they were typed.
        scenario: whose rungs count without names.
        path: where they were typed, for errors.

    Raises:
        InputError: an unknown or repeated name.
    """
    if not names:
        return scenario.rungs
    known = {rung.value: rung for rung in Rung}
    unknown = [name for name in names if name not in known]
    if unknown or len(set(names)) < len(names):
        raise InputError(
            "unknown or repeated rung", path=path, value=",".join(names), allowed=", ".join(known)
        )
    return tuple(rung for rung in Rung if rung.value in names)


def with_seeds(scenario: Scenario, seeds: Sequence[int], *, path: str) -> Scenario:
    """The scenario with other seeds; unchanged without seeds.

    Raises:
        InputError: seeds that repeat or are negative.
    """
    if not seeds:
        return scenario
    if min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise InputError("seeds must differ and not be negative", path=path, value=str(list(seeds)))
    return replace(scenario, seeds=tuple(seeds))


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


def rehearse(  # noqa: PLR0913  # the last two have defaults
    scenario: Scenario,
    runs_dir: Path,
    *,
    rungs: Sequence[Rung],
    words: Sequence[str],
    progress: Progress,
    gate: Gate | None = None,
    profiles: Profiles | None = None,
) -> Execution:
    """Run one scenario into a new run folder and judge it; the report is the caller's.

    Args:
        scenario: one cell, with the seeds that are to run.
        runs_dir: where the folder is created.
        rungs: subset of the ladder, in order.
        words: command that repeats the run, without its rungs: ``harness run FILE ...``.
        progress: called with a phase, steps done and steps in all.
        gate: further checks on the results, for example against a baseline.
        profiles: profiles that were made before and may be used again.

    Raises:
        RehearsalError: whatever the scenario, the profiler or a rung says.
    """
    rerun = [*words[:3], "--on", ",".join(rung.value for rung in rungs), *words[3:]]
    manifest = new_manifest(scenario, rungs, rerun)
    with RunFolder.create(runs_dir, manifest, now_text=utc_text) as folder:
        return execute(
            scenario, folder, rungs=rungs, progress=progress, gate=gate, profiles=profiles
        )
