"""Queueing tails, sizes that follow from them, and corrections learnt from residuals."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from planner_samples import AGG, DISAGG, config, load, model, seen, workers
from planner_stories import agg
from planner_stories import plan as sla_plan

from contracts.plan import Role
from contracts.sla import SlaTarget
from planner.core import PlannerState, PolicyName, PoolConfig, tick
from planner.core.capacity import Lengths
from planner.core.queueing import normal_quantile, normal_tail, servers_for_wait, wait_tail
from planner.core.residuals import corrections
from planner.core.sizing import Corrections, predicted_itl_ms, size_pool
from planner.core.state import Residual

LENGTHS = Lengths(isl=900.0, osl=200.0)
LOOSE = SlaTarget(ttft_ms=10_000.0, itl_ms=40.0)


@pytest.mark.parametrize(("p", "z"), [(0.5, 0.0), (0.975, 1.959964), (0.01, -2.326348)])
def test_normal_quantiles(p, z):
    assert normal_quantile(p) == pytest.approx(z, abs=5e-4)


def test_the_normal_tail_undoes_the_quantile():
    assert normal_tail(normal_quantile(0.99)) == pytest.approx(0.01, rel=0.01)


def test_the_wait_of_one_server_is_that_of_an_m_m_1_queue():
    # P(W > t) = rho * exp(-(1 - rho) * t / s).
    found = wait_tail(servers=1.0, rate_per_s=0.5, service_s=1.0, variability=1.0, wait_s=2.0)
    assert found == pytest.approx(0.5 * math.exp(-1.0))


def test_many_servers_agree_with_a_simulated_queue():
    rng = np.random.Generator(np.random.PCG64(2))
    arrivals = np.cumsum(rng.exponential(1.0 / 3.2, 40_000))
    free, waits = np.zeros(4), []
    for arrival, service in zip(arrivals, rng.exponential(1.0, 40_000), strict=True):
        first = int(np.argmin(free))
        start = max(arrival, free[first])
        waits.append(start - arrival)
        free[first] = start + service
    measured = float(np.mean(np.array(waits) > 2.0))
    found = wait_tail(servers=4.0, rate_per_s=3.2, service_s=1.0, variability=1.0, wait_s=2.0)
    assert found == pytest.approx(measured, rel=0.2)


def test_overload_and_impossible_waits_always_miss():
    known = {"rate_per_s": 2.0, "service_s": 1.0, "variability": 1.0}
    assert wait_tail(servers=2.0, wait_s=9.0, **known) == 1.0
    assert wait_tail(servers=9.0, wait_s=-0.1, **known) == 1.0
    assert math.isinf(servers_for_wait(wait_s=-0.1, miss_ratio=0.01, **known))


def test_servers_for_wait_just_keep_the_share():
    known = {"rate_per_s": 5.0, "service_s": 0.3, "variability": 1.0, "wait_s": 0.5}
    servers = servers_for_wait(miss_ratio=0.01, **known)
    assert wait_tail(servers=servers, **known) <= 0.01
    assert wait_tail(servers=servers - 0.01, **known) > 0.01
    assert servers_for_wait(miss_ratio=0.01, **(known | {"rate_per_s": 0.0})) == 0.0


@pytest.mark.parametrize("pool", [*DISAGG.pools, AGG.pool], ids=lambda pool: pool.role.value)
def test_needs_grow_with_rate_and_strictness(pool):
    one = size_pool(model(), pool, LENGTHS, SlaTarget(ttft_ms=1000.0, itl_ms=60.0))
    needs = [one.replicas(rate, 0.01) for rate in (0.0, 1.0, 5.0, 25.0)]
    assert needs[0] == 0.0
    assert needs == sorted(needs)
    assert one.replicas(5.0, 0.001) > one.replicas(5.0, 0.1)


def test_large_fleets_need_less_headroom():
    one = size_pool(model(), DISAGG.decode, LENGTHS, LOOSE)
    per_rate = [one.replicas(rate, 0.01) / rate for rate in (1.0, 10.0, 100.0)]
    assert per_rate == sorted(per_rate, reverse=True)
    # In the limit the capacity by means: 2.5 requests/s.
    assert per_rate[-1] == pytest.approx(0.4, rel=0.1)


def test_an_unreachable_ttft_does_not_ask_for_ever_more():
    one = size_pool(model(), DISAGG.prefill, LENGTHS, SlaTarget(ttft_ms=50.0, itl_ms=40.0))
    # 100 ms of service at the utilisation floor of 0.3.
    assert one.replicas(3.0, 0.01) == pytest.approx(1.0)


def test_attainment_rises_with_replicas_up_to_one():
    one = size_pool(model(), AGG.pool, LENGTHS, SlaTarget(ttft_ms=2000.0, itl_ms=60.0))
    shares = [one.attainment(count, 6.0) for count in range(12)]
    assert shares[0] == 0.0
    assert shares == sorted(shares)
    assert shares[-1] > 0.99
    assert one.attainment(1, 0.0) == 1.0


def test_prefix_hits_make_prompts_cheaper_but_not_contexts():
    pool = PoolConfig(role=Role.PREFILL, gpus_per_replica=1)
    plain = size_pool(model(), pool, Lengths(isl=2000.0, osl=200.0), LOOSE)
    hits = size_pool(
        model(), pool, Lengths(isl=2000.0, osl=200.0), LOOSE, Corrections(hit_ratio=0.5)
    )
    assert (plain.service_s, hits.service_s) == (pytest.approx(0.2), pytest.approx(0.1))


def test_a_slower_engine_needs_more_replicas():
    fast = size_pool(model(), DISAGG.decode, LENGTHS, LOOSE)
    slow = size_pool(model(), DISAGG.decode, LENGTHS, LOOSE, Corrections(itl_ratio=2.0))
    assert slow.replicas(10.0, 0.01) > fast.replicas(10.0, 0.01)


def test_predicted_itl_follows_the_curve():
    # Context 1000: 2 tokens in flight at 10 ms ... 20 requests at 40 ms.
    assert predicted_itl_ms(model(), DISAGG.decode, LENGTHS, 8.0) == pytest.approx(20.0)
    assert predicted_itl_ms(model(), DISAGG.decode, LENGTHS, 20.0) == pytest.approx(40.0)


def test_corrections_are_neutral_until_enough_was_seen_and_ignore_outliers():
    usual = [Residual(itl_ratio=1.2, hit_ratio=0.4)] * 4
    assert corrections(usual) == Corrections()
    odd = Residual(itl_ratio=50.0, hit_ratio=0.0)
    found = corrections([*usual, odd, *usual])
    assert (found.itl_ratio, found.hit_ratio) == (1.2, 0.4)
    assert corrections([odd] * 9).itl_ratio == 2.0


def test_residuals_are_learnt_in_calm_windows_only():
    state = PlannerState()
    plan = config(policy=PolicyName.SLA)
    slow = seen(0.0, 5.0, decode=2).traffic

    def observe(at_s: float, decode: int) -> None:
        nonlocal state
        traffic = type(slow)(
            requests_started=25, rate_per_s=5.0, isl_mean=2000.0, osl_mean=200.0,
            ttft_ms_mean=150.0, itl_ms_mean=60.0,
        )  # fmt: skip
        view = seen(
            at_s,
            5.0,
            traffic=traffic,
            workers=(*workers(Role.PREFILL, 1), *workers(Role.DECODE, decode)),
            loads=(load(Role.PREFILL), load(Role.DECODE, running_requests=8 * decode)),
        )
        state, _ = tick(plan, model(), state, view)

    observe(0.0, 2)
    assert state.residuals == ()
    for i in range(1, 7):
        observe(5.0 * i, 2)
    # Predicted 40 ms at 8 requests each. 5 prompts of 1000 tokens a second keep one replica
    # half busy: 100 ms, and 50 ms of waiting, so the other 1000 of 2000 came from the cache.
    assert len(state.residuals) == 6
    assert corrections(state.residuals).itl_ratio == pytest.approx(1.5)
    assert corrections(state.residuals).hit_ratio == pytest.approx(0.5, abs=1e-3)
    observe(40.0, 3)
    assert len(state.residuals) == 6


def test_a_decode_pool_with_a_queue_is_seen_to_be_slow():
    state, plan = PlannerState(), config(policy=PolicyName.SLA)
    traffic = replace(
        seen(0.0, 5.0).traffic, isl_mean=1000.0, osl_mean=200.0, ttft_ms_mean=5000.0,
        itl_ms_mean=60.0,
    )  # fmt: skip
    for i in range(8):
        full = load(Role.DECODE, running_requests=16, waiting_requests=40)
        view = seen(
            5.0 * i,
            5.0,
            traffic=traffic,
            workers=(*workers(Role.PREFILL, 1), *workers(Role.DECODE, 2)),
            loads=(load(Role.PREFILL), full),
        )
        state, _ = tick(plan, model(), state, view)
    # Predicted 20 ms at 8 requests each, but 60 ms were seen; no more than twice is believed.
    assert corrections(state.residuals).itl_ratio == pytest.approx(2.0)


def test_an_aggregated_pool_with_a_queue_shows_no_itl():
    queue = load(Role.AGG, running_requests=8, waiting_requests=9)
    story = [agg(5.0 * i, 5.0, 2, load=queue) for i in range(8)]
    state = PlannerState()
    for view in story:
        state, _ = tick(sla_plan(PolicyName.SLA), model(), state, view)
    assert all(each.itl_ratio is None for each in state.residuals)


def test_a_slower_decode_worker_serves_fewer_also_where_kv_binds():
    no_target = SlaTarget(ttft_ms=10_000.0, itl_ms=1000.0)
    fast = size_pool(model(), DISAGG.decode, LENGTHS, no_target)
    slow = size_pool(model(), DISAGG.decode, LENGTHS, no_target, Corrections(itl_ratio=1.25))
    assert slow.in_flight_max == fast.in_flight_max
    assert slow.stay_s == pytest.approx(1.25 * fast.stay_s)
    assert slow.plain.requests_per_s_max == pytest.approx(fast.plain.requests_per_s_max / 1.25)
