"""Rung mock over real HTTP against rung sim: medians of 200 requests within 5 %."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.run.mock import MockBackend
from harness.run.prepare import prepare
from harness.run.sim import SimBackend
from harness.run.workload import realise
from harness.scenario import scenario_from

SCENARIOS = Path(__file__).parents[2] / "scenarios"
TOLERANCE = 0.05


@pytest.mark.slow
def test_medians_of_a_poisson_run_are_within_five_percent(tmp_path: Path) -> None:
    document = {
        "version": 1,
        "name": "near",
        "deploy": {
            "dgdr": "dgdr/llama-70b.yaml",
            "router": "least_loaded",
            "topology": {"kind": "agg", "replicas": 3},
        },
        "workload": {
            "synthetic": {
                "duration_s": 40,
                "arrivals": {"kind": "poisson", "rate_per_s": 5},
                "isl": {"mean": 4000, "cv": 0.2},
                "osl": {"mean": 60, "cv": 0.3},
            }
        },
        "planner": {"enabled": False},
        "expect": {"completed_ratio_min": 1.0},
        "rungs": ["sim", "mock"],
    }
    scenario = scenario_from(document, SCENARIOS / "near.yaml")
    prepared = prepare(scenario, tmp_path)
    offered = realise(scenario.workload, isl=prepared.isl, osl=prepared.osl, seed=1)
    sim = SimBackend().run(prepared, offered, 1, lambda *_: None).record.table
    mock = MockBackend().run(prepared, offered, 1, lambda *_: None).record.table
    assert len(mock) > 180
    # Where the first token takes a tenth of a second, a busy machine's milliseconds are noise.
    assert float(np.nanmedian(sim.ttft_ms)) > 100
    assert mock.completed.all()
    for name in ("ttft_ms", "itl_ms"):
        expected = float(np.nanmedian(getattr(sim, name)))
        found = float(np.nanmedian(getattr(mock, name)))
        assert found == pytest.approx(expected, rel=TOLERANCE), name
