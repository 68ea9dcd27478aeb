"""Policy ``sla``: order for the time at which orders serve, by what a replica is worth.

Up: the number of replicas at which misses and GPU time cost least together, over the
distribution of the rate one lead time ahead (:mod:`planner.core.worth`), and, when a backlog
will be there by then, what works it off at least cost. Workers on order count with the time
that is left until they serve, so several orders may be in flight. Down: only when a miss
that cost ``keep_price_ratio`` times more would still not keep them, neither now nor one lead
time ahead, during the whole hold (a fifth of it while the rate surely falls), with no backlog,
and while the bound on reversals leaves room to grow again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from contracts.observation import PoolLoad
from contracts.plan import Role
from planner.core.attained import price_factor
from planner.core.config import ATTAINMENT_TARGET, MISS_PRICE, PoolConfig
from planner.core.forecast import Forecast, RatePoint, predict
from planner.core.inventory import Inventory
from planner.core.policies.contract import Policy, PoolProposal, Proposal, View
from planner.core.policies.hold import (
    confirmed,
    hold_note,
    kept,
    may_turn_down,
    remember_need,
    whole_replicas,
)
from planner.core.sizing import Sizing, size_pool
from planner.core.state import NeedPoint
from planner.core.worth import best_replicas, best_surge, jump_chance

_SPREADS = 2.0
# The rate falls surely when it is foreseen so many standard deviations below the present one.
_FALL_SPREADS = 1.0
# Misses of a backlog come all at once, so they are never cheaper than this.
_SURGE_PRICE = 12.0
# A forecast from fewer seconds of traffic than these, or than two lead times, orders nothing.
# This time and the one below are for the price at which they were tuned; who pays more for a
# miss waits less, in proportion.
_SETTLE_S_MAX, _SETTLE_LEADS = 60.0, 2.0
# A small fleet may be short of a replica for one part in so many of the time.
_SHORT_MAX = 20.0
# An order waits until it was wanted for this share of the lead time, at most so many seconds.
_CONFIRM_SHARE, _CONFIRM_S_MAX = 0.25, 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Expected:
    """Rates that are planned for: now, one lead time and one hold ahead, and a bound for all."""

    now: Forecast
    ahead: Forecast
    far: Forecast
    bound_per_s: float

    @property
    def falls(self) -> bool:
        """The rate surely goes down until the hold would be over."""
        return self.far.rate_per_s < self.now.rate_per_s - _FALL_SPREADS * self.now.sd_per_s


def propose(view: View) -> Proposal:
    """Bands from the need over the lead time (at least) to what is worth keeping (at most)."""
    config, now_s = view.config, view.observation.now_s
    expected = _expected(view)
    drafted = [_draft(view, index, expected) for index in range(len(config.pools))]
    drafts = [draft for draft, _ in drafted]
    need = NeedPoint(
        at_s=now_s,
        replicas=tuple(float(draft.at_most) for draft in drafts),
        wanted=tuple(float(draft.at_least) for draft in drafts),
    )
    state = replace(view.state, needs=remember_need(config, view.state.needs, need))
    confirm_s = _patience(view) * min(_CONFIRM_S_MAX, _CONFIRM_SHARE * view.lead_s)
    pools = []
    for index, (draft, foreseen) in enumerate(drafted):
        position = draft.stock.position
        at_least = draft.at_least
        if draft.backlog_requests <= 0.0:
            at_least = confirmed(state, index, now_s - confirm_s)
        at_most = max(kept(config, state, index, position, foreseen), at_least)
        stay = at_most if draft.load_known else max(at_most, position)
        notes = hold_note(config, min(stay, position), draft.wanted, draft.load_known)
        fewer = position - at_most
        if fewer > 0 and not may_turn_down(config, state, index, now_s, fewer):
            at_most, notes = position, ("it has changed direction often enough in this hour",)
        pools.append(replace(draft, at_least=at_least, at_most=at_most, notes=notes))
    figures = {
        "forecast_sd_per_s": expected.ahead.sd_per_s,
        "miss_price": _price(view),
        "startup_s": view.startup_s,
        "itl_correction_ratio": view.corrections.itl_ratio,
        "prefix_hit_ratio": view.corrections.hit_ratio,
    }
    return Proposal(state=state, pools=tuple(pools), forecast=expected.ahead, figures=figures)


def _expected(view: View) -> _Expected:
    config, rates = view.config, view.state.rates
    idle = Forecast(rate_per_s=0.0, slope_per_s2=0.0)
    if all(point.rate_per_s == 0.0 for point in rates):
        return _Expected(now=idle, ahead=idle, far=idle, bound_per_s=0.0)
    now = _predict(view, 0.0)
    ahead = _predict(view, view.lead_s) if config.use_forecast else now
    hold_s = max(config.scale_down_hold_s, view.lead_s)
    far = _predict(view, hold_s) if config.use_forecast else now
    bound = config.growth_ratio_max * max(now.rate_per_s, rates[-1].rate_per_s)
    return _Expected(now=now, ahead=ahead, far=far, bound_per_s=bound)


def _predict(view: View, horizon_s: float) -> Forecast:
    return predict(
        view.config.load_predictor,
        _with_warmup(view),
        horizon_s=horizon_s,
        settings=view.config.predictor,
        growth_max=view.config.growth_ratio_max,
    )


def _with_warmup(view: View) -> tuple[RatePoint, ...]:
    """Rates known beforehand stand in front of the first window."""
    rates, step_s = view.state.rates, view.config.interval_s
    warmup = view.config.predictor.warmup
    first_s = rates[0].at_s - rates[0].window_s
    return (
        *(
            RatePoint(at_s=first_s - step_s * back, window_s=step_s, rate_per_s=rate)
            for back, rate in zip(range(len(warmup) - 1, -1, -1), warmup, strict=True)
        ),
        *rates,
    )


def _draft(view: View, index: int, expected: _Expected) -> tuple[PoolProposal, int]:
    """What one pool needs and is worth keeping, and how many may be wanted one hold ahead."""
    pool, stock, load = view.config.pools[index], view.stocks[index], view.loads[index]
    if view.lengths is None:
        return PoolProposal(
            pool=pool, stock=stock, load_known=load is not None, need=0.0,
            wanted=pool.min_replicas, at_least=pool.min_replicas, at_most=pool.min_replicas,
        ), stock.position  # fmt: skip
    config = view.config
    spread = view.state.spread.spread
    one = size_pool(view.model, pool, view.lengths, config.sla, view.corrections, spread)
    need = _best(view, one, expected, expected.ahead, 1.0)
    worth_keeping = max(
        _best(view, one, expected, each, config.keep_price_ratio)
        for each in (expected.now, expected.ahead)
    )
    backlog, busy = 0.0, _is_over(stock, one, expected.now)
    if load is not None and config.use_load:
        excess = _excess(pool, stock, load, one, expected.now.rate_per_s, config.sla.ttft_ms / 1e3)
        backlog = _backlog_ahead(view, stock, one, expected.now, excess)
        busy = busy or excess > 0.0
    if backlog > 0.0:
        rate, served = expected.now.rate_per_s, one.plain.requests_per_s_max
        surge = best_surge(
            miss_price=_price(view, _SURGE_PRICE),
            rate_per_s=rate,
            backlog=backlog,
            served_per_s=served,
            paid_s=view.lead_s + config.scale_down_hold_s,
            least_s=config.interval_s,
        )
        need = max(need, rate / served + surge)
    if busy:
        worth_keeping = max(worth_keeping, float(stock.position))
    wanted = at_least = whole_replicas(need, pool)
    settled_s = _patience(view) * min(_SETTLE_S_MAX, _SETTLE_LEADS * view.lead_s)
    if not busy and stock.ready and _seen_s(view) < settled_s:
        at_least = min(wanted, max(pool.min_replicas, stock.position))
    foreseen = float(stock.position)
    if expected.falls and not busy and stock.position > worth_keeping:
        foreseen = _best(view, one, expected, expected.far, config.keep_price_ratio)
    draft = PoolProposal(
        pool=pool,
        stock=stock,
        load_known=load is not None,
        at_least=at_least,
        at_most=max(wanted, whole_replicas(worth_keeping, pool)),
        wanted=wanted,
        need=need,
        capacity=one.plain,
        backlog_requests=backlog,
        worth=lambda n: one.attainment(n, expected.ahead.rate_per_s),
    )
    return draft, whole_replicas(foreseen, pool)


def _seen_s(view: View) -> float:
    """For how long demand is known without a gap."""
    since_s = view.state.sighted_since_s
    return 0.0 if since_s is None else view.observation.now_s - since_s


def _best(view: View, one: Sizing, expected: _Expected, rate: Forecast, times: float) -> float:
    """Replicas at least cost for a rate, when a miss costs so many times the price."""
    return float(
        best_replicas(
            one,
            rate,
            miss_price=_price(view, _least_price(view, one, rate)) * times,
            rate_per_s_max=expected.bound_per_s,
            share=view.config.utilisation_target_ratio,
            jump=jump_chance(view.lead_s),
        )
    )


def _price(view: View, least: float = 1.0) -> float:
    """What a miss costs now, at least so much; a price that is given stays as it is."""
    config = view.config
    if config.miss_price is not None:
        return config.miss_price
    return max(least, config.price * price_factor(view.state.attained, config.attainment_target))


def _least_price(view: View, one: Sizing, rate: Forecast) -> float:
    """A miss is not cheaper than this where less than 99 % is asked for.

    At least cost the last of n replicas is wanted for a share 1 / (price * n) of the time, since
    all requests miss while it is not there. So at one price a fleet of one or two attains less
    than a larger one; nowhere shall that share be larger than one in ``_SHORT_MAX``. The price
    for 99 % was tuned on nights of one or two replicas and is enough.
    """
    if view.config.attainment_target >= ATTAINMENT_TARGET:
        return 1.0
    busy = rate.rate_per_s / one.plain.requests_per_s_max
    return _SHORT_MAX / max(1.0, busy)


def _patience(view: View) -> float:
    """Share of the usual waiting before an order (0-1): less where misses are dear."""
    return min(1.0, MISS_PRICE / view.config.price)


def _backlog_ahead(
    view: View, stock: Inventory, one: Sizing, now: Forecast, excess: float
) -> float:
    """Requests too many in the pool when an order of now would serve.

    What is there beyond its usual number, plus arrivals until then, less what ready and
    ordered workers serve until then. Nothing when neither the present excess nor the
    present rate is beyond noise.
    """
    rate_per_s, served = now.rate_per_s, one.plain.requests_per_s_max
    if excess <= 0.0 and not _is_over(stock, one, now):
        return 0.0
    lead_s = view.lead_s
    busy_s = stock.ready * lead_s
    busy_s += sum(min(lead_s, max(0.0, lead_s - view.startup_s + age)) for age in stock.ages_s)
    left = excess + rate_per_s * lead_s - busy_s * served
    return max(0.0, left)


def _is_over(stock: Inventory, one: Sizing, now: Forecast) -> bool:
    """Surely more arrives than ready workers serve."""
    least_per_s = now.rate_per_s - _SPREADS * now.sd_per_s
    return least_per_s > stock.ready * one.plain.requests_per_s_max


def _excess(
    pool: PoolConfig,
    stock: Inventory,
    load: PoolLoad,
    one: Sizing,
    rate_per_s: float,
    ttft_s: float,
) -> float:
    if pool.role is Role.PREFILL:
        waiting = float(load.waiting_requests)
        return waiting - stock.ready * one.plain.requests_per_s_max * ttft_s
    usual = rate_per_s * one.stay_s
    return load.running_requests + load.waiting_requests - usual - _SPREADS * math.sqrt(usual + 1)


SLA = Policy(name="sla", propose=propose)
