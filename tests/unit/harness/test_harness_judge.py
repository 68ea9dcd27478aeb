"""The verdict is three-valued, and no data is never a pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts.records import FaultRecord, RequestStatus, RequestTable, RunRecord
from contracts.sla import SlaTarget
from harness.run.judge import judge
from harness.scenario import Expectations, Tolerance
from harness.store import LoadCheck, Outcome, RungRun

MS = 1_000_000
SLA = SlaTarget(ttft_ms=100.0, itl_ms=10.0)
NOTHING = Expectations(
    attainment_min=None,
    ttft_ms_p95_max=None,
    itl_ms_p95_max=None,
    completed_ratio_min=None,
    recovery_s_max=None,
)
NO_TOLERANCE = Tolerance(ttft_ratio=None, itl_ratio=None)


def run(
    ttft_ms: list[float],
    *,
    rung: str = "sim",
    itl_ms: float = 5.0,
    failed: int = 0,
    faults: tuple[FaultRecord, ...] = (),
    load: LoadCheck | None = None,
) -> RungRun:
    """Requests of 11 tokens that start 1 s apart; the last ``failed`` have no answer."""
    count = len(ttft_ms)
    arrival = np.arange(count, dtype=np.int64) * 1000 * MS
    first = arrival + (np.array(ttft_ms) * MS).astype(np.int64)
    finish = first + round(10 * itl_ms * MS)
    status = np.array([RequestStatus.COMPLETED.value] * count, dtype="<U10")
    if failed:
        status[-failed:] = RequestStatus.FAILED.value
        first[-failed:] = finish[-failed:] = -1
    table = RequestTable(
        arrival_ns=arrival,
        isl=np.full(count, 10),
        osl=np.full(count, 11),
        first_token_ns=first,
        finish_ns=finish,
        status=status,
        retries=np.zeros(count, dtype=np.int64),
        preemptions=np.zeros(count, dtype=np.int64),
    )
    record = RunRecord(
        table=table, worker_events=(), faults=faults, digest=None, duration_s=float(count)
    )
    return RungRun(rung=rung, seed=1, record=record, load=load)


def verdict(*runs: RungRun, tolerance: Tolerance = NO_TOLERANCE, **asked: float):
    expect = replace(NOTHING, **asked)
    return judge(runs, expect=expect, tolerance=tolerance, sla=SLA)


def test_attainment_counts_every_offered_request() -> None:
    result = verdict(run([50, 50, 150, 50], failed=1), attainment_min=0.5)
    assert result.outcome is Outcome.PASS
    assert result.checks[0].measured == 0.5
    assert verdict(run([50, 50, 150, 50], failed=1), attainment_min=0.51).outcome is Outcome.FAIL


def test_slow_tokens_miss_the_sla_too() -> None:
    result = verdict(run([50, 50], itl_ms=10.5), attainment_min=0.1)
    assert result.checks[0].measured == 0.0
    assert result.outcome is Outcome.FAIL
    assert "asked at least 0.1, measured 0" in result.reasons[0]


def test_percentile_bounds() -> None:
    assert (
        verdict(run([50.0] * 20), ttft_ms_p95_max=50.0, itl_ms_p95_max=5.0).outcome is Outcome.PASS
    )
    result = verdict(run([50.0] * 20), ttft_ms_p95_max=49.0, itl_ms_p95_max=4.9)
    assert [check.outcome for check in result.checks] == [Outcome.FAIL, Outcome.FAIL]


def test_no_data_and_no_expectation_are_inconclusive() -> None:
    nothing_completed = run([50.0, 50.0], failed=2)
    assert verdict(nothing_completed, ttft_ms_p95_max=100.0).outcome is Outcome.INCONCLUSIVE
    assert verdict(run([50.0])).outcome is Outcome.INCONCLUSIVE
    assert verdict(ttft_ms_p95_max=100.0).outcome is Outcome.INCONCLUSIVE


def test_a_saturated_load_generator_voids_the_run() -> None:
    load = LoadCheck(dispatch_delay_ms_p99=99.0, limit_ms=20.0, saturated=True)
    result = verdict(run([50.0], load=load), attainment_min=0.5)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "fell behind" in result.checks[0].note


def test_one_failure_outweighs_an_inconclusive_check() -> None:
    result = verdict(run([50.0, 50.0], failed=2), ttft_ms_p95_max=9.0, completed_ratio_min=1.0)
    assert result.outcome is Outcome.FAIL


def fault(recovered_at_s: float | None) -> FaultRecord:
    return FaultRecord(
        kind="worker_crash",
        target="agg-0",
        at_s=10.0,
        requests_hit=3,
        requests_retried=3,
        requests_failed=0,
        recovered_at_s=recovered_at_s,
    )


@pytest.mark.parametrize(
    ("faults", "outcome"),
    [
        ((fault(14.0),), Outcome.PASS),
        ((fault(14.0), fault(16.0)), Outcome.FAIL),
        ((fault(14.0), fault(None)), Outcome.FAIL),
        ((), Outcome.INCONCLUSIVE),
    ],
)
def test_recovery_time(faults: tuple[FaultRecord, ...], outcome: Outcome) -> None:
    assert verdict(run([50.0], faults=faults), recovery_s_max=5.0).outcome is outcome


def test_virtual_rungs_must_not_differ_at_all() -> None:
    wide = Tolerance(ttft_ratio=9.0, itl_ratio=9.0)
    sim = run([100.0] * 4)
    assert verdict(sim, run([100.0] * 4, rung="vmock"), tolerance=wide).outcome is Outcome.PASS
    other = run([100.0, 100.0, 100.000001, 100.0], rung="vmock")
    result = verdict(sim, other, tolerance=wide)
    assert result.outcome is Outcome.FAIL
    (failed,) = [check for check in result.checks if check.outcome is Outcome.FAIL]
    assert (failed.rung, failed.seed, failed.measured) == ("sim -> vmock", 1, 1.0)
    assert "first: request 2: first_token_ns 2100000000 here, 2100000001 there" in failed.note


def test_a_virtual_rung_stands_for_the_one_above_it() -> None:
    tolerance = Tolerance(ttft_ratio=0.05, itl_ratio=0.05)
    ladder = [run([100.0] * 4), run([100.0] * 4, rung="vmock"), run([106.0] * 4, rung="mock")]
    failed = [
        check
        for check in verdict(*ladder, tolerance=tolerance).checks
        if check.outcome is Outcome.FAIL
    ]
    assert [check.rung for check in failed] == ["vmock -> mock"]


def test_rungs_must_agree_within_the_tolerance() -> None:
    tolerance = Tolerance(ttft_ratio=0.05, itl_ratio=0.05)
    sim = run([100.0] * 4)
    near, far = run([104.0] * 4, rung="mock"), run([106.0] * 4, rung="mock")
    assert verdict(sim, near, tolerance=tolerance).outcome is Outcome.PASS
    result = verdict(sim, far, tolerance=tolerance)
    assert result.outcome is Outcome.FAIL
    failed = [check for check in result.checks if check.outcome is Outcome.FAIL]
    assert [(check.name, check.rung) for check in failed] == [
        ("ttft_ms_p50_difference", "sim -> mock")
    ]
    assert failed[0].measured == pytest.approx(0.06)
