"""Partition, drain, image pull failure, and faults that wait for a condition."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.faults import ImagePullFailure, WorkerCrash, WorkerDrain, WorkerPartition
from contracts.observation import ClusterSnapshot, WorkerState
from contracts.plan import Role
from contracts.streams import RandomStreams
from simcore.simulation import FaultTrigger, RunSettings, simulate, simulate_with
from simcore.workload.arrivals import SteppedArrivals, arrival_times

MS = 1_000_000


def times_of(record, worker_id: str) -> dict[WorkerState, float]:
    events = [event for event in record.worker_events if event.worker_id == worker_id]
    return {event.state: event.since_s for event in events}


@pytest.fixture
def plan(make_agg_plan):
    return make_agg_plan(2, startup_s=3.0)


@pytest.fixture
def workload(make_workload):
    return make_workload(200, 50 * MS)


def test_a_partitioned_worker_is_back_without_start_up(plan, workload) -> None:
    fault = WorkerPartition(at_s=2.0, role=Role.AGG, duration_s=4.0)
    record = simulate(plan, workload, faults=[fault])
    assert times_of(record, "agg-0")[WorkerState.FAILED] == 2.0
    assert times_of(record, "agg-2")[WorkerState.READY] == 6.0
    (entry,) = record.faults
    assert (entry.target, entry.recovered_at_s) == ("agg-0", 6.0)
    assert entry.requests_retried == entry.requests_hit > 0
    assert bool(record.table.completed.all())


def test_a_drained_worker_ends_what_it_has_and_is_replaced(plan, workload) -> None:
    record = simulate(plan, workload, faults=[WorkerDrain(at_s=2.0, role=Role.AGG)])
    old = times_of(record, "agg-0")
    assert old[WorkerState.DRAINING] == 2.0
    assert old[WorkerState.STOPPED] > 2.0
    assert times_of(record, "agg-2")[WorkerState.READY] == 5.0
    assert record.faults[0].recovered_at_s == 5.0
    assert int(record.table.retries.sum()) == 0
    assert bool(record.table.completed.all())


def test_images_that_cannot_be_pulled_delay_the_start_to_the_end_of_the_window(
    plan, workload
) -> None:
    faults = [
        ImagePullFailure(at_s=1.0, duration_s=4.0),
        WorkerCrash(at_s=2.0, role=Role.AGG),
    ]
    record = simulate(plan, workload, faults=faults)
    assert times_of(record, "agg-2")[WorkerState.READY] == 8.0
    assert record.faults[0].target == "agg-2"


def test_a_trigger_fires_once_its_condition_holds(plan, workload) -> None:
    def due(snapshot: ClusterSnapshot) -> bool:
        return snapshot.counters.requests_started >= 100

    trigger = FaultTrigger(
        fault=WorkerCrash(at_s=1.0, role=Role.AGG), due=due, until_s=9.0, poll_s=0.5
    )
    record = simulate_with(plan, workload, RunSettings(triggers=[trigger]))
    # Request 100 arrives at 4.95 s, the next poll after it is at 5.0 s.
    assert [fault.at_s for fault in record.faults] == [5.0]


def test_a_trigger_that_never_fires_does_nothing_and_ends(plan, workload) -> None:
    trigger = FaultTrigger(
        fault=WorkerCrash(at_s=0.0, role=Role.AGG), due=lambda _snapshot: False, until_s=5.0
    )
    record = simulate_with(plan, workload, RunSettings(triggers=[trigger]))
    assert record.faults == ()
    assert bool(record.table.completed.all())


def test_rates_change_in_steps() -> None:
    steps = SteppedArrivals(start_s=(0.0, 100.0, 200.0), rate_per_s=(1.0, 20.0, 0.0))
    times_s = arrival_times(steps, 300.0, RandomStreams(3).stream("x"))
    counts = np.histogram(times_s, bins=[0, 100, 200, 300])[0]
    assert counts[0] == pytest.approx(100, abs=40)
    assert counts[1] == pytest.approx(2000, abs=150)
    assert counts[2] == 0
