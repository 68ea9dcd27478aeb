"""What rung vmock cannot send is refused by the plan, before anything starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contracts.errors import UnsupportedError
from contracts.workload import PromptText, Workload
from harness.run.plan import plan_run
from harness.run.vmock import refuse_unsent
from harness.scenario import Rung, load_scenarios

SCENARIOS = Path(__file__).parents[2] / "scenarios"
PLAIN = Workload(
    arrival_ns=np.array([0, 1]), isl=np.array([8, 8]), osl=np.array([2, 2]), source="test"
)


@pytest.mark.parametrize(
    ("workload", "missing"),
    [
        (replace(PLAIN, texts=(None, PromptText((1,), (8,)))), "prompts that share text"),
        (replace(PLAIN, priority=np.array([0, 1])), "priorities"),
        (replace(PLAIN, adapters=("", "a")), "LoRA adapters"),
        (replace(PLAIN, timeout_ns=5), "clients that give up"),
    ],
)
def test_what_the_load_generator_does_not_send_is_named(workload: Workload, missing: str) -> None:
    with pytest.raises(UnsupportedError, match=f"vmock does not support {missing}"):
        refuse_unsent(workload)


def test_columns_without_content_are_no_obstacle() -> None:
    empty = replace(PLAIN, texts=(None, None), priority=np.zeros(2, dtype=int), adapters=("", ""))
    refuse_unsent(empty)
    with pytest.raises(UnsupportedError, match="adapters"):
        refuse_unsent(replace(empty, adapters=("", "a")))


@pytest.mark.parametrize("name", ["mixed-tenants", "prefix-chat"])
def test_the_plan_says_so(name: str) -> None:
    plan = plan_run(load_scenarios(SCENARIOS / f"{name}.yaml")[0], (Rung.SIM, Rung.VMOCK))
    sim, vmock = plan.rungs
    assert sim.refused == ""
    assert "rung vmock does not support" in vmock.refused


def test_the_plan_promises_that_nothing_differs() -> None:
    scenario = load_scenarios(SCENARIOS / "quickstart.yaml")[0]
    plan = plan_run(scenario, (Rung.SIM, Rung.VMOCK, Rung.MOCK))
    assert plan.refused == ""
    assert "no difference at all between sim and vmock" in plan.expects
    assert any(text.startswith("median ttft") for text in plan.expects)
    alone = plan_run(scenario, (Rung.SIM, Rung.VMOCK))
    assert not any(text.startswith("median ttft") for text in alone.expects)
