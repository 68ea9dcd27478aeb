"""One tick of the planner: state and observation in, state and decision out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from contracts.decision import Decision, RoleTarget
from contracts.observation import Observation, Traffic, Unknown
from planner.core.capacity import CapacityModel, Lengths
from planner.core.config import LoadPredictor, PlannerConfig
from planner.core.demand import PoolDemand, inventory, is_idle, pool_demand
from planner.core.forecast import Forecast, RatePoint, forecast_rate
from planner.core.state import NeedPoint, PlannerState
from planner.core.targets import PoolTarget, choose_targets, remember_need

_LENGTH_WEIGHT = 0.5


def tick(
    config: PlannerConfig, model: CapacityModel, state: PlannerState, observation: Observation
) -> tuple[PlannerState, Decision]:
    """Decide how many workers each role shall have.

    Policy "sla throughput": each pool gets enough replicas for the arrival rate expected
    one lead time ahead, plus its backlog, at the utilisation that keeps TTFT and ITL
    within their targets. Workers on order count, so nothing is ordered twice. Without
    traffic figures that are known and fresh the planner holds and forgets for how long
    demand has been low; measured zero traffic is zero and lets workers go.

    Equal arguments give equal results; nothing else is read.
    """
    traffic = _readable_traffic(config, observation)
    if isinstance(traffic, str):
        return _hold(config, state, observation, traffic)
    state = _remember_traffic(config, state, observation, traffic)
    forecast = _forecast(config, state)
    lengths = _lengths(config, state)
    if lengths is None and (forecast.rate_per_s > 0 or not is_idle(observation)):
        return _hold(config, state, observation, "no request has shown its lengths yet")
    expected = (forecast.rate_per_s, lengths)
    demands = [pool_demand(config, model, pool, observation, expected) for pool in config.pools]
    need = NeedPoint(at_s=observation.now_s, replicas=tuple(d.need_replicas for d in demands))
    since_s = state.sighted_since_s
    state = replace(
        state,
        needs=remember_need(config, state.needs, need),
        sighted_since_s=observation.now_s if since_s is None else since_s,
    )
    targets = choose_targets(config, state, demands, observation.now_s)
    decision = Decision(
        now_s=observation.now_s,
        targets=tuple(
            RoleTarget(role=demand.pool.role, replicas=target.replicas)
            for demand, target in zip(demands, targets, strict=True)
        ),
        reason=_reason(config, traffic, forecast, list(zip(demands, targets, strict=True))),
        figures={
            **_traffic_figures(config, traffic, forecast, lengths),
            **_pool_figures(demands, targets),
        },
    )
    return state, decision


def _readable_traffic(config: PlannerConfig, observation: Observation) -> Traffic | str:
    """The traffic, or why it cannot be used."""
    traffic = observation.traffic
    if isinstance(traffic, Unknown):
        stale = ", which is stale" if traffic.age_s > config.stale_after_s else ""
        return f"traffic is unknown ({traffic.reason}; last read {traffic.age_s:g} s ago{stale})"
    if observation.window_s > config.stale_after_s:
        return (
            f"the last {observation.window_s:g} s are one window, longer than the "
            f"{config.stale_after_s:g} s that still say something about now"
        )
    return traffic


def _hold(
    config: PlannerConfig, state: PlannerState, observation: Observation, why: str
) -> tuple[PlannerState, Decision]:
    figures: dict[str, float] = {}
    if observation.workers:
        for pool in config.pools:
            position = inventory(observation, pool.role).position
            figures[f"{pool.role.value}_position_replicas"] = float(position)
    if isinstance(observation.traffic, Unknown):
        figures["unknown_age_s"] = observation.traffic.age_s
    decision = Decision(
        now_s=observation.now_s,
        targets=(),
        reason=f"Hold: {why}.",
        held=True,
        figures=figures,
    )
    return replace(state, needs=(), sighted_since_s=None), decision


def _remember_traffic(
    config: PlannerConfig, state: PlannerState, observation: Observation, traffic: Traffic
) -> PlannerState:
    point = RatePoint(
        at_s=observation.now_s, window_s=observation.window_s, rate_per_s=traffic.rate_per_s
    )
    oldest_s = observation.now_s - config.trend_history_s
    return replace(
        state,
        rates=(*(p for p in state.rates if oldest_s <= p.at_s < observation.now_s), point),
        isl_mean=_smooth(state.isl_mean, traffic.isl_mean),
        osl_mean=_smooth(state.osl_mean, traffic.osl_mean),
    )


def _smooth(old: float | None, new: float | None) -> float | None:
    if old is None or new is None:
        return old if new is None else new
    return old + _LENGTH_WEIGHT * (new - old)


def _forecast(config: PlannerConfig, state: PlannerState) -> Forecast:
    if config.load_predictor is LoadPredictor.CONSTANT:
        return Forecast(rate_per_s=state.rates[-1].rate_per_s, slope_per_s2=0.0)
    return forecast_rate(state.rates, lead_s=config.lead_s, growth_max=config.growth_ratio_max)


def _lengths(config: PlannerConfig, state: PlannerState) -> Lengths | None:
    isl = config.isl_expected if state.isl_mean is None else state.isl_mean
    osl = config.osl_expected if state.osl_mean is None else state.osl_mean
    if isl is None or osl is None:
        return None
    return Lengths(isl=max(1.0, isl), osl=max(1.0, osl))


def _reason(
    config: PlannerConfig,
    traffic: Traffic,
    forecast: Forecast,
    outcomes: Sequence[tuple[PoolDemand, PoolTarget]],
) -> str:
    parts = [
        f"{traffic.rate_per_s:.3g} requests/s now, "
        f"{forecast.rate_per_s:.3g} expected in {config.lead_s:g} s"
    ]
    return "; ".join(parts + [_pool_reason(demand, target) for demand, target in outcomes]) + "."


def _pool_reason(demand: PoolDemand, target: PoolTarget) -> str:
    position = demand.inventory.position
    text = f"{demand.pool.role.value}: "
    if demand.capacity is not None:
        text += f"{demand.capacity.requests_per_s:.3g} requests/s per replica, "
    if demand.backlog_requests > 0:
        text += f"{demand.backlog_requests:.0f} requests too many in the queue, "
    text += f"{target.wanted} wanted, {position} in place, "
    text += "stay" if target.replicas == position else f"go to {target.replicas}"
    notes = (*target.notes, *(demand.capacity.notes if demand.capacity is not None else ()))
    return f"{text} ({', '.join(notes)})" if notes else text


def _traffic_figures(
    config: PlannerConfig, traffic: Traffic, forecast: Forecast, lengths: Lengths | None
) -> dict[str, float]:
    figures: dict[str, float | None] = {
        "rate_per_s": traffic.rate_per_s,
        "forecast_rate_per_s": forecast.rate_per_s,
        "forecast_slope_per_s2": forecast.slope_per_s2,
        "lead_s": config.lead_s,
        "isl_mean_tokens": None if lengths is None else lengths.isl,
        "osl_mean_tokens": None if lengths is None else lengths.osl,
        "ttft_ms_mean": traffic.ttft_ms_mean,
        "itl_ms_mean": traffic.itl_ms_mean,
    }
    return {name: value for name, value in figures.items() if value is not None}


def _pool_figures(demands: Sequence[PoolDemand], targets: Sequence[PoolTarget]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for demand, target in zip(demands, targets, strict=True):
        role = demand.pool.role.value
        figures[f"{role}_ready_replicas"] = float(demand.inventory.ready)
        figures[f"{role}_position_replicas"] = float(demand.inventory.position)
        figures[f"{role}_need_replicas"] = demand.need_replicas
        figures[f"{role}_wanted_replicas"] = float(target.wanted)
        figures[f"{role}_target_replicas"] = float(target.replicas)
        figures[f"{role}_backlog_requests"] = demand.backlog_requests
        if demand.capacity is not None:
            figures[f"{role}_capacity_requests_per_s"] = demand.capacity.requests_per_s
            figures[f"{role}_utilisation_ratio"] = demand.capacity.utilisation_ratio
    return figures
