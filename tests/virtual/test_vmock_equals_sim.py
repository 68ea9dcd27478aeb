"""Rung vmock equals rung sim: every request, every decision, every worker, the digest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contracts.records import RequestStatus
from harness.run.exact import differences
from harness.run.prepare import Prepared, prepare
from harness.run.sim import SimBackend, frozen
from harness.run.vmock import VirtualMockBackend
from harness.run.workload import realise
from harness.scenario import scenario_from
from harness.store import RungRun

SCENARIOS = Path(__file__).parents[2] / "scenarios"
SHORT = {"isl": {"mean": 600, "cv": 0.4}, "osl": {"mean": 40, "cv": 0.4}}
CRASH = {"kind": "worker_crash", "role": "agg", "worker_index": 0, "restart": True}


def document(**changes: Any) -> dict[str, Any]:
    """About 200 requests to three workers of one pool."""
    poisson = {"duration_s": 20, "arrivals": {"kind": "poisson", "rate_per_s": 10}, **SHORT}
    base: dict[str, Any] = {
        "version": 1,
        "name": "exact",
        "deploy": {
            "dgdr": "dgdr/llama-8b.yaml",
            "startup_s": 3,
            "router": "least_loaded",
            "topology": {"kind": "agg", "replicas": 3},
        },
        "workload": {"synthetic": poisson},
        "planner": {"enabled": False},
        "expect": {"completed_ratio_min": 0.5},
        "rungs": ["sim", "vmock"],
    }
    return base | changes


def synthetic(arrivals: dict[str, Any], duration_s: float = 20) -> dict[str, Any]:
    return {"synthetic": {"duration_s": duration_s, "arrivals": arrivals, **SHORT}}


def both(given: dict[str, Any], folder: Path) -> tuple[Prepared, RungRun, RungRun]:
    """The same traffic on both rungs."""
    scenario = scenario_from(given, SCENARIOS / "exact.yaml")
    prepared = prepare(scenario, folder)
    offered = realise(
        scenario.workload,
        isl=prepared.isl,
        osl=prepared.osl,
        seed=1,
        shifts=scenario.shifts,
    )
    sim = SimBackend().run(prepared, offered, 1, ignore)
    vmock = VirtualMockBackend().run(prepared, frozen(prepared, offered, 1), 1, ignore)
    return prepared, sim, vmock


def ignore(_phase: str, _done: int, _total: int) -> None:
    """Report nothing."""


def check(sim: RungRun, vmock: RungRun) -> None:
    assert differences(sim, vmock) == []
    assert sim.record.digest == vmock.record.digest
    assert sim.record.faults == vmock.record.faults
    for name in ("retries", "preemptions", "finish_ns"):
        ours, theirs = getattr(sim.record.table, name), getattr(vmock.record.table, name)
        assert ours.tolist() == theirs.tolist()


DISAGG = {
    "dgdr": "dgdr/llama-8b.yaml",
    "router": "round_robin",
    "topology": {"kind": "disagg", "prefill": 2, "decode": 2, "link": "tcp"},
}
CASES: dict[str, dict[str, Any]] = {
    "poisson": {},
    "disagg": {"deploy": DISAGG},
    "crash, requests retried": {"faults": [{**CRASH, "at_s": 8}]},
    "crash, requests fail": {"faults": [{**CRASH, "at_s": 8}], "on_worker_lost": "fail"},
    # Arrivals, the fault and a look of the trigger fall on the same instants.
    "everything at once": {
        "workload": synthetic({"kind": "constant", "rate_per_s": 8}),
        "faults": [
            {**CRASH, "at_s": 5},
            {"kind": "worker_drain", "role": "agg", "at_s": 8, "after": "pool.agg.ready == 3"},
        ],
    },
    "closed loop": {
        "workload": {"closed_loop": {"concurrency": 12, "duration_s": 5, **SHORT}},
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_requests_are_the_same_to_the_nanosecond(name: str, tmp_path: Path) -> None:
    _, sim, vmock = both(document(**CASES[name]), tmp_path)
    check(sim, vmock)
    table = vmock.record.table
    failed = int((table.status == RequestStatus.FAILED.value).sum())
    assert len(table) > 100
    assert (failed > 0) == (name == "crash, requests fail")
    if name == "crash, requests retried":
        assert table.retries.any()


@pytest.mark.slow
def test_planner_over_http_decides_what_it_decides_in_a_simulation(tmp_path: Path) -> None:
    burst = {
        "kind": "burst", "base_rate_per_s": 1, "peak_rate_per_s": 5, "start_s": 10, "length_s": 15,
    }  # fmt: skip
    given = document(
        deploy={"dgdr": "dgdr/llama-70b.yaml", "startup_s": 4, "router": "least_loaded"},
        workload={
            "synthetic": {
                "duration_s": 40, "arrivals": burst,
                "isl": {"mean": 4000, "cv": 0.2}, "osl": {"mean": 60, "cv": 0.3},
            }
        },
        planner={"enabled": True, "interval_s": 5, "scale_down_hold_s": 10},
    )  # fmt: skip
    _, sim, vmock = both(given, tmp_path)
    check(sim, vmock)
    wanted = {target.replicas for each in vmock.decisions for target in each.targets}
    assert len(wanted) > 1
    assert len(sim.decisions) == len(vmock.decisions) > 8


@pytest.mark.slow
def test_many_requests_of_one_instant_arrive_together(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    rows = [f"{at},{200 + 7 * each},{20}" for at in (0.0, 0.5, 1.0) for each in range(50)]
    trace.write_text("\n".join(["arrival_s,isl,osl", *rows]) + "\n", encoding="utf-8")
    given = document(workload={"trace": {"path": str(trace), "format": "csv"}})
    _, sim, vmock = both(given, tmp_path / "profile")
    check(sim, vmock)
    assert len(vmock.record.table) == 150
