"""Every scenario of the library passes its own expectations on rung sim."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.explore import Trial
from harness.scenario import Scenario, load_scenarios
from harness.store import Outcome

LIBRARY = Path(__file__).parents[3] / "scenarios"
CELLS = [each for path in sorted(LIBRARY.glob("*.yaml")) for each in load_scenarios(path)]


@pytest.mark.slow
@pytest.mark.parametrize("scenario", CELLS, ids=lambda scenario: scenario.name)
def test_it_passes_on_sim(scenario: Scenario) -> None:
    result = Trial().run(scenario)
    assert result.error == ""
    assert result.verdict is not None
    assert result.verdict.outcome is Outcome.PASS, result.verdict.reasons
    assert result.verdict.checks
