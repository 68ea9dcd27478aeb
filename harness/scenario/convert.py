"""From the file format to frozen values, with the checks that span several keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from contracts.errors import CombinedInputError, InputError, UnsupportedError
from contracts.faults import LostRequestPolicy
from contracts.plan import Role, RouterPolicy
from harness.scenario import schema
from harness.scenario.fault_sections import to_fault
from harness.scenario.model import (
    DeploySettings,
    Expectations,
    MockSettings,
    PlannerSettings,
    Rung,
    Scenario,
    SyntheticWorkload,
    Tolerance,
    TraceFormat,
    TraceWorkload,
)
from harness.scenario.problems import render, unknown_text
from simcore.workload import (
    Arrivals,
    BurstArrivals,
    ConstantArrivals,
    GammaArrivals,
    Lengths,
    PoissonArrivals,
)

PLANNED_RUNGS = ("vmock", "kube")


def to_scenario(parsed: schema.ScenarioFile, path: Path, text: str, source: str) -> Scenario:
    """Convert once; afterwards nothing of the file format is left.

    Args:
        parsed: a file that already satisfies the schema.
        path: absolute path of the file; paths inside are relative to its folder.
        text: the file as read.
        source: its name in error messages.

    Raises:
        InputError: keys contradict each other, or a file does not exist.
        UnsupportedError: a rung of the design that is not available yet.
    """
    problems = list(_problems(parsed, path.parent))
    if problems:
        raise CombinedInputError([_in_file(problem, source) for problem in problems])
    _refuse_planned_rungs(parsed.rungs, source)
    return Scenario(
        name=parsed.name,
        description=parsed.description.strip(),
        source=path,
        text=text,
        deploy=_deploy(parsed.deploy, path.parent),
        workload=_workload(parsed.workload, path.parent),
        planner=_planner(parsed.planner),
        faults=tuple(to_fault(fault) for fault in parsed.faults),
        on_worker_lost=LostRequestPolicy(parsed.on_worker_lost),
        expect=Expectations(**parsed.expect.model_dump()),
        rungs=tuple(Rung(name) for name in parsed.rungs),
        mock=MockSettings(speed=float(parsed.mock.speed)),
        tolerance=Tolerance(**parsed.tolerance.model_dump()),
        seeds=tuple(parsed.seeds),
    )


def _in_file(problem: InputError, source: str) -> InputError:
    return InputError(
        problem.message,
        source=source,
        path=problem.path,
        value=problem.value,
        allowed=problem.allowed,
    )


def _refuse_planned_rungs(names: list[str], source: str) -> None:
    planned = [name for name in names if name in PLANNED_RUNGS]
    if planned:
        available = ", ".join(rung.value for rung in Rung)
        raise UnsupportedError(
            f"{source}: rungs: {', '.join(planned)} not available yet; available: {available}"
        )


def _problems(parsed: schema.ScenarioFile, folder: Path) -> Iterator[InputError]:
    yield from _rung_problems(parsed.rungs)
    yield from _workload_problems(parsed.workload)
    yield from _expect_problems(parsed)
    yield from _fault_problems(parsed)
    if len(set(parsed.seeds)) < len(parsed.seeds):
        yield InputError("a seed is given twice", path="seeds", value=render(parsed.seeds))
    yield from _file_problems(parsed, folder)


def _rung_problems(names: list[str]) -> Iterator[InputError]:
    known = [rung.value for rung in Rung]
    for index, name in enumerate(names):
        if name not in (*known, *PLANNED_RUNGS):
            yield InputError(
                f"unknown rung{unknown_text(name, known)}",
                path=f"rungs[{index}]",
                value=render(name),
                allowed=", ".join(known),
            )
    if len(set(names)) < len(names):
        yield InputError("a rung is given twice", path="rungs", value=render(names))


def _workload_problems(workload: schema.WorkloadSection) -> Iterator[InputError]:
    synthetic = workload.synthetic
    if (synthetic is None) == (workload.trace is None):
        yield InputError(
            "needs exactly one kind of traffic",
            path="workload",
            value="neither" if synthetic is None else "both",
            allowed="synthetic or trace",
        )
    if synthetic is None:
        return
    arrivals = synthetic.arrivals
    if isinstance(arrivals, schema.BurstSection):
        end_s = arrivals.start_s + arrivals.length_s
        if end_s > synthetic.duration_s:
            yield InputError(
                "the burst outlasts the workload",
                path="workload.synthetic.arrivals",
                value=f"{end_s:g} s",
                allowed=f"start_s + length_s at most {synthetic.duration_s:g} s",
            )
    for name, lengths in (("isl", synthetic.isl), ("osl", synthetic.osl)):
        if lengths is not None:
            yield from _length_problems(f"workload.synthetic.{name}", lengths)


def _length_problems(path: str, lengths: schema.LengthsSection) -> Iterator[InputError]:
    low = 1 if lengths.min is None else lengths.min
    high = lengths.mean if lengths.max is None else lengths.max
    if not low <= lengths.mean <= high:
        yield InputError(
            "the mean lies outside min and max",
            path=f"{path}.mean",
            value=f"{lengths.mean:g}",
            allowed=f"{low} to {high:g}",
        )


def _expect_problems(parsed: schema.ScenarioFile) -> Iterator[InputError]:
    expect = parsed.expect
    if all(value is None for value in expect.model_dump().values()):
        names = ", ".join(type(expect).model_fields)
        yield InputError("needs at least one expectation", path="expect", allowed=names)
    if expect.recovery_s_max is not None and not parsed.faults:
        yield InputError(
            "there is no fault to recover from",
            path="expect.recovery_s_max",
            value=f"{expect.recovery_s_max:g}",
        )


def _fault_problems(parsed: schema.ScenarioFile) -> Iterator[InputError]:
    synthetic = parsed.workload.synthetic
    for index, fault in enumerate(parsed.faults):
        if synthetic is not None and fault.at_s >= synthetic.duration_s:
            yield InputError(
                "the fault strikes after the end of the workload",
                path=f"faults[{index}].at_s",
                value=f"{fault.at_s:g}",
                allowed=f"below {synthetic.duration_s:g}",
            )


def _file_problems(parsed: schema.ScenarioFile, folder: Path) -> Iterator[InputError]:
    files = [("deploy.dgdr", parsed.deploy.dgdr)]
    if parsed.deploy.model_config_file is not None:
        files.append(("deploy.model_config", parsed.deploy.model_config_file))
    if parsed.deploy.gpu_file is not None:
        files.append(("deploy.gpu_file", parsed.deploy.gpu_file))
    if parsed.deploy.step_table is not None:
        files.append(("deploy.step_table", parsed.deploy.step_table))
    if parsed.workload.trace is not None:
        files.append(("workload.trace.path", parsed.workload.trace.path))
    for path, name in files:
        target = (folder / name).resolve()
        if not target.is_file():
            yield InputError(f"no such file: {target}", path=path, value=render(name))


def _deploy(section: schema.DeploySection, folder: Path) -> DeploySettings:
    config = section.model_config_file
    return DeploySettings(
        dgdr=(folder / section.dgdr).resolve(),
        model_config=None if config is None else (folder / config).resolve(),
        gpu_file=None if section.gpu_file is None else (folder / section.gpu_file).resolve(),
        step_table=None if section.step_table is None else (folder / section.step_table).resolve(),
        startup_s=float(section.startup_s),
        router=RouterPolicy(section.router),
    )


def _workload(section: schema.WorkloadSection, folder: Path) -> SyntheticWorkload | TraceWorkload:
    if section.trace is not None:
        trace = section.trace
        return TraceWorkload(
            path=(folder / trace.path).resolve(),
            format=TraceFormat(trace.format),
            limit=trace.limit,
            speed=float(trace.speed),
        )
    synthetic = section.synthetic
    assert synthetic is not None  # _workload_problems refused it otherwise
    return SyntheticWorkload(
        duration_s=float(synthetic.duration_s),
        arrivals=_arrivals(synthetic.arrivals),
        isl=_lengths(synthetic.isl),
        osl=_lengths(synthetic.osl),
    )


def _arrivals(section: schema.ArrivalsSection) -> Arrivals:
    if isinstance(section, schema.PoissonSection):
        return PoissonArrivals(rate_per_s=float(section.rate_per_s))
    if isinstance(section, schema.GammaSection):
        return GammaArrivals(rate_per_s=float(section.rate_per_s), gap_cv=float(section.cv))
    if isinstance(section, schema.ConstantSection):
        return ConstantArrivals(rate_per_s=float(section.rate_per_s))
    return BurstArrivals(
        base_rate_per_s=float(section.base_rate_per_s),
        peak_rate_per_s=float(section.peak_rate_per_s),
        start_s=float(section.start_s),
        length_s=float(section.length_s),
    )


def _lengths(section: schema.LengthsSection | None) -> Lengths | None:
    if section is None:
        return None
    return Lengths(
        mean=float(section.mean),
        cv=float(section.cv),
        min_tokens=1 if section.min is None else section.min,
        max_tokens=section.max,
    )


def _planner(section: schema.PlannerSection) -> PlannerSettings:
    replicas = section.initial_replicas.model_dump(exclude_none=True)
    return PlannerSettings(
        enabled=section.enabled,
        interval_s=float(section.interval_s),
        scale_down_hold_s=float(section.scale_down_hold_s),
        initial_replicas={Role(name): count for name, count in replicas.items()},
    )
