import numpy as np
import pytest
from harness_synthetic_run import WORKER_EVENTS, check, plan, requests, rung_run, view

from contracts.decision import Decision, RoleTarget
from contracts.errors import InfeasibleError
from contracts.observation import WorkerState
from contracts.plan import Role
from contracts.units import NS_PER_S
from harness.report import numbers
from harness.report.distributions import POINTS_MAX, thin
from harness.report.views import decision_rows
from harness.report.windows import cut, horizon_s, replicas
from harness.run.exact import exact_check
from harness.run.judge import judge_error
from harness.scenario import ErrorKind, ExpectedError
from harness.store import Bound, Outcome, gpu_seconds, merge_tables
from harness.store.in_words import asked_and_measured, check_row


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, "ms", "0 ms"),
        (0.01234, "ms", "0.0123 ms"),
        (1.234, "ms", "1.23 ms"),
        (45.67, "ms", "45.7 ms"),
        (1234.5, "ms", "1,234 ms"),
        (3.0, "", "3.00"),
        (None, "ms", "no data"),
        (float("nan"), "ms", "no data"),
    ],
)
def test_quantity(value, unit, text):
    assert numbers.quantity(value, unit) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "100 %"),
        (0.95, "95 %"),
        (0.9733, "97.3 %"),
        (0.99996, "99.996 %"),
        (0.0, "0 %"),
        (0.0001, "0.010 %"),
        (None, "no data"),
    ],
)
def test_share_is_only_whole_when_it_is(value, text):
    assert numbers.share(value) == text


def test_differences_carry_their_sign():
    assert numbers.difference(0.031) == "+3.1 %"
    assert numbers.difference(-0.2) == "-20.0 %"
    assert numbers.difference(None) == "no data"


def test_settings_keep_their_digits():
    assert numbers.setting(30.0, "ms") == "30 ms"
    assert numbers.setting(0.25, "s") == "0.25 s"
    assert numbers.setting(12000.5, "ms") == "12,000.5 ms"


@pytest.mark.parametrize(
    ("asked", "measured", "unit", "texts"),
    [
        (900.0, 1012.348, "ms", ("900 ms", "1,012 ms")),
        (900.0, 900.04, "ms", ("900 ms", "900.04 ms")),
        (0.95, 0.94996, "", ("95 %", "94.996 %")),
        (1.0, 1.0, "", ("100 %", "100 %")),
        (30.0, None, "s", ("30 s", "no data")),
        (0.0, 0.0, "s", ("0 s", "0 s")),
        (1.0, 2.0, "runs", ("1 run", "2 runs")),
    ],
)
def test_a_miss_is_never_rounded_away(asked, measured, unit, texts):
    assert asked_and_measured(asked, measured, unit) == texts


def test_check_rows():
    row = check_row(
        check(bound=Bound.AT_MOST, name="x", asked=1.0, unit="s", outcome=Outcome.FAIL, seed=3)
    )
    assert (row.name, row.rung, row.asked, row.measured) == (
        "x",
        "sim, seed 3",
        "at most 1 s",
        "0.9733 s",
    )
    assert row.outcome == "fail"


def test_counts_are_no_shares_of_a_hundred():
    row = check_row(exact_check(rung_run("sim"), rung_run("sim")))
    assert (row.asked, row.measured) == ("at most 0 events", "0 events")
    expected = ExpectedError(kind=ErrorKind.INFEASIBLE, contains="ITL")
    (refused,) = judge_error(expected, InfeasibleError("no", binding_constraint="ITL")).checks
    assert check_row(refused).asked == "exactly 1 refusal"


def test_windows_count_every_request_once():
    table = requests()
    windows = cut(table, 124.0)
    assert windows.width_s == 2
    assert len(windows.start_s) == 62
    assert round(windows.offered_per_s.sum() * 2) == 600
    assert round(windows.completed_per_s.sum() * 2) == 598


def test_window_percentiles_are_of_the_requests_that_arrived_in_it():
    table = requests()
    windows = cut(table, 124.0)
    inside = (table.arrival_ns >= 60 * NS_PER_S) & (table.arrival_ns < 62 * NS_PER_S)
    expected = np.nanpercentile(table.ttft_ms[inside], (50, 95))
    assert windows.ttft_ms["p50"][30] == pytest.approx(expected[0])
    assert windows.ttft_ms["p95"][30] == pytest.approx(expected[1])
    assert np.isnan(windows.ttft_ms["p50"][-1])


def test_the_horizon_reaches_to_the_last_event():
    run = rung_run()
    assert horizon_s(run.record) >= run.record.table.finish_ns.max() / NS_PER_S
    assert horizon_s(run.record) >= 124.0


def test_replicas_over_time():
    prefill, decode = replicas(WORKER_EVENTS, 120.0)
    assert (prefill.role, prefill.at_s.tolist()) == (Role.PREFILL, [0.0, 120.0])
    assert prefill.ready.tolist() == [1, 1]
    assert decode.at_s.tolist() == [0.0, 30.0, 40.0, 70.0, 80.0, 110.0, 114.0, 120.0]
    assert decode.ready.tolist() == [1, 1, 2, 1, 2, 1, 1, 1]
    assert decode.starting.tolist() == [0, 1, 0, 1, 0, 0, 0, 0]


def test_gpu_seconds_count_start_up_and_draining():
    # prefill 124 s, decode-0 70 s, decode-1 30 to 114 s, decode-2 70 to 124 s; 2 GPUs each.
    assert gpu_seconds(rung_run().record, plan()) == 2 * (124 + 70 + 84 + 54)
    assert gpu_seconds(rung_run(worker_events=()).record, plan()) is None


def tick(now_s, replicas_wanted):
    targets = (RoleTarget(role=Role.DECODE, replicas=replicas_wanted),)
    return Decision(now_s=now_s, targets=targets, reason="r")


def test_a_decision_changes_something_when_it_wants_another_number():
    events = (view("d0", Role.DECODE, WorkerState.READY, 0.0),)
    hold = Decision(now_s=15.0, targets=(), reason="unknown", held=True)
    run = rung_run(
        worker_events=events, decisions=(tick(5.0, 1), tick(10.0, 3), hold, tick(20.0, 3))
    )
    rows = decision_rows(run)
    assert [row.changed for row in rows] == [False, True, False, False]
    assert [row.targets for row in rows] == ["decode 1", "decode 1 -> 3", "held", "decode 3"]


def test_thinned_distributions_keep_both_ends():
    values = np.arange(1, 10_001, dtype=np.float64)
    at, below = thin(values)
    assert len(at) == POINTS_MAX + 1
    assert (at[0], below[0], at[-1], below[-1]) == (1.0, 0.0, 10_000.0, 1.0)
    assert at[1:].tolist() == (below[1:] * 10_000).round().tolist()
    at, below = thin(np.array([7.0]))
    assert (at.tolist(), below.tolist()) == ([7.0, 7.0], [0.0, 1.0])


def test_merging_nothing_gives_an_empty_table():
    assert len(merge_tables([])) == 0


def test_times_of_a_manifest():
    assert numbers.instant("20260131T120005Z") == "2026-01-31 12:00:05 UTC"
    assert numbers.instant("yesterday") == "yesterday"
