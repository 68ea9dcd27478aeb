"""Row arithmetic and picks, with numbers worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from thorough_samples import wish

from contracts.errors import InfeasibleError
from contracts.sla import SlaTarget
from profiler.core.request import PickMode
from profiler.thorough.pick import TTFT_CORRECTION, judged, rank
from profiler.thorough.points import (
    decode_lengths,
    doubled_counts,
    prefill_lengths,
    request_counts,
)
from profiler.thorough.rows import (
    AggRow,
    DecodeRow,
    PrefillRow,
    agg_option,
    excess,
    options,
    pair_option,
    pareto,
    within,
)

SLA = SlaTarget(ttft_ms=500.0, itl_ms=50.0)


def prefill(label="tp1", gpus=1, ttft_ms=100.0, dp=1):
    return PrefillRow(label=label, gpus=gpus, dp=dp, isl=1000, ttft_ms=ttft_ms)


def decode(label="tp1", gpus=1, itl_ms=20.0, per_gpu=1000.0, concurrency=10):
    return DecodeRow(
        label=label, gpus=gpus, osl=100, concurrency=concurrency, itl_ms=itl_ms,
        tokens_per_s_per_gpu=per_gpu,
    )  # fmt: skip


def agg(label="tp1", gpus=1, ttft_ms=200.0, itl_ms=30.0, per_gpu=300.0, concurrency=8):
    return AggRow(
        label=label, gpus=gpus, osl=100, concurrency=concurrency, ttft_ms=ttft_ms, itl_ms=itl_ms,
        tokens_per_s_per_gpu=per_gpu,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("dp", "most", "expected"),
    [
        (1, 0, ()),
        (1, 3, (1, 2, 3)),
        (1, 6, (1, 2, 3, 4, 5, 6)),
        (1, 101, (1, 21, 41, 61, 81, 101)),
        (1, 5000, (1, 400, 800, 1200, 1600, 2000)),
        (4, 3, ()),
        (4, 17, (4, 8, 12, 16)),
        (4, 84, (4, 20, 36, 52, 68, 84)),
    ],
)
def test_request_counts_are_those_of_the_reference(dp, most, expected):
    assert request_counts(dp, most) == expected


def test_curve_lengths_start_at_100_and_end_below_the_context():
    lengths = prefill_lengths(8192, 16)
    assert (lengths[0], len(lengths)) == (100, 17)
    assert lengths[-1] < 8192 - 512
    assert decode_lengths(8192, 6) == tuple(range(100, 7692, 1282))
    assert prefill_lengths(612, 16) == ()
    assert decode_lengths(600, 6) == ()
    assert doubled_counts(2, 19) == (2, 4, 8, 16, 18)
    assert doubled_counts(2, 1) == ()


def test_a_pair_is_as_fast_as_its_slower_side():
    # prefill: 1000 / 100 ms = 10 prompts/s; decode: 1000 * 1 / 100 = 10 answers/s.
    found = pair_option(prefill(), decode())
    assert found.seq_per_s == pytest.approx(9.0)
    assert found.tokens_per_s_per_gpu == pytest.approx(450.0)
    assert found.latency_ms == pytest.approx(100 + 20 * 99)
    assert found.tokens_per_s_per_user == pytest.approx(50.0)
    four = prefill(gpus=4, dp=4)
    assert four.seq_per_s == pytest.approx(40.0)
    assert four.tokens_per_s_per_gpu == pytest.approx(10_000.0)
    assert pair_option(four, decode(), (1, 4)).seq_per_s == pytest.approx(36.0)


def test_units_beyond_the_budget_and_figures_without_meaning_are_dropped():
    rows = [decode(), decode(itl_ms=math.nan), decode(per_gpu=math.inf)]
    found = options([prefill(), prefill(gpus=8)], rows, [agg(ttft_ms=math.inf)], 4)
    assert {o.gpus for o in found} == {2, 3}
    assert all(math.isfinite(x) for o in found for x in o.figures)
    assert [o.workers for o in options([prefill()], [decode()], [], 8, matched=False)] == [
        {"prefill": 1, "decode": 1}
    ]


def test_targets_hold_ttft_in_every_mode():
    late = agg_option(agg(ttft_ms=501.0))
    assert not within(late, SLA)
    assert excess(late, SLA) == pytest.approx(501 / 500)
    e2e = replace(SLA, e2e_ms=3200.0)
    assert within(agg_option(agg()), e2e)  # 200 + 30 * 99 = 3170
    assert not within(agg_option(agg(ttft_ms=300.0)), e2e)


def test_the_default_pick_fills_the_budget_with_the_best_throughput():
    plain = replace(wish(), sla=SLA, total_gpus=4)
    fast_but_wide = agg("tp3", gpus=3, per_gpu=320.0)
    found = rank(plain, [], [], [agg(), agg("slow", itl_ms=51.0, per_gpu=900.0), fast_but_wide])
    # tp3 fits once in 4 GPUs, 320 * 3/4 = 240 < 300.
    assert [r.option.label for r in found] == ["agg-tp1", "agg-tp3"]
    assert (found[0].units, found[0].feasible) == (4, True)
    quick = replace(plain, latency_first=True)
    rows = [agg(), agg("tp2", gpus=2, ttft_ms=50.0, itl_ms=10.0, per_gpu=100.0)]
    assert rank(quick, [], [], rows)[0].option.label == "agg-tp2"


def test_without_a_good_row_the_closest_one_is_taken_and_says_so():
    plain = replace(wish(), sla=SLA)
    found = rank(plain, [], [], [agg("far", ttft_ms=5000.0), agg("near", itl_ms=60.0)])[0]
    assert (found.option.label, found.feasible) == ("agg-near", False)
    assert found.reason == "SLA not met: TTFT 200 ms (target 500), ITL 60.0 ms (target 50)"
    with pytest.raises(InfeasibleError, match="0 aggregated rows"):
        rank(plain, [prefill()], [], [])


def test_the_load_is_served_with_the_fewest_gpus():
    loaded = replace(wish(), sla=SLA, mode=PickMode.LOAD_MATCH, rate_per_s=20.0, total_gpus=8)
    found = rank(loaded, [prefill()], [decode()], [agg()])[0]
    # pairs: 9/s for 2 GPUs, three of them; agg: 3/s each, seven of them.
    assert (found.option.label, found.units, found.gpus) == ("disagg-prefill-tp1-decode-tp1", 3, 6)
    assert found.load_served_percent == 100.0
    steady = replace(loaded, rate_per_s=None, concurrency=20.0)
    assert rank(steady, [], [], [agg()])[0].units == 3


def test_a_load_beyond_the_budget_is_served_in_part():
    loaded = replace(wish(), sla=SLA, mode=PickMode.LOAD_MATCH, rate_per_s=20.0, total_gpus=2)
    found = rank(loaded, [], [], [agg(), agg("tp2", gpus=2, per_gpu=200.0)])
    assert (found[0].option.label, found[0].units, found[0].feasible) == ("agg-tp1", 2, False)
    assert found[0].load_served_percent == pytest.approx(30.0)
    assert "serves 30 % of the load within 2 GPUs" in found[0].reason
    assert all(r.gpus <= 2 for r in found)


def test_autoscaling_picks_each_role_with_room_for_a_queue():
    scaled = replace(wish(), sla=SLA, mode=PickMode.AUTOSCALE, total_gpus=8)
    rows = [prefill(ttft_ms=300.0), prefill("tp2", gpus=2, ttft_ms=200.0)]
    found = rank(scaled, rows, [decode(), decode(itl_ms=50.0, per_gpu=2000.0)], [agg()])[0]
    # 300 * 1.8 > 500, and an ITL at its target is not below it.
    assert found.option.parts == {"prefill": "tp2", "decode": "tp1"}
    assert found.option.ttft_ms == pytest.approx(200 * TTFT_CORRECTION)
    assert (found.option.itl_ms, found.units, found.feasible) == (20.0, 1, True)
    assert found.replicas == {"prefill": 1, "decode": 1}
    e2e = replace(scaled, sla=replace(SLA, e2e_ms=2500.0))
    assert rank(e2e, rows, [decode()], [])[0].feasible
    assert not rank(replace(e2e, sla=replace(SLA, e2e_ms=2300.0)), rows, [decode()], [])[0].feasible
    only_agg = rank(replace(scaled, total_gpus=1), rows, [decode()], [agg()])[0]
    assert (only_agg.option.label, only_agg.units) == ("agg-tp1", 1)


def test_nothing_on_the_pareto_front_is_beaten_and_everything_is_judged():
    found = [
        agg_option(agg()),
        agg_option(agg("worse", itl_ms=31.0)),
        agg_option(agg("quick", ttft_ms=10.0, per_gpu=10.0)),
    ]
    assert pareto(found) == [True, False, True]
    plain = replace(wish(), sla=SLA, total_gpus=3)
    assert judged(plain, found[0]).units == 3
    loaded = replace(plain, mode=PickMode.LOAD_MATCH, rate_per_s=6.0)
    assert judged(loaded, found[0]).units == 2
