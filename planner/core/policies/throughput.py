"""Policy ``throughput``: Dynamo's throughput scaling, as documented, for comparison.

Slow loop: mean rate of the last slow interval, forecast one interval ahead, divided by what
one replica serves at the largest batch within the ITL target; rounded up, no headroom, no
start-up time, no cool-down. With ``use_load`` (upstream's target ``sla``) that is a lower
bound, and each tick a fast loop adds one replica when the next request would miss a target,
or removes one when the rest would stay within ``down_sensitivity_ratio`` of it. While a
worker starts the fast loop waits. Curves stand in for upstream's regression on
forward-pass metrics, and a pool's mean for its "every engine".
"""

from __future__ import annotations

import math
from dataclasses import replace

from contracts.observation import PoolLoad
from contracts.plan import Role
from planner.core.capacity import Lengths, capacity
from planner.core.config import PoolConfig
from planner.core.curves import prefill_ttft_ms
from planner.core.forecast import Forecast, RatePoint, predict
from planner.core.inventory import Inventory
from planner.core.policies.contract import Policy, Proposal, View, exactly
from planner.core.policies.hold import whole_replicas
from planner.core.sizing import predicted_itl_ms
from planner.core.state import SlowDecision


def propose(view: View) -> Proposal:
    """Slow loop when due, fast loop when asked for."""
    config, now_s = view.config, view.observation.now_s
    slow, forecast = view.state.slow, None
    period_s = config.slow_interval_s or config.interval_s
    if config.use_forecast and (slow is None or now_s - slow.at_s >= period_s - 1e-6):
        forecast = _forecast(view, period_s)
        slow = SlowDecision(
            at_s=now_s, replicas=tuple(_floor(view, pool, forecast) for pool in config.pools)
        )
    pools = []
    for index, pool in enumerate(config.pools):
        stock, load = view.stocks[index], view.loads[index]
        floor = slow.replicas[index] if slow is not None else pool.min_replicas
        step, note = _fast(view, pool, stock, load) if config.use_load else (0, "")
        wanted = max(floor, stock.position + step) if config.use_load else floor
        pools.append(exactly(pool, stock, wanted, note=note, load_known=load is not None))
    return Proposal(state=replace(view.state, slow=slow), pools=tuple(pools), forecast=forecast)


def _forecast(view: View, period_s: float) -> Forecast:
    """The mean of each slow interval is one point of the predictor's history."""
    config, now_s = view.config, view.observation.now_s
    groups: dict[int, list[RatePoint]] = {}
    for point in view.state.rates:
        groups.setdefault(int((now_s - point.at_s) // period_s), []).append(point)
    means = []
    for index in sorted(groups, reverse=True):
        span_s = sum(point.window_s for point in groups[index])
        count = sum(point.rate_per_s * point.window_s for point in groups[index])
        means.append(
            RatePoint(
                at_s=groups[index][-1].at_s, window_s=span_s, rate_per_s=count / max(span_s, 1e-9)
            )
        )
    return predict(
        config.load_predictor,
        means,
        horizon_s=period_s,
        settings=config.predictor,
        growth_max=config.growth_ratio_max,
    )


def _floor(view: View, pool: PoolConfig, forecast: Forecast) -> int:
    if view.lengths is None:
        return pool.min_replicas
    one = capacity(view.model, pool, view.lengths, view.config.sla, 1.0)
    share = one.requests_per_s_max * view.config.utilisation_target_ratio
    return whole_replicas(forecast.rate_per_s / share, pool)


def _fast(view: View, pool: PoolConfig, stock: Inventory, load: PoolLoad | None) -> tuple[int, str]:
    if load is None or view.lengths is None:
        return 0, "its load is unknown"
    if stock.position > stock.ready:
        return 0, "a worker is starting"
    if stock.ready == 0:
        return int(load.waiting_requests > 0), "nobody serves"
    now = _latencies(view, pool, view.lengths, load, stock.ready, extra=1.0)
    if now > 1.0:
        return 1, f"the next request would need {now:.2f} of its target"
    if stock.ready <= max(1, pool.min_replicas):
        return 0, ""
    after = _latencies(view, pool, view.lengths, load, stock.ready - 1, extra=0.0)
    if after < view.config.down_sensitivity_ratio:
        return -1, f"the rest would need {after:.2f} of the target"
    return 0, ""


def _latencies(
    view: View, pool: PoolConfig, lengths: Lengths, load: PoolLoad, servers: int, *, extra: float
) -> float:
    """The larger of TTFT and ITL over its target, for a request on one of ``servers``."""
    worst = 0.0
    if pool.role is not Role.DECODE:
        queued = load.waiting_prefill_tokens / servers
        budget = float(view.model.prefill.prefill_isl.max())
        chunks, rest = divmod(queued + lengths.isl, budget)
        wait_ms = math.floor(chunks) * prefill_ttft_ms(view.model.prefill, budget)
        wait_ms += prefill_ttft_ms(view.model.prefill, rest)
        worst = wait_ms / view.config.sla.ttft_ms
    if pool.role is not Role.PREFILL:
        waiting = load.waiting_requests if pool.role is Role.DECODE else 0
        running = (load.running_requests + waiting) / servers + extra
        itl_ms = predicted_itl_ms(view.model, pool, lengths, running)
        worst = max(worst, itl_ms / view.config.sla.itl_ms)
    return worst


THROUGHPUT = Policy(name="throughput", propose=propose)
