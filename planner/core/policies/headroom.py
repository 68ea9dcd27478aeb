"""Policy ``headroom``: expected rate over planned capacity, plus the backlog.

The line that a careful operator would write. The rate is the last value (or the last value
plus its trend), the capacity that of means at a share of utilisation; workers go only after
the need has been lower for the whole hold.
"""

from __future__ import annotations

from dataclasses import replace

from planner.core.demand import pool_demand
from planner.core.forecast import Forecast, predict
from planner.core.policies.contract import Policy, PoolProposal, Proposal, View
from planner.core.policies.hold import band, hold_note, remember_need, whole_replicas
from planner.core.state import NeedPoint


def propose(view: View) -> Proposal:
    """Bands from the present need (at least) to the highest need of the hold (at most)."""
    config, now_s = view.config, view.observation.now_s
    forecast = _forecast(view)
    expected = (forecast.rate_per_s, view.lengths)
    demands = [
        pool_demand(config, view.model, pool, view.observation, expected, stock)
        for pool, stock in zip(config.pools, view.stocks, strict=True)
    ]
    need = NeedPoint(at_s=now_s, replicas=tuple(demand.need_replicas for demand in demands))
    state = replace(view.state, needs=remember_need(config, view.state.needs, need))
    pools = []
    for index, demand in enumerate(demands):
        position = demand.inventory.position
        wanted = whole_replicas(demand.need_replicas, demand.pool)
        at_least, at_most = band(config, state, index, position)
        kept = at_most if demand.load_known else max(at_most, position)
        pools.append(
            PoolProposal(
                pool=demand.pool,
                stock=demand.inventory,
                load_known=demand.load_known,
                at_least=at_least,
                at_most=at_most,
                wanted=wanted,
                need=demand.need_replicas,
                capacity=demand.capacity,
                backlog_requests=demand.backlog_requests,
                notes=hold_note(config, kept, wanted, demand.load_known),
            )
        )
    return Proposal(state=state, pools=tuple(pools), forecast=forecast)


def _forecast(view: View) -> Forecast:
    config, rates = view.config, view.state.rates
    if not config.use_forecast:
        return Forecast(rate_per_s=rates[-1].rate_per_s, slope_per_s2=0.0)
    return predict(
        config.load_predictor,
        rates,
        horizon_s=view.lead_s,
        settings=config.predictor,
        growth_max=config.growth_ratio_max,
    )


HEADROOM = Policy(name="headroom", propose=propose)
