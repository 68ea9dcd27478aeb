"""Everything that a run would do, before anything is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from contracts.errors import UnsupportedError
from contracts.workload import SessionPlan, Workload
from dgdr import Dgdr
from harness.run.backends import CAPABILITIES, check_capabilities, check_traffic
from harness.run.exact import EXACT
from harness.run.prepare import load_request
from harness.run.workload import ClosedLoop, Offered, realise
from harness.scenario import (
    DisaggTopology,
    Expectations,
    LoadDriver,
    Rung,
    Scenario,
)

_FILES = ("manifest.json", "inputs/", "profile/", "setup.json", "runs.json", "requests.parquet",
          "ticks.parquet", "workers.parquet", "token_gaps.parquet", "digests.json",
          "verdict.json", "report.html")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RungPlan:
    """What happens on one rung.

    Attributes:
        refused: why the rung cannot do it; empty when it can.
        steps: in the order in which they happen.
    """

    rung: str
    refused: str
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What a run of one scenario would do.

    Attributes:
        first: what happens before any rung, by label.
        expects: every expectation in words.
        files: what the run folder will hold.
    """

    scenario: str
    description: str
    first: dict[str, str]
    rungs: tuple[RungPlan, ...]
    expects: tuple[str, ...]
    files: tuple[str, ...] = field(default=_FILES)

    @property
    def refused(self) -> str:
        """Why the run cannot start; empty when it can."""
        return "; ".join(rung.refused for rung in self.rungs if rung.refused)


def plan_run(scenario: Scenario, rungs: Sequence[Rung]) -> RunPlan:
    """Work out what a run would do; reads files and draws the traffic, creates nothing.

    Raises:
        InputError: the DGDR or the traffic is wrong.
    """
    dgdr = load_request(scenario)
    return RunPlan(
        scenario=scenario.name,
        description=scenario.description,
        first=_first(scenario, dgdr),
        rungs=tuple(_rung(scenario, dgdr, rung) for rung in rungs),
        expects=tuple(_expects(scenario, rungs)),
    )


def plan_lines(plan: RunPlan) -> Iterator[str]:
    """The plan for people."""
    yield f"scenario   {plan.scenario}"
    for label, text in plan.first.items():
        yield f"{label:<10} {text}"
    for rung in plan.rungs:
        yield f"rung       {rung.rung}{f': REFUSED, {rung.refused}' if rung.refused else ''}"
        for step in rung.steps:
            yield f"           {step}"
    for text in plan.expects:
        yield f"expect     {text}"
    yield f"writes     a run folder with {', '.join(plan.files)}"


def _first(scenario: Scenario, dgdr: Dgdr) -> dict[str, str]:
    deploy, spec = scenario.deploy, dgdr.spec
    lines = {"file": str(scenario.source), "dgdr": str(deploy.dgdr)}
    if deploy.dgdr_set:
        lines["dgdr set"] = ", ".join(f"{key} = {value}" for key, value in deploy.dgdr_set.items())
    gpu = spec.hardware.gpu_sku.value if spec.hardware.gpu_sku else "its GPU file"
    lines["profile"] = f"rapid search of {spec.model} on {gpu}, seed {scenario.seeds[0]}"
    topology = deploy.topology
    if isinstance(topology, DisaggTopology):
        lines["topology"] = (
            f"{topology.prefill} prefill and {topology.decode} decode workers of the picked "
            f"engines, {topology.link} between them"
        )
    elif topology is not None:
        lines["topology"] = f"{topology.replicas} workers of the picked engine"
    lines["router"] = deploy.router.value
    planner = scenario.planner
    lines["planner"] = "off"
    if planner.enabled:
        changed = "".join(f", {key} = {value}" for key, value in planner.overrides.items())
        lines["planner"] = (
            f"every {planner.interval_s:g} s, workers start in {deploy.startup_s:g} s{changed}"
        )
    return lines


def _rung(scenario: Scenario, dgdr: Dgdr, rung: Rung) -> RungPlan:
    refused = ""
    try:
        check_capabilities(scenario, (rung,))
    except UnsupportedError as error:
        refused = str(error)
    steps = []
    if rung is Rung.MOCK:
        steps.append(
            f"starts one mocker process a seed on an ephemeral port of 127.0.0.1, at speed "
            f"{scenario.mock.speed:g}"
        )
        if scenario.mock.driver is LoadDriver.AIPERF:
            steps.append("AIPerf sends the requests, after about 10 s to start")
    elif rung is Rung.VMOCK:
        steps.append("serves the mocker in this process, in virtual time")
    elif rung is Rung.KUBE:
        steps += _kube_steps(scenario, dgdr)
    for seed in scenario.seeds:
        offered = realise(
            scenario.workload,
            isl=dgdr.spec.workload.isl,
            osl=dgdr.spec.workload.osl,
            seed=seed,
            shifts=scenario.shifts,
        )
        try:
            check_traffic(offered, rung)
        except UnsupportedError as error:
            refused = refused or str(error)
        wall = _wall_s(offered, scenario, rung)
        took = "" if wall is None else f", about {wall:.0f} s of real time"
        steps.append(f"seed {seed}: {_traffic(offered, rung)}{took}")
    steps += _fault_steps(scenario)
    return RungPlan(rung=rung.value, refused=refused, steps=tuple(steps))


def _wall_s(offered: Offered, scenario: Scenario, rung: Rung) -> float | None:
    """Seconds that the load takes on a wall clock; ``None`` in virtual time."""
    speeds = {Rung.MOCK: scenario.mock.speed, Rung.KUBE: scenario.kube.speed}
    return offered.until_s / speeds[rung] if rung in speeds else None


def _kube_steps(scenario: Scenario, dgdr: Dgdr) -> list[str]:
    given = scenario.kube.kubeconfig
    where = "starts the embedded cluster" if given is None else f"uses the cluster of {given}"
    return [
        f"{where}, a namespace and the operator for each seed",
        f"applies {dgdr.metadata.name}, waits for {dgdr.dgd_name} to be Deployed, sends the load "
        f"to its frontend at speed {scenario.kube.speed:g}, deletes everything",
    ]


def _traffic(offered: Offered, rung: Rung) -> str:
    traffic = offered.traffic
    late = "" if CAPABILITIES[rung].reacts else ", sent when a simulation sends them"
    match traffic:
        case Workload():
            tokens = f"{int(traffic.isl.sum()):,} prompt and {int(traffic.osl.sum()):,} output"
            text = f"{len(traffic):,} requests within {offered.until_s:g} s, {tokens} tokens"
            return f"{text} ({traffic.source})"
        case SessionPlan():
            return (
                f"{len(traffic):,} conversations with {traffic.turns:,} turns that start within "
                f"{offered.until_s:g} s{late}"
            )
        case ClosedLoop():
            return f"{traffic.concurrency} requests in flight for {offered.until_s:g} s{late}"


def _fault_steps(scenario: Scenario) -> Iterator[str]:
    timed = [(fault.at_s, fault) for fault in scenario.faults]
    timed += [(fault.at_s, fault) for fault in scenario.control_faults]  # type: ignore[misc]
    timed += [(shift.at_s, shift) for shift in scenario.shifts]  # type: ignore[misc]
    for at_s, fault in sorted(timed, key=lambda pair: pair[0]):
        yield f"at {at_s:g} s: fault {fault.kind}{_details(fault)}"
    for trigger in scenario.triggers:
        fault, after = trigger.fault, trigger.after.text
        yield f"once {after}, from {fault.at_s:g} s on: fault {fault.kind}{_details(fault)}"


def _details(fault: object) -> str:
    hidden = ("at_s", "kind")
    values = {
        name: getattr(fault, name)
        for name in getattr(fault, "__dataclass_fields__", ())
        if name not in hidden
    }
    text = ", ".join(
        f"{name} {getattr(value, 'value', value)}"
        for name, value in values.items()
        if value is not None
    )
    return f" ({text})" if text else ""


def _expects(scenario: Scenario, rungs: Sequence[Rung]) -> Iterator[str]:
    yield from _expectation_lines(scenario.expect)
    pairs = {(left.value, right.value) for left, right in pairwise(rungs)}
    for left, right in sorted(pairs & EXACT):
        yield f"no difference at all between {left} and {right}"
    if pairs - EXACT:
        tolerance = scenario.tolerance
        for metric in ("ttft", "itl"):
            allowed = getattr(tolerance, f"{metric}_ratio")
            if allowed is not None:
                yield f"median {metric} of neighbouring rungs within {allowed:.0%}"
        if tolerance.attainment_abs is not None:
            yield f"attainment of neighbouring rungs within {tolerance.attainment_abs:g}"


def _expectation_lines(expect: Expectations) -> Iterator[str]:
    for name, asked in expect.asked().items():
        yield f"{name} {asked:g}"
    for name in ("recovery_s_max", "gpu_hours_max"):
        asked = getattr(expect, name)
        if asked is not None:
            yield f"{name} {asked:g}"
    for window in expect.windows:
        for name, asked in window.asked().items():
            yield f"{name} {asked:g}, {window.label}"
    for condition in expect.sometimes:
        yield f"sometimes {condition.text}"
    for condition in expect.never:
        yield f"never {condition.text}"
    if expect.error is not None:
        yield f"a refusal of kind {expect.error.kind.value} that says {expect.error.contains!r}"
