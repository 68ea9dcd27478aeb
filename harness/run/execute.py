"""Runs every rung and seed of a scenario into one run folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.run.backends import check_capabilities, make_backend
from harness.run.facts import describe
from harness.run.judge import judge
from harness.run.prepare import Prepared, prepare
from harness.run.workload import realise
from harness.scenario import Rung, Scenario, TraceWorkload
from harness.store import RunFolder, RungRun, RunSetup, Verdict

Progress = Callable[[str, int, int], None]


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
) -> Execution:
    """Profile once, run each rung with each seed, judge; everything lands in ``folder``.

    Args:
        scenario: what to run.
        folder: an entered run folder.
        rungs: subset of the ladder, in order.
        progress: called with a phase, steps done and steps in all.
    """
    check_capabilities(scenario, tuple(rungs))
    _keep_inputs(scenario, folder)
    prepared = prepare(
        scenario,
        folder.path / "profile",
        progress=lambda phase, done, total: progress(f"profile: {phase}", done, total),
    )
    folder.write_setup(_setup(prepared))
    runs: list[RungRun] = []
    for rung in rungs:
        backend = make_backend(rung)
        for seed in scenario.seeds:
            workload = realise(scenario.workload, isl=prepared.isl, osl=prepared.osl, seed=seed)
            label = f"rung {rung.value}, seed {seed}"
            run = backend.run(
                prepared,
                workload,
                seed,
                lambda phase, done, total, label=label: progress(f"{label}: {phase}", done, total),  # type: ignore[misc]
            )
            folder.add_run(run)
            runs.append(run)
    verdict = judge(
        runs, expect=scenario.expect, tolerance=scenario.tolerance, sla=prepared.plan.sla
    )
    folder.finish(verdict)
    return Execution(folder=folder.path, verdict=verdict)


def _keep_inputs(scenario: Scenario, folder: RunFolder) -> None:
    """Copy everything the run reads, so that the folder can be replayed on its own."""
    folder.add_input("dgdr.yaml", scenario.deploy.dgdr.read_bytes())
    if scenario.deploy.model_config is not None:
        folder.add_input("config.json", scenario.deploy.model_config.read_bytes())
    if scenario.deploy.gpu_file is not None:
        folder.add_input("gpu.yaml", scenario.deploy.gpu_file.read_bytes())
    if scenario.deploy.step_table is not None:
        folder.add_input("steps.csv", scenario.deploy.step_table.read_bytes())
    if isinstance(scenario.workload, TraceWorkload):
        path = scenario.workload.path
        folder.add_input(path.name, path.read_bytes())


def _setup(prepared: Prepared) -> RunSetup:
    return RunSetup(
        plan=prepared.plan,
        facts=describe(prepared),
        ttft_ratio_tolerance=prepared.scenario.tolerance.ttft_ratio,
        itl_ratio_tolerance=prepared.scenario.tolerance.itl_ratio,
    )
