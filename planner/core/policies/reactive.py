"""Policy ``reactive``: one replica up or down when load crosses a threshold.

Reproduces the "easy" targets of Dynamo's planner (releases 1.2 and 1.6): prefill scales on
queued prompt tokens, decode and aggregated pools on the share of KV tokens that running and
waiting requests take. 1.6's guard is included: nobody goes when the rest would reach the
threshold that scales up. While a worker starts nothing changes. Upstream asks "any engine"
for up and "all engines" for down; a pool's load is seen here as a sum, so both ask the mean.
"""

from __future__ import annotations

from contracts.observation import PoolLoad
from contracts.plan import Role
from planner.core.inventory import Inventory
from planner.core.policies.contract import Policy, Proposal, View, exactly


def propose(view: View) -> Proposal:
    """One step at most for each pool."""
    config = view.config
    pools = []
    for pool, stock, load in zip(config.pools, view.stocks, view.loads, strict=True):
        step, note = (0, "its load is unknown") if load is None else _step(view, stock, load)
        wanted = max(pool.min_replicas, stock.position + step)
        pools.append(exactly(pool, stock, wanted, note=note, load_known=load is not None))
    return Proposal(state=view.state, pools=tuple(pools))


def _step(view: View, stock: Inventory, load: PoolLoad) -> tuple[int, str]:
    limits, ready = view.config.thresholds, stock.ready
    if stock.position > ready:
        return 0, "a worker is starting"
    if ready == 0:
        waits = load.waiting_requests + load.waiting_prefill_tokens
        return (1, "somebody waits and nobody serves") if waits else (0, "")
    if load.role is Role.PREFILL:
        signal, name = load.waiting_prefill_tokens / ready, "queued prompt tokens"
        up, down = limits.prefill_up, limits.prefill_down
    else:
        room = float(view.model.decode.max_kv_tokens)
        signal = load.kv_usage_ratio + load.waiting_prefill_tokens / ready / room
        up, down, name = limits.decode_up, limits.decode_down, "KV usage"
    if signal > up or (load.role is Role.PREFILL and signal == up):
        return 1, f"{name} {signal:.3g} above {up:.3g}"
    idle = signal < down or (down == 0.0 and signal == 0.0)
    if not idle or ready <= 1:
        return 0, ""
    after = signal * ready / (ready - 1)
    if after >= up:
        return 0, f"the rest would have {name} {after:.3g}"
    return -1, f"{name} {signal:.3g} below {down:.3g}"


REACTIVE = Policy(name="reactive", propose=propose)
