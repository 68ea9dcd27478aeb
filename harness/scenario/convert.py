"""From the file format to frozen values, with the checks that span several keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from contracts.errors import CombinedInputError, InputError
from contracts.faults import LostRequestPolicy
from contracts.plan import Role, RouterPolicy
from harness.scenario import schema
from harness.scenario.condition import TRIGGER_FIGURES, parse_condition
from harness.scenario.control_faults import (
    ApiErrors,
    ClockSkew,
    MetricsGap,
    StaleMetrics,
    TrafficShift,
)
from harness.scenario.convert_expect import expect_problems, to_expectations
from harness.scenario.convert_workload import to_workload, workload_problems
from harness.scenario.expectations import Tolerance
from harness.scenario.fault_sections import CLUSTER_FAULTS, AnyFault, to_fault
from harness.scenario.model import (
    AggTopology,
    DeploySettings,
    DisaggTopology,
    KubeSettings,
    LoadDriver,
    MockSettings,
    PlannerSettings,
    Rung,
    Scenario,
    Trigger,
)
from harness.scenario.problems import render, unknown_text

_CONTROL = (MetricsGap, StaleMetrics, ClockSkew, ApiErrors)


def to_scenario(
    parsed: schema.ScenarioFile, path: Path, text: str, source: str, document: Mapping[str, Any]
) -> Scenario:
    """Convert once; afterwards nothing of the file format is left.

    Args:
        parsed: a file that already satisfies the schema.
        path: absolute path of the file; paths inside are relative to its folder.
        text: the file as read.
        source: its name in error messages.
        document: what was parsed, for run folders and for commands that change it.

    Raises:
        InputError: keys contradict each other, or a file does not exist.
    """
    problems = list(_problems(parsed, path.parent))
    if problems:
        raise CombinedInputError([in_file(problem, source) for problem in problems])
    faults = [to_fault(section) for section in parsed.faults]
    return Scenario(
        name=parsed.name,
        description=parsed.description.strip(),
        source=path,
        text=text,
        deploy=_deploy(parsed.deploy, path.parent),
        workload=to_workload(parsed.workload, path.parent),
        planner=_planner(parsed.planner),
        faults=tuple(
            fault
            for section, fault in zip(parsed.faults, faults, strict=True)
            if section.after is None and not isinstance(fault, (*_CONTROL, TrafficShift))
        ),
        triggers=tuple(_triggers(parsed, faults)),
        control_faults=tuple(fault for fault in faults if isinstance(fault, _CONTROL)),
        shifts=tuple(fault for fault in faults if isinstance(fault, TrafficShift)),
        on_worker_lost=LostRequestPolicy(parsed.on_worker_lost),
        expect=to_expectations(parsed.expect),
        rungs=tuple(Rung(name) for name in parsed.rungs),
        mock=MockSettings(speed=float(parsed.mock.speed), driver=LoadDriver(parsed.mock.driver)),
        kube=KubeSettings(speed=float(parsed.kube.speed)),
        tolerance=Tolerance(**parsed.tolerance.model_dump()),
        seeds=tuple(seed + n for seed in parsed.seeds for n in range(parsed.repeats)),
        document=document,
    )


def in_file(problem: InputError, source: str) -> InputError:
    """The same finding with the name of the file."""
    return InputError(
        problem.message,
        source=source,
        path=problem.path,
        value=problem.value,
        allowed=problem.allowed,
    )


def _triggers(parsed: schema.ScenarioFile, faults: list[AnyFault]) -> Iterator[Trigger]:
    for index, (section, fault) in enumerate(zip(parsed.faults, faults, strict=True)):
        if section.after is not None and not isinstance(fault, (*_CONTROL, TrafficShift)):
            condition = parse_condition(
                section.after, path=f"faults[{index}].after", known=TRIGGER_FIGURES
            )
            yield Trigger(fault=fault, after=condition)


def _problems(parsed: schema.ScenarioFile, folder: Path) -> Iterator[InputError]:
    yield from _rung_problems(parsed.rungs)
    yield from workload_problems(parsed.workload)
    yield from expect_problems(parsed)
    yield from _fault_problems(parsed)
    seeds = {seed + n for seed in parsed.seeds for n in range(parsed.repeats)}
    if len(seeds) < len(parsed.seeds) * parsed.repeats:
        yield InputError("a seed is given twice", path="seeds", value=render(parsed.seeds))
    yield from _file_problems(parsed, folder)


def _rung_problems(names: list[str]) -> Iterator[InputError]:
    known = [rung.value for rung in Rung]
    for index, name in enumerate(names):
        if name not in known:
            yield InputError(
                f"unknown rung{unknown_text(name, known)}",
                path=f"rungs[{index}]",
                value=render(name),
                allowed=", ".join(known),
            )
    if len(set(names)) < len(names):
        yield InputError("a rung is given twice", path="rungs", value=render(names))


def _fault_problems(parsed: schema.ScenarioFile) -> Iterator[InputError]:
    workload = parsed.workload
    timed = workload.synthetic or workload.closed_loop
    for index, fault in enumerate(parsed.faults):
        path = f"faults[{index}]"
        if timed is not None and fault.at_s >= timed.duration_s:
            yield InputError(
                "the fault strikes after the end of the workload",
                path=f"{path}.at_s",
                value=f"{fault.at_s:g}",
                allowed=f"below {timed.duration_s:g}",
            )
        yield from _condition_problems(fault, path)
        control = fault.kind not in (*CLUSTER_FAULTS, "traffic_shift")
        if control and not parsed.planner.enabled:
            yield InputError(
                "there is no planner that it could hit", path=f"{path}.kind", value=fault.kind
            )
        reacts = workload.sessions is not None or workload.closed_loop is not None
        if fault.kind == "traffic_shift" and reacts:
            yield InputError(
                "needs traffic that does not wait for answers", path=path, value=fault.kind
            )


def _condition_problems(fault: Any, path: str) -> Iterator[InputError]:  # noqa: ANN401 - a union
    if fault.after is None:
        if "at_s" not in fault.model_fields_set:
            yield InputError("needs at_s or after", path=path, value=fault.kind)
        return
    if fault.kind not in CLUSTER_FAULTS:
        yield InputError(
            "only faults of the cluster can wait for a condition",
            path=f"{path}.after",
            value=fault.kind,
            allowed=", ".join(CLUSTER_FAULTS),
        )
    try:
        parse_condition(fault.after, path=f"{path}.after", known=TRIGGER_FIGURES)
    except InputError as error:
        yield error


def _file_problems(parsed: schema.ScenarioFile, folder: Path) -> Iterator[InputError]:
    deploy, trace = parsed.deploy, parsed.workload.trace
    files = {
        "deploy.dgdr": deploy.dgdr,
        "deploy.model_config": deploy.model_config_file,
        "deploy.gpu_file": deploy.gpu_file,
        "deploy.step_table": deploy.step_table,
        "workload.trace.path": None if trace is None else trace.path,
    }
    for path, name in files.items():
        target = None if name is None else (folder / name).resolve()
        if target is not None and not target.is_file():
            yield InputError(f"no such file: {target}", path=path, value=render(name))


def _deploy(section: schema.DeploySection, folder: Path) -> DeploySettings:
    def file(name: str | None) -> Path | None:
        return None if name is None else (folder / name).resolve()

    topology: AggTopology | DisaggTopology | None = None
    if isinstance(section.topology, schema.AggSection):
        topology = AggTopology(replicas=section.topology.replicas)
    elif section.topology is not None:
        wish = section.topology
        topology = DisaggTopology(prefill=wish.prefill, decode=wish.decode, link=wish.link)
    return DeploySettings(
        dgdr=(folder / section.dgdr).resolve(),
        model_config=file(section.model_config_file),
        gpu_file=file(section.gpu_file),
        step_table=file(section.step_table),
        startup_s=float(section.startup_s),
        router=RouterPolicy(section.router),
        dgdr_set=dict(section.set),
        topology=topology,
    )


def _planner(section: schema.PlannerSection) -> PlannerSettings:
    replicas = section.initial_replicas.model_dump(exclude_none=True)
    return PlannerSettings(
        enabled=section.enabled,
        interval_s=float(section.interval_s),
        scale_down_hold_s=float(section.scale_down_hold_s),
        initial_replicas={Role(name): count for name, count in replicas.items()},
        overrides=dict(section.set),
    )
