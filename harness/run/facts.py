"""Describes a prepared scenario in lines for people."""

from __future__ import annotations

from contracts.plan import DisaggPlan
from harness.run.prepare import Prepared


def describe(prepared: Prepared) -> dict[str, str]:
    """What the report cannot read off the plan itself, by label."""
    plan, scenario = prepared.plan, prepared.scenario
    timer = prepared.timer_for(plan.topology.pools[0].engine)
    facts = {
        "Scenario": scenario.description or scenario.name,
        "DGDR": scenario.deploy.dgdr.name,
        "Picked": prepared.profile.picked,
        "Step times": (
            f"{prepared.step_times.partition(':')[0]}, {timer.evidence.value}, "
            f"expected error of a step {timer.error_ratio:.0%}"
        ),
    }
    if prepared.profile.sla_note:
        facts["Profiler"] = prepared.profile.sla_note
    if scenario.deploy.topology is not None:
        facts["Topology"] = f"{plan.topology.kind}, as the scenario asks"
    if isinstance(plan.topology, DisaggPlan):
        link = plan.topology.link
        facts["KV link"] = f"{link.gbytes_per_s:g} GB/s, {link.latency_us:g} us"
    return facts
