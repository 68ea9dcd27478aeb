"""One tick of the planner: observe, propose, constrain, decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from contracts.decision import Decision, RoleTarget
from contracts.observation import Observation, Traffic, Unknown
from planner.core.attained import with_window
from planner.core.capacity import CapacityModel, Lengths
from planner.core.config import PlannerConfig
from planner.core.demand import is_idle
from planner.core.forecast import RatePoint
from planner.core.inventory import inventory, patience_s, remember_starts, startup_s
from planner.core.policies import POLICIES, Policy, PoolProposal, Proposal, View
from planner.core.policies.hold import HOUR_S
from planner.core.residuals import KEPT, corrections, ready_counts, window_residual
from planner.core.state import Move, PlannerState
from planner.core.targets import PoolTarget, choose_targets
from planner.core.wording import decision_figures, decision_reason

# Lengths are averaged over about so many requests: with a coefficient of variation of one half
# that leaves three per cent of noise, and a new mix is believed within a minute at 5 requests/s.
_LENGTH_REQUESTS = 200.0


def tick(
    config: PlannerConfig,
    model: CapacityModel,
    state: PlannerState,
    observation: Observation,
    policies: Mapping[str, Policy] = POLICIES,
) -> tuple[PlannerState, Decision]:
    """Decide how many workers each role shall have.

    Workers on order count, so nothing is ordered twice. Without traffic figures that are
    known and fresh the planner holds and forgets for how long demand has been low; measured
    zero traffic is zero and lets workers go.

    Equal arguments give equal results; nothing else is read.

    Args:
        config: the configuration; its ``policy`` names who proposes.
        model: the capacity curves.
        state: memory of the tick before.
        observation: what is seen now.
        policies: policies by name.
    """
    policy = policies[config.policy]
    state, view = _observe(config, model, state, observation, policy)
    if isinstance(view, str):
        return _hold(config, state, observation, view)
    proposal = policy.propose(view)
    targets = choose_targets(config, proposal.pools)
    state = _remember_moves(proposal.state, proposal.pools, targets, observation.now_s)
    return state, _decide(view, proposal, targets)


def _observe(
    config: PlannerConfig,
    model: CapacityModel,
    state: PlannerState,
    observation: Observation,
    policy: Policy,
) -> tuple[PlannerState, View | str]:
    """The view of this tick, or why the planner holds."""
    state = remember_starts(state, observation.workers)
    traffic = _readable_traffic(config, observation)
    if isinstance(traffic, str):
        if policy.needs_traffic:
            return state, traffic
        return state, _view(config, model, state, observation, (None, None))
    state = _remember_traffic(config, state, observation, traffic)
    lengths = _lengths(config, state)
    if lengths is None and policy.needs_traffic:
        if state.rates[-1].rate_per_s > 0 or not is_idle(observation):
            return state, "no request has shown its lengths yet"
    elif lengths is not None and policy.needs_traffic:
        found = window_residual(config, model, state, observation, traffic, lengths)
        if found is not None:
            state = replace(state, residuals=(*state.residuals, found)[-KEPT:])
    since_s = state.sighted_since_s
    state = replace(
        state,
        ready=ready_counts(config, observation),
        sighted_since_s=observation.now_s if since_s is None else since_s,
    )
    return state, _view(config, model, state, observation, (traffic, lengths))


def _view(
    config: PlannerConfig,
    model: CapacityModel,
    state: PlannerState,
    observation: Observation,
    seen: tuple[Traffic | None, Lengths | None],
) -> View:
    patience = patience_s(config, state)
    loads = {load.role: load for load in observation.loads}
    return View(
        config=config,
        model=model,
        state=state,
        observation=observation,
        traffic=seen[0],
        lengths=seen[1],
        stocks=tuple(inventory(observation, pool.role, patience) for pool in config.pools),
        loads=tuple(loads.get(pool.role) for pool in config.pools),
        startup_s=startup_s(config, state),
        corrections=corrections(state.residuals),
    )


def _decide(view: View, proposal: Proposal, targets: Sequence[PoolTarget]) -> Decision:
    outcomes = list(zip(proposal.pools, targets, strict=True))
    return Decision(
        now_s=view.observation.now_s,
        targets=tuple(
            RoleTarget(role=asked.pool.role, replicas=target.ordered) for asked, target in outcomes
        ),
        reason=decision_reason(view, proposal, outcomes),
        figures=decision_figures(view, proposal, outcomes),
    )


def _remember_moves(
    state: PlannerState,
    proposals: Sequence[PoolProposal],
    targets: Sequence[PoolTarget],
    now_s: float,
) -> PlannerState:
    """Keep what was done.

    Changes of the last hour, one older one that says where a pool came from, and how often
    in a row workers were given up.
    """
    moves = list(state.moves)
    for index, (proposal, target) in enumerate(zip(proposals, targets, strict=True)):
        change = target.replicas - proposal.stock.position
        if change:
            moves.append(Move(at_s=now_s, pool=index, direction=1 if change > 0 else -1))
    kept = [
        move
        for at, move in enumerate(moves)
        if move.at_s > now_s - HOUR_S or not any(m.pool == move.pool for m in moves[at + 1 :])
    ]
    gave_up = any(
        target.ordered < proposal.stock.position + proposal.stock.stuck
        for proposal, target in zip(proposals, targets, strict=True)
        if proposal.stock.stuck
    )
    return replace(state, moves=tuple(kept), given_up=state.given_up + gave_up)


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
        isl_mean=_smooth(state.isl_mean, traffic.isl_mean, traffic.requests_started),
        osl_mean=_smooth(state.osl_mean, traffic.osl_mean, traffic.requests_started),
        attained=with_window(state.attained, traffic, config.sla, observation.window_s),
        spread=state.spread.with_window(
            traffic.requests_started, traffic.isl_mean, traffic.osl_mean
        ),
    )


def _smooth(old: float | None, new: float | None, requests: int) -> float | None:
    if old is None or new is None:
        return old if new is None else new
    return old + requests / (requests + _LENGTH_REQUESTS) * (new - old)


def _lengths(config: PlannerConfig, state: PlannerState) -> Lengths | None:
    isl = config.isl_expected if state.isl_mean is None else state.isl_mean
    osl = config.osl_expected if state.osl_mean is None else state.osl_mean
    if isl is None or osl is None:
        return None
    return Lengths(isl=max(1.0, isl), osl=max(1.0, osl))
