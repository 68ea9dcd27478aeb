"""The planner benchmark: workloads, oracle, scores, cells."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from contracts.errors import InputError
from contracts.observation import WorkerState, WorkerView
from contracts.plan import Role
from contracts.records import RequestTable, RunRecord
from contracts.units import NS_PER_S
from harness.bench.cells import FAULTS, Cell, _faults, first_replicas, run_cell
from harness.bench.fleet import AGG, DISAGG, GPU_BUDGET
from harness.bench.grid import COMPARED, Grid, cells
from harness.bench.lineup import ENTRANTS
from harness.bench.oracle import (
    GRID_S,
    at_once_schedule,
    instantaneous_gpu_hours,
    lead_time_schedule,
    needs,
    split,
)
from harness.bench.score import score
from harness.bench.workloads import (
    JUDGED_SEEDS,
    SHAPES,
    TRAINING_SEEDS,
    Mix,
    Shape,
    synthetic,
)
from planner.core import PolicyName

TINY = Shape(name="tiny", rate=lambda t: 4.0 if 200 <= t < 400 else 1.0, duration_s=600.0)


def test_a_workload_follows_its_seed_only():
    one, again, other = (synthetic(TINY, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.workload.arrival_ns, again.workload.arrival_ns)
    assert np.array_equal(one.workload.isl, again.workload.isl)
    assert not np.array_equal(one.workload.arrival_ns[:50], other.workload.arrival_ns[:50])


def test_arrivals_follow_the_rate():
    times_s = synthetic(TINY, 3).workload.arrival_ns / NS_PER_S
    busy = int(((times_s >= 200) & (times_s < 400)).sum())
    assert busy == pytest.approx(800, abs=4 * 800**0.5)
    assert len(times_s) - busy == pytest.approx(400, abs=4 * 400**0.5)


def test_mixes_change_lengths_and_prefixes():
    shape = replace(TINY, mixes=((0.0, Mix(hit_ratio=0.5)), (300.0, Mix(isl=1000.0, osl=800.0))))
    bench = synthetic(shape, 1)
    late = bench.workload.arrival_ns >= 300 * NS_PER_S
    assert bench.workload.isl[late].mean() < 0.5 * bench.workload.isl[~late].mean()
    assert bench.workload.osl[late].mean() > 1.5 * bench.workload.osl[~late].mean()
    assert bench.workload.texts is not None
    shared = {text.ids[0] for text in bench.workload.texts if text is not None}
    assert len(shared) == 4
    assert (bench.hit_ratio(10.0), bench.hit_ratio(310.0)) == (0.5, 0.0)


def test_training_and_judging_use_different_workloads():
    training = {shape.name for shape in SHAPES.values() if shape.training}
    assert training
    judged = {"diurnal", "step", "burst", "ramp", "mix-shift", "prefix-shift"}
    judged |= {"diurnal-disagg", "mix-shift-disagg"}
    assert training.isdisjoint(judged)
    assert judged <= set(SHAPES)
    assert set(TRAINING_SEEDS).isdisjoint(JUDGED_SEEDS)
    assert Grid(workloads=("step",)).seeds == JUDGED_SEEDS


# -- the oracle -----------------------------------------------------------------------


def test_the_oracle_needs_more_when_more_arrives_and_less_at_higher_utilisation():
    bench = synthetic(TINY, 1)
    (wanted,) = needs(bench, 0.9)
    assert len(wanted) == 20
    assert wanted[8:12].min() > wanted[:4].max()
    assert instantaneous_gpu_hours(bench, 0.7) > instantaneous_gpu_hours(bench, 1.0)


@pytest.mark.parametrize("startup_s", [0.0, 60.0, 180.0])
def test_the_schedule_covers_the_needs_with_orders_in_time(startup_s):
    bench = synthetic(TINY, 1)
    (wanted,) = needs(bench, 0.9)
    points = lead_time_schedule(bench, 0.9, startup_s)
    for index, count in enumerate(wanted):
        ordered_by_s = max(0.0, index * GRID_S - startup_s)
        due = [point.replicas[0] for point in points if point.at_s <= ordered_by_s]
        assert due[-1] >= count
    times = [point.at_s for point in points]
    assert times == sorted(times)


def test_a_gap_shorter_than_a_start_up_is_bridged():
    def rate(t: float) -> float:
        return 1.0 if 240 <= t < 360 else 4.0

    bench = synthetic(replace(TINY, rate=rate), 1)
    quick, slow = (lead_time_schedule(bench, 0.9, s) for s in (0.0, 300.0))
    assert min(p.replicas[0] for p in quick if p.at_s < 570.0) < 3
    assert min(p.replicas[0] for p in slow if p.at_s < 570.0) >= 4


def test_at_once_waits_for_the_jump_and_then_orders_everything():
    points = at_once_schedule(synthetic(replace(TINY, jump_s=200.0), 1), 2)
    assert [(point.at_s, point.replicas[0]) for point in points] == [(0.0, 2), (200.0, GPU_BUDGET)]
    assert len(at_once_schedule(synthetic(TINY, 1), 2)) == 1


@pytest.mark.parametrize("startup_s", [0.0, 180.0])
def test_two_pools_are_scheduled_each_by_its_own_need(startup_s):
    bench = synthetic(replace(TINY, fleet=DISAGG), 1)
    wanted = needs(bench, 0.9)
    assert wanted.shape == (2, 20)
    assert wanted[1].max() > wanted[0].max()
    points = lead_time_schedule(bench, 0.9, startup_s)
    for index, counts in enumerate(wanted.T):
        due = [p.replicas for p in points if p.at_s <= max(0.0, index * GRID_S - startup_s)][-1]
        assert all(there >= count for there, count in zip(due, counts, strict=True))


def test_gpus_are_dealt_to_the_pools_as_the_workload_needs_them():
    bench = synthetic(replace(TINY, fleet=DISAGG), 1)
    prefill, decode = split(bench, 12)
    assert prefill + decode == 12
    assert 1 <= prefill < decode
    assert split(bench, 2) == (1, 1)
    assert split(synthetic(TINY, 1), 7) == (7,)


# -- scores ---------------------------------------------------------------------------


def event(at_s: float, worker_id: str, state: WorkerState) -> WorkerView:
    return WorkerView(worker_id=worker_id, role=Role.AGG, state=state, since_s=at_s)


def record(events: list[WorkerView], **columns: Any) -> RunRecord:
    """Ten requests, one a second, TTFT one second and 50 ms a token."""
    arrival = np.arange(10, dtype=np.int64) * NS_PER_S
    values: dict[str, Any] = {
        "arrival_ns": arrival,
        "isl": np.full(10, 100),
        "osl": np.full(10, 21),
        "first_token_ns": arrival + NS_PER_S,
        "finish_ns": arrival + 2 * NS_PER_S,
        "status": np.full(10, "completed"),
        "retries": np.zeros(10, dtype=np.int64),
        "preemptions": np.zeros(10, dtype=np.int64),
    }
    return RunRecord(
        table=RequestTable(**(values | columns)),
        worker_events=tuple(events),
        faults=(),
        digest=None,
        duration_s=600.0,
    )


def scored(events: list[WorkerView], blind_s: tuple[float, float] | None = None, **columns: Any):
    bench = synthetic(TINY, 1)
    plan = AGG.deployment((1,), 60.0, bench.sla)
    return score(bench, plan, record(events, **columns), (), blind_s)


def test_unfinished_requests_count_as_misses():
    status = np.array(["completed"] * 8 + ["unfinished"] * 2)
    assert scored([], status=status).attainment == pytest.approx(0.8)


def test_slow_tokens_and_late_first_tokens_are_misses():
    arrival = np.arange(10, dtype=np.int64) * NS_PER_S
    late = arrival + np.where(arrival < 3 * NS_PER_S, 4, 1) * NS_PER_S
    slow = arrival + np.where(arrival >= 8 * NS_PER_S, 9, 5) * NS_PER_S
    found = scored([], first_token_ns=late, finish_ns=np.maximum(late + NS_PER_S, slow - 4 * 10**9))
    assert found.attainment == pytest.approx(0.5)


def test_gpu_hours_run_from_order_to_release():
    events = [
        event(0.0, "a", WorkerState.READY),
        event(100.0, "b", WorkerState.STARTING),
        event(160.0, "b", WorkerState.READY),
        event(300.0, "b", WorkerState.DRAINING),
        event(310.0, "b", WorkerState.STOPPED),
    ]
    assert scored(events).gpu_hours == pytest.approx((600.0 + 210.0) / 3600.0)


def test_orders_and_removals_are_events_and_turns_are_counted():
    events = [
        event(0.0, "a", WorkerState.READY),
        event(100.0, "b", WorkerState.STARTING),
        event(100.0, "c", WorkerState.STARTING),
        event(160.0, "b", WorkerState.READY),
        event(170.0, "c", WorkerState.STOPPED),
        event(300.0, "b", WorkerState.DRAINING),
        event(310.0, "b", WorkerState.STOPPED),
        event(400.0, "d", WorkerState.STARTING),
    ]
    found = scored(events, blind_s=(250.0, 350.0))
    # Up at 100, down at 170 and 300, up at 400: two turns, and ten minutes count as an hour.
    assert found.scaling_events == 4
    assert found.direction_changes_per_h == pytest.approx(2.0)
    assert found.blind_removals == 1


def test_violations_are_counted_in_minutes():
    arrival = np.arange(10, dtype=np.int64) * 60 * NS_PER_S
    late = np.where((arrival >= 180 * NS_PER_S) & (arrival < 360 * NS_PER_S), 9, 1) * NS_PER_S
    found = scored(
        [], arrival_ns=arrival, first_token_ns=arrival + late, finish_ns=arrival + late + NS_PER_S
    )
    assert (found.violation_minutes, found.recover_s) == (3.0, 180.0)


def test_turns_are_counted_for_each_pool():
    bench = synthetic(replace(TINY, fleet=DISAGG), 1)
    plan = DISAGG.deployment((1, 1), 60.0, bench.sla)
    up, down = WorkerState.STARTING, WorkerState.DRAINING
    story = [
        (0.0, "p1", Role.PREFILL, WorkerState.READY),
        (0.0, "d1", Role.DECODE, WorkerState.READY),
        (100.0, "d2", Role.DECODE, up),
        (200.0, "p2", Role.PREFILL, up),
        (300.0, "p2", Role.PREFILL, down),
        (400.0, "d3", Role.DECODE, up),
    ]
    events = [WorkerView(worker_id=w, role=r, state=s, since_s=t) for t, w, r, s in story]
    found = score(bench, plan, record(events), (), None)
    assert found.scaling_events == 4
    assert found.direction_changes_per_h == pytest.approx(1.0)


# -- cells ----------------------------------------------------------------------------


def test_every_entrant_has_a_valid_configuration():
    for entrant, fleet in product(ENTRANTS.values(), (AGG, DISAGG)):
        bench = synthetic(replace(TINY, fleet=fleet), 1)
        for knob in entrant.values:
            config = entrant.configure(bench, 60.0, knob)
            assert config.gpu_budget == GPU_BUDGET
            assert config.sla == bench.sla
            assert 1 <= first_replicas(bench, config)[0] <= GPU_BUDGET


def test_ours_is_told_the_attainment_that_is_asked_for():
    for gradual, asked in ((True, 0.99), (False, 0.95)):
        bench = synthetic(replace(TINY, gradual=gradual), 1)
        ours = ENTRANTS["sla"]
        config = ours.configure(bench, 60.0, ours.values[0])
        assert config.attainment_target == asked
        assert config.miss_price is None
        assert ours.configure(bench, 60.0, 300.0).miss_price == 300.0


def test_nobody_but_a_schedule_sees_the_future():
    bench = synthetic(TINY, 1)
    later = replace(bench, workload=synthetic(replace(TINY, rate=lambda _: 9.0), 1).workload)
    for name, entrant in ENTRANTS.items():
        config = entrant.configure(bench, 60.0, entrant.values[0])
        if config.policy is not PolicyName.SCHEDULE:
            assert replace(config, isl_expected=None, osl_expected=None) == replace(
                entrant.configure(later, 60.0, entrant.values[0]),
                isl_expected=None,
                osl_expected=None,
            ), name


def test_what_never_orders_runs_once_for_all_start_up_times():
    grid = Grid(workloads=("step",), startups_s=(0.0, 60.0), seeds=(1,), entrants=("static", "sla"))
    found = cells(grid)
    assert sum(cell.entrant == "static" for cell in found) == len(ENTRANTS["static"].values)
    assert sum(cell.entrant == "sla" for cell in found) == 2 * len(ENTRANTS["sla"].values)
    assert len(set(found)) == len(found)


def test_faults_hit_the_decode_pool_where_there_are_two():
    for name in ("crash", "slow-worker"):
        assert [fault.role for fault in _faults(name, DISAGG)] == [Role.DECODE]
        assert [fault.role for fault in _faults(name, AGG)] == [Role.AGG]
    grid = Grid(workloads=("mix-shift-disagg",), startups_s=(60.0,), faults=FAULTS, seeds=(1,))
    assert {cell.fault for cell in cells(grid)} == set(FAULTS)


def test_faults_run_with_default_knobs():
    grid = Grid(workloads=("step",), startups_s=(60.0,), faults=FAULTS[1:], seeds=(1,))
    found = cells(grid)
    # A static deployment orders nothing that could never become ready.
    assert len(found) == (len(FAULTS) - 1) * len(COMPARED) - 1
    assert all(cell.knob == ENTRANTS[cell.entrant].values[0] for cell in found)


@pytest.mark.parametrize(
    "change", [{"workloads": ("nope",)}, {"faults": ("nope",)}, {"entrants": ("nope",)}]
)
def test_unknown_names_are_refused_with_what_there_is(change):
    with pytest.raises(InputError, match="nope") as caught:
        cells(Grid(**({"workloads": ("step",)} | change)))
    assert caught.value.allowed


@pytest.mark.slow
def test_a_cell_is_reproducible_and_better_than_too_small_a_fleet():
    def run(entrant: str, knob: float):
        return run_cell(
            Cell(workload="quick", startup_s=60.0, fault="none", seed=1, entrant=entrant, knob=knob)
        )

    ours, again, small = run("sla", 0.0), run("sla", 0.0), run("static", 2.0)
    assert ours == again
    assert ours.attainment > small.attainment + 0.3
    assert ours.offered > 1000


def test_traces_need_their_folder():
    cell = Cell(
        workload="azure-conversation",
        startup_s=60.0,
        fault="none",
        seed=1,
        entrant="sla",
        knob=1.0,
    )
    with pytest.raises(InputError, match="trace file is not there"):
        run_cell(cell)
