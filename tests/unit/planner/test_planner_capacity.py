"""Curves and capacities against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from planner_samples import decode_curves, model, prefill_curves

from contracts.curves import PrefillCurves
from contracts.errors import InputError
from contracts.plan import Role
from contracts.sla import SlaTarget
from planner.core import CapacityModel, PoolConfig
from planner.core.capacity import Lengths, best_point, capacity, md1_utilisation_limit
from planner.core.curves import decode_line, prefill_ttft_ms

PREFILL = PoolConfig(role=Role.PREFILL, gpus_per_replica=1)
DECODE = PoolConfig(role=Role.DECODE, gpus_per_replica=2)
AGG = PoolConfig(role=Role.AGG, gpus_per_replica=1)


def sla(ttft_ms: float = 1e9, itl_ms: float = 1e9) -> SlaTarget:
    return SlaTarget(ttft_ms=ttft_ms, itl_ms=itl_ms)


@pytest.mark.parametrize(
    ("isl", "ttft_ms"), [(1000, 100.0), (1500, 150.0), (10, 100.0), (9000, 200.0)]
)
def test_prefill_ttft_is_linear_between_points_and_clamped_outside(isl, ttft_ms):
    assert prefill_ttft_ms(prefill_curves(), isl) == ttft_ms


def test_prefill_points_may_come_in_any_order():
    curves = PrefillCurves(
        prefill_isl=np.array([2000.0, 1000.0]),
        prefill_ttft=np.array([200.0, 100.0]),
        prefill_thpt_per_gpu=np.array([1.0, 1.0]),
    )
    assert prefill_ttft_ms(curves, 1250) == 125.0


def test_decode_line_in_a_column_is_that_column():
    line = decode_line(decode_curves(), 1000.0)
    assert line.kv_usage.tolist() == [0.1, 0.5, 0.9]
    assert line.itl_ms.tolist() == [10.0, 20.0, 40.0]
    assert line.tokens_per_s_per_gpu.tolist() == [100.0, 400.0, 500.0]


def test_decode_line_between_columns_blends_at_equal_usage_and_clamps_the_shorter_column():
    line = decode_line(decode_curves(), 1250.0)
    assert line.kv_usage.tolist() == [0.1, 0.5, 0.9]
    assert line.itl_ms.tolist() == [12.5, 25.0, 40.0]
    assert line.tokens_per_s_per_gpu.tolist() == [100.0, 350.0, 425.0]


@pytest.mark.parametrize(("context", "same_as"), [(10.0, 1000.0), (99_999.0, 2000.0)])
def test_decode_line_outside_the_columns_is_the_nearest(context, same_as):
    curves = decode_curves()
    assert (
        decode_line(curves, context).itl_ms.tolist() == decode_line(curves, same_as).itl_ms.tolist()
    )


def test_points_of_equal_usage_are_averaged():
    curves = decode_curves()
    curves.x_kv_usage[1] = 0.1
    line = decode_line(curves, 1000.0)
    assert line.kv_usage.tolist() == [0.1, 0.9]
    assert line.itl_ms.tolist() == [15.0, 40.0]


def test_refined_line_keeps_its_ends_and_its_course():
    line = decode_line(decode_curves(), 1000.0).refined(2)
    assert line.kv_usage.tolist() == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    assert line.itl_ms.tolist() == pytest.approx([10.0, 15.0, 20.0, 30.0, 40.0])


@pytest.mark.parametrize(
    ("wait_ms", "limit"), [(0.0, 0.0), (-5.0, 0.0), (50.0, 0.5), (100.0, 2 / 3), (1e12, 1.0)]
)
def test_md1_limit_inverts_the_mean_wait(wait_ms, limit):
    rho = md1_utilisation_limit(100.0, wait_ms)
    assert rho == pytest.approx(limit)
    if 0 < rho < 0.999:
        assert rho * 100.0 / (2 * (1 - rho)) == pytest.approx(wait_ms)


def test_best_point_takes_the_crossing():
    itl_ms, rate = np.array([10.0, 20.0, 40.0]), np.array([1.0, 4.0, 5.0])
    assert best_point(itl_ms, rate, 30.0) == (4.5, 30.0, True)
    assert best_point(itl_ms, rate, 20.0) == (4.0, 20.0, True)
    assert best_point(itl_ms, rate, 40.0) == (5.0, 40.0, True)


def test_best_point_looks_past_a_hump():
    itl_ms, rate = np.array([10.0, 50.0, 20.0]), np.array([1.0, 2.0, 3.0])
    assert best_point(itl_ms, rate, 30.0) == (3.0, 20.0, True)


def test_best_point_of_a_hopeless_target_is_the_lowest_itl():
    itl_ms, rate = np.array([30.0, 20.0, 40.0]), np.array([1.0, 2.0, 3.0])
    assert best_point(itl_ms, rate, 5.0) == (2.0, 20.0, False)


def test_prefill_capacity_keeps_mean_wait_plus_service_at_the_target():
    found = capacity(model(), PREFILL, Lengths(isl=1000, osl=1), sla(ttft_ms=150.0), 0.9)
    # Service 100 ms, 50 ms may be waited: rho = 0.5.
    assert found.requests_per_s_max == 10.0
    assert found.requests_per_s == 5.0
    assert found.requests_in_flight_max is None
    assert found.notes == ()


def test_prefill_capacity_leaves_headroom_when_the_queue_would_allow_more():
    found = capacity(model(), PREFILL, Lengths(isl=1000, osl=1), sla(ttft_ms=10_000.0), 0.8)
    assert found.requests_per_s == 8.0


@pytest.mark.parametrize(
    ("ttft_ms", "word"), [(60.0, "TTFT target 60 ms is out of reach"), (105.0, "tight TTFT")]
)
def test_prefill_capacity_never_below_the_utilisation_floor_but_says_so(ttft_ms, word):
    found = capacity(model(), PREFILL, Lengths(isl=1000, osl=1), sla(ttft_ms=ttft_ms), 0.8)
    assert found.requests_per_s == pytest.approx(3.0)
    assert word in found.notes[0]
    assert "100 ms" in found.notes[0]


def test_prompts_beyond_the_profile_are_noted():
    found = capacity(model(), PREFILL, Lengths(isl=3000, osl=1), sla(), 1.0)
    assert found.notes == ("ISL 3000 is beyond the profiled 2000",)


def test_decode_capacity_uses_all_gpus_of_the_replica():
    found = capacity(model(), DECODE, Lengths(isl=900, osl=200), sla(itl_ms=30.0), 0.8)
    # Context 1000: 450 tokens/s per GPU at 30 ms, two GPUs, 200 tokens each.
    assert found.requests_per_s_max == pytest.approx(4.5)
    assert found.requests_per_s == pytest.approx(3.6)
    # Little: 900 tokens/s * 0.03 s.
    assert found.requests_in_flight_max == pytest.approx(27.0)
    assert found.notes == ()


def test_decode_capacity_of_a_hopeless_target_is_the_best_attainable():
    found = capacity(model(), DECODE, Lengths(isl=900, osl=200), sla(itl_ms=5.0), 1.0)
    assert found.requests_per_s == pytest.approx(1.0)
    assert found.notes == ("ITL target 5 ms is out of reach: the best is 10.0 ms",)


def test_agg_capacity_shares_the_time():
    found = capacity(model(), AGG, Lengths(isl=900, osl=200), sla(), 1.0)
    # 1/mu = 0.1 s (prefill) + 200/500 s (decode at the last point).
    assert found.requests_per_s == pytest.approx(2.0)


def test_agg_capacity_honours_the_itl_that_prefill_stretches():
    lengths = Lengths(isl=900, osl=200)
    # At usage 0.5: d = 2 requests/s, ITL 20 ms * (1 + 0.1 * 2) = 24 ms, 1/mu = 0.1 + 0.5.
    found = capacity(model(), AGG, lengths, sla(itl_ms=24.0), 1.0)
    assert found.requests_per_s == pytest.approx(1 / 0.6)
    assert found.requests_in_flight_max == pytest.approx(200 * 0.024 / 0.6)
    decode_alone = capacity(
        model(), PoolConfig(role=Role.DECODE, gpus_per_replica=1), lengths, sla(itl_ms=24.0), 1.0
    )
    assert found.requests_per_s < decode_alone.requests_per_s


def test_agg_capacity_is_limited_by_waiting_prompts():
    # At usage 0.5: d = 20 requests/s, ITL 20 ms * (1 + 0.1 * 20) = 60 ms, mu = 1 / 0.15 s.
    lengths = Lengths(isl=990, osl=20)
    free = capacity(model(), AGG, lengths, sla(itl_ms=60.0), 1.0)
    assert free.requests_per_s == pytest.approx(1 / 0.15)
    # Prefill 100 ms, one step of 60 ms, 50 ms of waiting: rho = 0.5, so 0.5 / 0.1 s.
    bound = capacity(model(), AGG, lengths, sla(ttft_ms=210.0, itl_ms=60.0), 1.0)
    assert bound.requests_per_s == pytest.approx(5.0)
    assert bound.requests_per_s_max == pytest.approx(1 / 0.15)


@pytest.mark.parametrize(
    ("name", "value"), [("prefill_ttft", 0.0), ("prefill_isl", np.nan), ("prefill_ttft", np.inf)]
)
def test_model_refuses_unusable_prefill_values(name, value):
    curves = prefill_curves()
    getattr(curves, name)[0] = value
    with pytest.raises(InputError, match=name):
        CapacityModel(prefill=curves, decode=decode_curves())


@pytest.mark.parametrize(
    ("name", "value"), [("z_itl", -1.0), ("z_thpt_per_gpu", 0.0), ("x_kv_usage", -0.1)]
)
def test_model_refuses_unusable_decode_values(name, value):
    curves = decode_curves()
    getattr(curves, name)[0] = value
    with pytest.raises(InputError, match=name):
        CapacityModel(prefill=prefill_curves(), decode=curves)
