"""Every scenario of the library passes its own expectations on rung sim."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contracts.workload import Workload
from harness.explore import Trial
from harness.run.prepare import prepare
from harness.run.sim import SimBackend, frozen
from harness.run.workload import realise
from harness.scenario import Scenario, load_scenarios, scenario_from
from harness.store import Outcome

LIBRARY = Path(__file__).parents[3] / "scenarios"
CELLS = [each for path in sorted(LIBRARY.glob("*.yaml")) for each in load_scenarios(path)]


@pytest.mark.slow
@pytest.mark.parametrize("scenario", CELLS, ids=lambda each: each.name)
def test_it_passes_on_sim(scenario: Scenario) -> None:
    result = Trial().run(scenario)
    assert result.error == ""
    assert result.verdict is not None
    assert result.verdict.outcome is Outcome.PASS, result.verdict.reasons
    assert result.verdict.checks


@pytest.mark.slow
@pytest.mark.parametrize("name", ["agentic", "benchmark-loop"])
def test_traffic_that_waits_is_sent_alike_by_rungs_that_do_not(name: str, tmp_path: Path) -> None:
    scenario = load_scenarios(LIBRARY / f"{name}.yaml")[0]
    prepared = prepare(scenario, tmp_path)
    offered = realise(scenario.workload, isl=prepared.isl, osl=prepared.osl, seed=1)
    assert not isinstance(offered.traffic, Workload)
    assert offered.requests is None or offered.requests > 50
    plain = frozen(prepared, offered, 1)
    assert isinstance(plain.traffic, Workload)
    reacting = SimBackend().run(prepared, offered, 1, lambda *_: None).record.table
    alike = SimBackend().run(prepared, plain, 1, lambda *_: None).record.table
    assert np.array_equal(reacting.arrival_ns, alike.arrival_ns)
    assert np.array_equal(reacting.isl, alike.isl)
    assert np.array_equal(reacting.finish_ns, alike.finish_ns)
    assert frozen(prepared, plain, 1) is plain


@pytest.mark.slow
def test_a_condition_that_never_holds_is_an_error() -> None:
    document = dict(load_scenarios(LIBRARY / "network-partition.yaml")[0].document)
    document["faults"] = [{"kind": "worker_crash", "role": "agg", "after": "pool.agg.ready == 9"}]
    result = Trial().run(scenario_from(document, LIBRARY / "x.yaml"))
    assert "the condition never held" in result.error
