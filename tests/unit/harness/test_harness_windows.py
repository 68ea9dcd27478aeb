"""Expectations on windows, coverage and refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_harness_judge import NO_TOLERANCE, NOTHING, SLA, run

from contracts.decision import Decision, RoleTarget
from contracts.errors import InfeasibleError, InputError
from contracts.observation import WorkerState, WorkerView
from contracts.plan import Role
from contracts.records import FaultRecord
from harness.run.figures import ever_held
from harness.run.judge import judge, judge_error
from harness.scenario import (
    COVERAGE_FIGURES,
    ErrorKind,
    ExpectedError,
    Tolerance,
    When,
    WindowExpectation,
)
from harness.scenario.condition import parse_condition
from harness.store import Outcome


def fault(at_s: float, healed_s: float | None) -> FaultRecord:
    return FaultRecord(
        kind="worker_crash",
        target="agg-0",
        at_s=at_s,
        requests_hit=1,
        requests_retried=1,
        requests_failed=0,
        recovered_at_s=healed_s,
    )


def judged(one, *windows: WindowExpectation, **changes):
    expect = replace(NOTHING, windows=windows, **changes)
    return judge([one], expect=expect, tolerance=NO_TOLERANCE, sla=SLA)


# Ten requests, one a second; those of seconds 3 to 5 are slow.
SLOW = [50.0] * 3 + [500.0] * 3 + [50.0] * 4


@pytest.mark.parametrize(
    ("window", "measured"),
    [
        (WindowExpectation(attainment_min=0.5), 0.7),
        (WindowExpectation(attainment_min=0.5, when=When.BEFORE), 1.0),
        (WindowExpectation(attainment_min=0.0, when=When.DURING), 0.0),
        (WindowExpectation(attainment_min=0.5, when=When.AFTER), 0.8),
        (WindowExpectation(attainment_min=0.5, when=When.AFTER, within_s=1.0), 1.0),
        (WindowExpectation(attainment_min=0.5, from_s=2.0, to_s=4.0), 0.5),
    ],
)
def test_a_window_takes_the_requests_that_arrive_in_it(
    window: WindowExpectation, measured: float
) -> None:
    verdict = judged(run(SLOW, faults=(fault(3.0, 5.0),)), window)
    assert verdict.checks[0].measured == pytest.approx(measured)
    assert verdict.outcome is Outcome.PASS


def test_nothing_in_a_window_is_inconclusive() -> None:
    verdict = judged(run(SLOW), WindowExpectation(attainment_min=0.5, from_s=100.0))
    assert verdict.outcome is Outcome.INCONCLUSIVE


def test_after_a_fault_that_never_heals_is_a_failure() -> None:
    window = WindowExpectation(attainment_min=0.5, when=When.AFTER)
    verdict = judged(run(SLOW, faults=(fault(3.0, None),)), window)
    assert verdict.outcome is Outcome.FAIL
    assert "never healed: worker_crash" in verdict.reasons[0]


def with_workers():
    def view(at_s: float, number: int, state: WorkerState) -> WorkerView:
        return WorkerView(worker_id=f"agg-{number}", role=Role.AGG, state=state, since_s=at_s)

    events = (
        view(0.0, 0, WorkerState.READY),
        view(2.5, 1, WorkerState.STARTING),
        view(4.5, 1, WorkerState.READY),
        view(6.5, 0, WorkerState.FAILED),
    )
    decisions = (
        Decision(now_s=2.5, targets=(RoleTarget(role=Role.AGG, replicas=2),), reason="more"),
        Decision(now_s=5.0, targets=(), reason="wait", held=True),
    )
    one = run(SLOW, failed=1)
    return replace(one, record=replace(one.record, worker_events=events), decisions=decisions)


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("pool.agg.ready == 2", True),
        ("pool.agg.ready == 2 and time_s > 7", False),
        ("pool.agg.ready == 1 and pool.agg.starting == 1", True),
        ("pool.agg.ready == 3", False),
        ("pool.decode.ready >= 0", False),
        ("requests.started >= 10", True),
        ("requests.completed >= 9", True),
        ("requests.completed >= 10", False),
        ("requests.failed == 1", True),
        ("requests.open >= 2", False),
        ("planner.scaled_up == 1", True),
        ("planner.held >= 1 and time_s >= 5", True),
        ("planner.scaled_down > 0", False),
    ],
)
def test_conditions_on_a_record(text: str, held: bool) -> None:
    condition = parse_condition(text, path="x", known=COVERAGE_FIGURES)
    assert ever_held(condition, with_workers()) is held


def test_sometimes_needs_one_run_and_never_forbids_all() -> None:
    ready = parse_condition("pool.agg.ready == 2", path="x", known=COVERAGE_FIGURES)
    verdict = judged(with_workers(), sometimes=(ready,))
    assert (verdict.outcome, verdict.checks[0].measured) == (Outcome.PASS, 1.0)
    assert judged(with_workers(), never=(ready,)).outcome is Outcome.FAIL
    assert judged(run(SLOW), sometimes=(ready,)).outcome is Outcome.FAIL


def test_a_refusal_can_be_expected() -> None:
    wanted = ExpectedError(kind=ErrorKind.INFEASIBLE, contains="ITL")
    error = InfeasibleError("nothing", binding_constraint="ITL at batch 1")
    assert judge_error(wanted, error).outcome is Outcome.PASS
    assert judge_error(wanted, InputError("ITL")).outcome is Outcome.FAIL
    assert judge_error(wanted, None).reasons == ("the run was not refused",)


def test_gpu_time_needs_a_plan() -> None:
    assert judged(run(SLOW), gpu_hours_max=1.0).outcome is Outcome.INCONCLUSIVE


def test_attainment_of_two_rungs() -> None:
    runs = [run(SLOW), run([50.0] * 10, rung="mock")]
    tolerance = Tolerance(ttft_ratio=None, itl_ratio=None, attainment_abs=0.2)
    verdict = judge(runs, expect=NOTHING, tolerance=tolerance, sla=SLA)
    assert verdict.checks[0].measured == pytest.approx(0.3)
    assert verdict.outcome is Outcome.FAIL
    assert np.isclose(verdict.checks[0].asked, 0.2)
