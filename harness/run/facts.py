"""Describes a scenario and its deployment in lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from contracts.plan import DisaggPlan
from harness.run.prepare import Prepared
from harness.scenario import Rung, Scenario, SyntheticWorkload, TraceWorkload


def describe(prepared: Prepared) -> dict[str, str]:
    """What the report cannot read off the plan itself, by label."""
    plan = prepared.plan
    timer = prepared.timer_for(plan.topology.pools[0].engine)
    facts = {
        "DGDR": prepared.scenario.deploy.dgdr.name,
        "Picked": prepared.profile.picked,
        "Step times": (
            f"{prepared.step_times.partition(':')[0]}, {timer.evidence.value}, "
            f"expected error of a step {timer.error_ratio:.0%}"
        ),
    }
    if prepared.profile.sla_note:
        facts["Profiler"] = prepared.profile.sla_note
    if isinstance(plan.topology, DisaggPlan):
        link = plan.topology.link
        facts["KV link"] = f"{link.gbytes_per_s:g} GB/s, {link.latency_us:g} us"
    return facts


def plan_lines(scenario: Scenario, rungs: Sequence[Rung]) -> Iterator[str]:
    """Everything that a run would do, before anything is done."""
    yield f"scenario   {scenario.name} ({scenario.source})"
    yield f"dgdr       {scenario.deploy.dgdr}"
    yield f"profile    rapid search, seed {scenario.seeds[0]}"
    yield f"workload   {_workload(scenario.workload)}"
    planner = scenario.planner
    yield (
        f"planner    every {planner.interval_s:g} s, workers start in "
        f"{scenario.deploy.startup_s:g} s"
        if planner.enabled
        else "planner    off"
    )
    for fault in scenario.faults:
        role = getattr(fault, "role", None)
        victim = f" of {role.value}" if role is not None else ""
        yield f"fault      {fault.kind}{victim} at {fault.at_s:g} s"
    for rung in rungs:
        speed = f" at speed {scenario.mock.speed:g}" if rung is Rung.MOCK else ""
        seeds = ", ".join(str(seed) for seed in scenario.seeds)
        yield f"run        rung {rung.value}{speed}, seeds {seeds}"
    expect = scenario.expect
    for name in expect.__dataclass_fields__:
        asked = getattr(expect, name)
        if asked is not None:
            yield f"expect     {name} {asked:g}"
    if len(rungs) > 1:
        for metric in ("ttft", "itl"):
            allowed = getattr(scenario.tolerance, f"{metric}_ratio")
            if allowed is not None:
                yield f"expect     median {metric} of the rungs within {allowed:.0%}"


def _workload(workload: SyntheticWorkload | TraceWorkload) -> str:
    if isinstance(workload, TraceWorkload):
        limit = "all requests" if workload.limit is None else f"{workload.limit} requests"
        return f"{workload.format.value} trace {workload.path}, {limit}, speed {workload.speed:g}"
    kind = type(workload.arrivals).__name__.removesuffix("Arrivals").lower()
    return f"{kind} arrivals for {workload.duration_s:g} s"
