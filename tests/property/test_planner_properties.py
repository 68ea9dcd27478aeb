"""What must hold for every observation, however odd."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.curves import DecodeCurves, PrefillCurves
from contracts.decision import Decision
from contracts.observation import Observation, PoolLoad, Traffic, Unknown, WorkerState, WorkerView
from contracts.plan import Role
from contracts.sla import SlaTarget
from planner.core import (
    AggFleet,
    CapacityModel,
    DisaggFleet,
    PlannerConfig,
    PlannerState,
    PoolConfig,
    tick,
)
from planner.core.capacity import Lengths, capacity, md1_utilisation_limit
from planner.core.demand import inventory

MODEL = CapacityModel(
    prefill=PrefillCurves(
        prefill_isl=np.array([100.0, 4000.0, 16000.0]),
        prefill_ttft=np.array([20.0, 150.0, 900.0]),
        prefill_thpt_per_gpu=np.array([5000.0, 26_000.0, 17_000.0]),
    ),
    decode=DecodeCurves(
        x_kv_usage=np.array([0.05, 0.5, 0.95, 0.05, 0.4, 0.8]),
        y_context_length=np.array([500.0, 500.0, 500.0, 8000.0, 8000.0, 8000.0]),
        z_itl=np.array([8.0, 15.0, 30.0, 8.0, 25.0, 60.0]),
        z_thpt_per_gpu=np.array([100.0, 900.0, 1600.0, 50.0, 250.0, 400.0]),
        max_kv_tokens=400_000,
    ),
)
positive = st.floats(0.1, 1000.0)


@st.composite
def configs(draw: st.DrawFn) -> PlannerConfig:
    def pool(role: Role) -> PoolConfig:
        gpus, floor = draw(st.integers(1, 8)), draw(st.integers(1, 3))
        return PoolConfig(role=role, gpus_per_replica=gpus, min_replicas=floor)

    fleet: AggFleet | DisaggFleet = (
        AggFleet(pool=pool(Role.AGG))
        if draw(st.booleans())
        else DisaggFleet(prefill=pool(Role.PREFILL), decode=pool(Role.DECODE))
    )
    floor_gpus = sum(p.min_replicas * p.gpus_per_replica for p in fleet.pools)
    return PlannerConfig(
        fleet=fleet,
        sla=SlaTarget(ttft_ms=draw(positive), itl_ms=draw(positive)),
        interval_s=5.0,
        startup_s=draw(st.floats(0.0, 300.0)),
        gpu_budget=floor_gpus + draw(st.integers(0, 40)),
        scale_down_hold_s=draw(st.sampled_from([0.0, 10.0, 60.0])),
        step_replicas_max=draw(st.integers(1, 50)),
        stale_after_s=15.0,
        backlog_drain_s=draw(positive),
        trend_history_s=60.0,
        isl_expected=draw(st.none() | st.floats(1.0, 20_000.0)),
        osl_expected=draw(st.none() | st.floats(1.0, 2000.0)),
    )


@st.composite
def observations(draw: st.DrawFn, now_s: float) -> Observation:
    rate = draw(st.sampled_from([0.0, 0.2]) | st.floats(0.0, 1e6))
    traffic: Traffic | Unknown = Unknown(reason="lost", age_s=draw(st.floats(0.0, 100.0)))
    if draw(st.integers(0, 4)) > 0:
        traffic = Traffic(
            requests_started=round(rate * 5),
            rate_per_s=rate,
            isl_mean=draw(st.none() | st.floats(1.0, 50_000.0)),
            osl_mean=draw(st.none() | st.floats(1.0, 5000.0)),
            ttft_ms_mean=None,
            itl_ms_mean=None,
        )
    pools = draw(st.lists(st.sampled_from(Role), unique=True))
    seen = draw(st.lists(st.tuples(st.sampled_from(Role), st.sampled_from(WorkerState))))
    return Observation(
        now_s=now_s,
        window_s=draw(st.sampled_from([5.0, 5.0, 5.0, 30.0])),
        traffic=traffic,
        workers=tuple(
            WorkerView(worker_id=str(i), role=role, state=state, since_s=0.0)
            for i, (role, state) in enumerate(seen)
        ),
        loads=tuple(
            PoolLoad(
                role=role,
                running_requests=draw(st.integers(0, 1000)),
                waiting_requests=draw(st.integers(0, 10_000)),
                waiting_prefill_tokens=draw(st.integers(0, 10**8)),
                kv_usage_ratio=draw(st.floats(0.0, 1.0)),
            )
            for role in pools
        ),
    )


@st.composite
def stories(draw: st.DrawFn) -> tuple[PlannerConfig, list[Observation]]:
    plan = draw(configs())
    return plan, [draw(observations(5.0 * i)) for i in range(draw(st.integers(1, 8)))]


def play(plan: PlannerConfig, story: list[Observation]) -> list[Decision]:
    state, decisions = PlannerState(), []
    for observation in story:
        state, decision = tick(plan, MODEL, state, observation)
        decisions.append(decision)
    return decisions


@given(stories())
def test_budget_floor_and_blindness_hold_in_every_tick(told):
    plan, story = told
    gpus = {pool.role: pool.gpus_per_replica for pool in plan.pools}
    for observation, decision in zip(story, play(plan, story), strict=True):
        assert decision.now_s == observation.now_s
        assert decision.reason
        assert decision.held == (decision.targets == ())
        if isinstance(observation.traffic, Unknown) or observation.window_s > plan.stale_after_s:
            assert decision.held
        if decision.held:
            continue
        assert plan.gpu_budget is not None
        assert sum(t.replicas * gpus[t.role] for t in decision.targets) <= plan.gpu_budget
        assert [t.role for t in decision.targets] == [p.role for p in plan.pools]
        for pool, target in zip(plan.pools, decision.targets, strict=True):
            assert target.replicas >= pool.min_replicas


@given(stories())
@settings(max_examples=50)
def test_equal_stories_have_equal_decisions(told):
    plan, story = told
    assert play(plan, story) == play(plan, story)


@given(stories())
def test_nothing_shrinks_before_the_hold_unless_the_budget_forces_it(told):
    plan, story = told
    sighted_since_s: float | None = None
    for observation, decision in zip(story, play(plan, story), strict=True):
        if decision.held:
            sighted_since_s = None
            continue
        if sighted_since_s is None:
            sighted_since_s = observation.now_s
        if observation.now_s - sighted_since_s >= plan.scale_down_hold_s:
            continue
        if "the budget of" in decision.reason:
            continue
        for target in decision.targets:
            assert target.replicas >= inventory(observation, target.role).position


@given(
    st.sampled_from(Role),
    st.floats(1.0, 20_000.0),
    st.floats(1.0, 3000.0),
    positive,
    positive,
)
def test_capacity_is_positive_and_grows_with_the_targets(role, isl, osl, ttft_ms, itl_ms):
    pool = PoolConfig(role=role, gpus_per_replica=1)
    lengths = Lengths(isl=isl, osl=osl)
    tight = capacity(MODEL, pool, lengths, SlaTarget(ttft_ms=ttft_ms, itl_ms=itl_ms), 0.8)
    loose = capacity(MODEL, pool, lengths, SlaTarget(ttft_ms=2 * ttft_ms, itl_ms=itl_ms), 0.8)
    assert tight.requests_per_s > 0
    assert 0 < tight.utilisation_ratio <= 0.8
    assert loose.requests_per_s >= tight.requests_per_s * (1 - 1e-9)


@given(st.floats(1.0, 1000.0), st.floats(0.001, 1e6))
def test_md1_limit_gives_back_the_wait(service_ms, wait_ms):
    rho = md1_utilisation_limit(service_ms, wait_ms)
    assert 0 < rho < 1
    assert abs(rho * service_ms / (2 * (1 - rho)) - wait_ms) <= 1e-6 * wait_ms
