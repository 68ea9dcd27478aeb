"""Runs every rung and seed of a scenario into one run folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from contracts.errors import InvariantError, RehearsalError
from harness.run.backends import CAPABILITIES, check_capabilities, check_rung, make_backend
from harness.run.facts import describe
from harness.run.judge import judge, judge_error, verdict_of
from harness.run.prepare import Prepared, dgdr_text, prepare
from harness.run.profiles import Profiles
from harness.run.sim import frozen
from harness.run.workload import Offered, realise
from harness.scenario import Rung, Scenario, TraceWorkload
from harness.store import Check, LoadedRun, RunFolder, RungRun, RunSetup, Verdict, load_run

Progress = Callable[[str, int, int], None]
Gate = Callable[[LoadedRun], Sequence[Check]]
REPLAY_FILE = "scenario.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """Where the results lie and what they say."""

    folder: Path
    verdict: Verdict


def execute(
    scenario: Scenario,
    folder: RunFolder,
    *,
    rungs: Sequence[Rung],
    progress: Progress,
    gate: Gate | None = None,
    profiles: Profiles | None = None,
) -> Execution:
    """Profile once, run each rung with each seed, judge; everything lands in ``folder``.

    Args:
        scenario: what to run.
        folder: an entered run folder.
        rungs: subset of the ladder, in order.
        progress: called with a phase, steps done and steps in all.
        gate: further checks on the results so far, for example against a baseline.
        profiles: profiles that were made before and may be used again.
    """
    _keep_inputs(scenario, folder, rungs)
    expected = scenario.expect.error
    if expected is None:
        verdict = _run(scenario, folder, rungs, progress, profiles)
    else:
        error: RehearsalError | None = None
        try:
            _run(scenario, folder, rungs, progress, profiles)
        except InvariantError:
            raise
        except RehearsalError as found:
            error = found
        verdict = judge_error(expected, error)
    if gate is not None and expected is None:
        verdict = verdict_of([*verdict.checks, *gate(load_run(folder.path))])
    folder.finish(verdict)
    return Execution(folder=folder.path, verdict=verdict)


def _run(
    scenario: Scenario,
    folder: RunFolder,
    rungs: Sequence[Rung],
    progress: Progress,
    profiles: Profiles | None,
) -> Verdict:
    check_capabilities(scenario, tuple(rungs))
    prepared = prepare(
        scenario,
        folder.path / "profile",
        progress=lambda phase, done, total: progress(f"profile: {phase}", done, total),
        profiles=profiles,
    )
    offers = {seed: _offered(prepared, seed) for seed in scenario.seeds}
    for rung in rungs:
        for offered in offers.values():
            check_rung(prepared, offered, rung)
    folder.write_setup(_setup(prepared))
    runs: list[RungRun] = []
    for rung in rungs:
        for seed in scenario.seeds:
            run = _run_seed(prepared, offers[seed], rung, seed, progress)
            folder.add_run(run)
            runs.append(run)
    return judge(
        runs,
        expect=scenario.expect,
        tolerance=scenario.tolerance,
        sla=prepared.plan.sla,
        plan=prepared.plan,
    )


def _offered(prepared: Prepared, seed: int) -> Offered:
    scenario = prepared.scenario
    return realise(
        scenario.workload, isl=prepared.isl, osl=prepared.osl, seed=seed, shifts=scenario.shifts
    )


def _run_seed(
    prepared: Prepared, offered: Offered, rung: Rung, seed: int, progress: Progress
) -> RungRun:
    if not CAPABILITIES[rung].reacts:
        offered = frozen(prepared, offered, seed)
    label = f"rung {rung.value}, seed {seed}"
    return make_backend(rung).run(
        prepared,
        offered,
        seed,
        lambda phase, done, total: progress(f"{label}: {phase}", done, total),
    )


def _keep_inputs(scenario: Scenario, folder: RunFolder, rungs: Sequence[Rung]) -> None:
    """Copy everything the run reads, so that the folder can be replayed on its own.

    ``inputs/scenario.yaml`` is the scenario as it runs: one cell, nothing included, with
    every path leading to a copy beside it.
    """
    deploy = scenario.deploy
    content = {"dgdr": dgdr_text(scenario).encode()}
    names = {"dgdr": "dgdr.yaml"}
    for key, name, path in (
        ("model_config", "config.json", deploy.model_config),
        ("gpu_file", "gpu.yaml", deploy.gpu_file),
        ("step_table", "steps.csv", deploy.step_table),
    ):
        if path is not None:
            content[key], names[key] = path.read_bytes(), name
    document = dict(scenario.document)
    kept = {key: value for key, value in document.get("deploy", {}).items() if key != "set"}
    document["deploy"] = kept | names
    if isinstance(scenario.workload, TraceWorkload):
        path = scenario.workload.path
        name = path.name if path.name not in names.values() else f"trace-{path.name}"
        content["trace"], names["trace"] = path.read_bytes(), name
        trace = {**document["workload"]["trace"], "path": name}
        document["workload"] = {"trace": trace}
    for key, name in names.items():
        folder.add_input(name, content[key])
    document["rungs"] = [rung.value for rung in rungs]
    document["seeds"] = list(scenario.seeds)
    document["mock"] = {"speed": scenario.mock.speed, "driver": scenario.mock.driver.value}
    document["kube"] = {"speed": scenario.kube.speed}
    document.pop("repeats", None)
    folder.add_input(REPLAY_FILE, yaml.safe_dump(document, sort_keys=False).encode())


def _setup(prepared: Prepared) -> RunSetup:
    return RunSetup(
        plan=prepared.plan,
        facts=describe(prepared),
        ttft_ratio_tolerance=prepared.scenario.tolerance.ttft_ratio,
        itl_ratio_tolerance=prepared.scenario.tolerance.itl_ratio,
    )
