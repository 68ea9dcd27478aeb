import numpy as np
import pytest

from contracts.records import RequestTable
from contracts.sla import SlaTarget
from contracts.units import NS_PER_MS, NS_PER_S
from harness.store import compare, merge_tables, quantiles, summarise, summarise_runs

SLA = SlaTarget(ttft_ms=100.0, itl_ms=10.0)


def table(*rows):
    """Rows of (arrival_s, osl, ttft_ms or None, itl_ms or None, status)."""
    arrival_ns = np.array([round(r[0] * NS_PER_S) for r in rows], dtype=np.int64)
    osl = np.array([r[1] for r in rows], dtype=np.int64)
    first_ns = np.array(
        [
            -1 if r[2] is None else a + round(r[2] * NS_PER_MS)
            for r, a in zip(rows, arrival_ns, strict=True)
        ],
        dtype=np.int64,
    )
    finish_ns = np.array(
        [
            -1 if r[3] is None else f + round(r[3] * NS_PER_MS) * (r[1] - 1)
            for r, f in zip(rows, first_ns, strict=True)
        ],
        dtype=np.int64,
    )
    zeros = np.zeros(len(rows), dtype=np.int64)
    return RequestTable(
        arrival_ns=arrival_ns,
        isl=zeros + 5,
        osl=osl,
        first_token_ns=first_ns,
        finish_ns=finish_ns,
        status=np.array([r[4] for r in rows], dtype="<U10"),
        retries=zeros,
        preemptions=zeros,
    )


MIXED = table(
    (0.0, 11, 100.0, 10.0, "completed"),  # exactly on both targets
    (1.0, 11, 101.0, 5.0, "completed"),  # TTFT missed
    (2.0, 11, 50.0, 11.0, "completed"),  # ITL missed
    (3.0, 1, 60.0, 0.0, "completed"),  # one token: TTFT alone counts
    (4.0, 11, 70.0, None, "failed"),
    (5.0, 11, None, None, "rejected"),
    (6.0, 11, None, None, "unfinished"),
    (7.0, 11, 20.0, 98.0, "completed"),  # ends at 8 s
)


def test_quantiles_interpolate_and_skip_nan():
    values = quantiles(np.array([1.0, np.nan, 2.0, 3.0, 4.0, 5.0]))
    assert values is not None
    assert (values.p50, values.p95, values.p99, values.count) == (3.0, 4.8, 4.96, 5)
    assert quantiles(np.array([np.nan])) is None
    assert quantiles(np.array([])) is None


def test_summary_of_a_mixed_table():
    summary = summarise(MIXED, SLA)
    assert (summary.offered, summary.completed) == (8, 5)
    assert (summary.failed, summary.rejected, summary.unfinished) == (1, 1, 1)
    assert summary.duration_s == 8.0
    assert summary.attainment_ratio == 2 / 8
    assert summary.goodput_rps == 2 / 8.0
    assert summary.completed_ratio == 5 / 8
    assert summary.output_tokens_per_s == 45 / 8.0
    assert summary.ttft_ms is not None
    assert (summary.ttft_ms.count, summary.ttft_ms.p50) == (6, 65.0)
    assert summary.itl_ms is not None
    assert (summary.itl_ms.count, summary.itl_ms.p50) == (4, 10.5)
    assert summary.e2e_ms is not None
    assert summary.e2e_ms.count == 5


def test_an_e2e_target_replaces_the_other_two():
    sla = SlaTarget(ttft_ms=1.0, itl_ms=1.0, e2e_ms=160.0)
    # E2E: 200, 151, 160, 60, 1000 ms.
    assert summarise(MIXED, sla).attainment_ratio == 3 / 8


def test_nothing_completed_is_unknown_not_zero():
    summary = summarise(table((0.0, 5, None, None, "failed")), SLA)
    assert summary.ttft_ms is None
    assert summary.itl_ms is None
    assert summary.e2e_ms is None
    assert summary.output_tokens_per_s is None
    assert summary.goodput_rps is None
    assert summary.attainment_ratio == 0.0
    assert summary.completed_ratio == 0.0


def test_no_requests_at_all():
    summary = summarise(merge_tables([]), SLA)
    assert summary.offered == 0
    assert summary.attainment_ratio is None
    assert summary.completed_ratio is None
    assert summary.duration_s is None


def test_seeds_pool_their_requests_and_add_their_durations():
    one = table((0.0, 2, 50.0, 950.0, "completed"))
    two = table((5.0, 2, 70.0, 2930.0, "completed"), (5.0, 2, None, None, "failed"))
    summary = summarise_runs([one, two], SlaTarget(ttft_ms=100.0, itl_ms=5000.0))
    assert summary.offered == 3
    assert summary.duration_s == 4.0
    assert summary.goodput_rps == 0.5
    assert summary.output_tokens_per_s == 1.0
    assert summary.ttft_ms is not None
    assert summary.ttft_ms.p50 == 60.0


def test_differences_between_rungs():
    reference = summarise(table((0.0, 2, 100.0, 10.0, "completed")), SLA)
    other = summarise(table((0.0, 2, 104.0, 12.0, "completed")), SLA)
    rows = compare(reference, other, ttft_ratio_tolerance=0.05, itl_ratio_tolerance=0.1)
    assert [(r.metric, r.quantile) for r in rows] == [
        (metric, q) for metric in ("ttft_ms", "itl_ms", "e2e_ms") for q in ("p50", "p95")
    ]
    by_name = {(r.metric, r.quantile): r for r in rows}
    ttft = by_name["ttft_ms", "p50"]
    assert (ttft.reference, ttft.other, ttft.tolerance_ratio, ttft.ok) == (100.0, 104.0, 0.05, True)
    assert ttft.ratio == pytest.approx(0.04)
    assert by_name["itl_ms", "p50"].ok is False
    assert by_name["itl_ms", "p50"].ratio == pytest.approx(0.2)
    assert by_name["itl_ms", "p95"].tolerance_ratio is None
    assert by_name["itl_ms", "p95"].ok is None
    assert by_name["e2e_ms", "p50"].ok is None


def test_a_faster_rung_also_misses_the_tolerance():
    reference = summarise(table((0.0, 2, 100.0, 10.0, "completed")), SLA)
    other = summarise(table((0.0, 2, 90.0, 10.0, "completed")), SLA)
    first = compare(reference, other, ttft_ratio_tolerance=0.05, itl_ratio_tolerance=0.0)[0]
    assert first.ratio == pytest.approx(-0.1)
    assert first.ok is False


def test_a_rung_without_data_has_no_difference():
    reference = summarise(table((0.0, 2, 100.0, 10.0, "completed")), SLA)
    nothing = summarise(table((0.0, 2, None, None, "failed")), SLA)
    rows = compare(reference, nothing, ttft_ratio_tolerance=0.05, itl_ratio_tolerance=0.05)
    assert all(r.ratio is None and r.ok is None and r.other is None for r in rows)
