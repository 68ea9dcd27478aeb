"""From what was picked to a deployment plan."""

from __future__ import annotations

from collections.abc import Mapping

from contracts.plan import (
    KV_LINKS,
    AggPlan,
    DeploymentPlan,
    DisaggPlan,
    EngineSpec,
    KvLink,
    PoolPlan,
    Role,
    RouterPolicy,
)
from profiler.thorough.candidates import EngineCandidate
from profiler.thorough.pick import Ranked
from profiler.thorough.wish import Wish


def plan_of(
    wish: Wish,
    ranked: Ranked,
    candidates: Mapping[str, EngineCandidate],
    *,
    startup_s: float,
    router: RouterPolicy,
) -> DeploymentPlan:
    """The deployment of a ranked configuration; it never has a pool without a replica."""
    engines = {role: candidates[label].engine for role, label in ranked.option.parts.items()}
    pools = {
        Role(name): PoolPlan(role=Role(name), engine=engine, replicas=max(1, ranked.replicas[name]))
        for name, engine in engines.items()
    }
    topology: AggPlan | DisaggPlan
    if Role.AGG in pools:
        topology = AggPlan(pool=pools[Role.AGG])
    else:
        topology = DisaggPlan(
            prefill=pools[Role.PREFILL],
            decode=pools[Role.DECODE],
            link=_link(wish, list(engines.values())),
        )
    return DeploymentPlan(
        name=wish.name,
        topology=topology,
        router=router,
        startup_s=startup_s,
        gpu_budget=wish.total_gpus,
        sla=wish.sla,
    )


def _link(wish: Wish, engines: list[EngineSpec]) -> KvLink:
    """The link of a node when a worker of each kind fits on one, else the network."""
    together = sum(engine.gpus for engine in engines) <= wish.gpus_per_node
    gpu = wish.gpu
    rate = gpu.intra_node_gbytes_per_s if together else gpu.inter_node_gbytes_per_s
    return KvLink(gbytes_per_s=rate, latency_us=KV_LINKS["rdma"].latency_us)
