"""What must hold for every observation, however odd."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
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
    LoadPredictor,
    PlannerConfig,
    PlannerState,
    PolicyName,
    PoolConfig,
    PredictorSettings,
    tick,
)
from planner.core.capacity import Lengths, capacity, md1_utilisation_limit
from planner.core.demand import inventory
from planner.core.forecast import RatePoint, predict
from planner.core.policies.hold import HOUR_S, reversals
from planner.core.queueing import servers_for_wait, wait_tail

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
LOOKING = [PolicyName.SLA, PolicyName.HEADROOM, PolicyName.THROUGHPUT, PolicyName.REACTIVE]


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
        policy=draw(st.sampled_from(LOOKING)),
        load_predictor=draw(st.sampled_from(LoadPredictor)),
        predictor=PredictorSettings(
            log1p=draw(st.booleans()), season_s=draw(st.sampled_from([0.0, 60.0]))
        ),
        attainment_target=draw(st.floats(0.5, 0.9999)),
        miss_price=draw(st.none() | st.floats(1.0, 1000.0)),
        use_load=draw(st.booleans()),
        slow_interval_s=draw(st.sampled_from([None, 15.0])),
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
@settings(max_examples=60, deadline=None)
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
@settings(max_examples=40, deadline=None)
def test_equal_stories_have_equal_decisions(told):
    plan, story = told
    assert play(plan, story) == play(plan, story)


@given(stories())
@settings(max_examples=60, deadline=None)
def test_nothing_shrinks_before_the_hold_unless_the_budget_forces_it(told):
    plan, story = told
    assume(plan.policy in (PolicyName.SLA, PolicyName.HEADROOM))
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


@given(
    st.lists(st.floats(0.0, 1e5), min_size=1, max_size=40),
    st.sampled_from(LoadPredictor),
    st.booleans(),
    st.floats(0.0, 600.0),
)
def test_forecasts_are_finite_and_their_quantiles_ordered(rates, name, log1p, horizon_s):
    points = [RatePoint(at_s=5.0 * i, window_s=5.0, rate_per_s=r) for i, r in enumerate(rates)]
    found = predict(
        name,
        points,
        horizon_s=horizon_s,
        settings=PredictorSettings(log1p=log1p, season_s=60.0),
        growth_max=2.0,
    )
    low, middle, high = (found.quantile(p) for p in (0.1, 0.5, 0.9))
    assert np.isfinite([found.rate_per_s, low, middle, high]).all()
    assert 0.0 <= low <= middle <= high


@given(st.floats(0.01, 1e3), st.floats(0.001, 10.0), st.floats(0.0, 10.0), st.floats(1e-4, 0.3))
def test_servers_for_wait_are_enough(rate_per_s, service_s, wait_s, miss_ratio):
    known = {
        "rate_per_s": rate_per_s,
        "service_s": service_s,
        "variability": 1.0,
        "wait_s": wait_s,
    }
    servers = servers_for_wait(miss_ratio=miss_ratio, **known)
    assert wait_tail(servers=servers, **known) <= miss_ratio
    assert servers >= rate_per_s * service_s


@given(st.lists(st.floats(0.0, 60.0), min_size=20, max_size=60), st.integers(2, 8))
@settings(max_examples=25, deadline=None)
def test_sla_keeps_its_bound_on_reversals_whatever_the_traffic(rates, bound):
    plan = PlannerConfig(
        fleet=AggFleet(pool=PoolConfig(role=Role.AGG, gpus_per_replica=1)),
        sla=SlaTarget(ttft_ms=2000.0, itl_ms=40.0),
        interval_s=5.0,
        startup_s=0.0,
        gpu_budget=40,
        scale_down_hold_s=0.0,
        direction_changes_max=bound,
        step_replicas_max=40,
        stale_after_s=15.0,
        isl_expected=1000.0,
        osl_expected=200.0,
    )
    state, position = PlannerState(), 1
    for i, rate in enumerate(rates):
        observation = Observation(
            now_s=5.0 * i,
            window_s=5.0,
            traffic=Traffic(
                requests_started=round(rate * 5), rate_per_s=rate, isl_mean=None, osl_mean=None,
                ttft_ms_mean=None, itl_ms_mean=None,
            ),
            workers=tuple(
                WorkerView(worker_id=str(n), role=Role.AGG, state=WorkerState.READY, since_s=0.0)
                for n in range(position)
            ),
            loads=(
                PoolLoad(
                    role=Role.AGG, running_requests=0, waiting_requests=0,
                    waiting_prefill_tokens=0, kv_usage_ratio=0.0,
                ),
            ),
        )  # fmt: skip
        state, decision = tick(plan, MODEL, state, observation)
        position = decision.replicas(Role.AGG) or position
    assert 5.0 * len(rates) < HOUR_S
    assert reversals(state.moves, 0, 5.0 * len(rates)) <= bound
