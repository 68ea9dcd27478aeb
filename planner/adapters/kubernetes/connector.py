"""Observes a DynamoGraphDeployment and scales its components."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from contracts.decision import RoleTarget
from contracts.errors import PermanentError, TransientError
from contracts.observation import ClusterSnapshot, PoolLoad, WorkerView
from contracts.plan import Role
from dgdr.operator.api import ApiError
from dgdr.reconcile.workloads import FRONTEND_PORT, SYSTEM_PORT, TYPE_LABEL
from planner.adapters.connected import Applied, Outcome
from planner.adapters.kubernetes.components import (
    ScaledComponent,
    scaled_components,
    unsettled,
)
from planner.adapters.kubernetes.graph_api import GraphApi
from planner.adapters.kubernetes.pods import Pod, belongs, is_ready, ordered, pool_pods, target
from planner.adapters.kubernetes.scaling import Reservation, Write, plan_writes
from planner.adapters.traffic import Target, TrafficSource
from planner.core.config import PlannerConfig
from planner.loop import Blind, View


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one look at a deployment found.

    Attributes:
        no_reduction: why no replica may be taken away now.
    """

    graph: Mapping[str, Any]
    components: Mapping[Role, ScaledComponent]
    pools: tuple[Reservation, ...]
    workers: tuple[WorkerView, ...]
    frontends: tuple[Target, ...]
    ready: Mapping[Role, tuple[Target, ...]]
    no_reduction: str | None


class KubernetesConnector:
    """One deployment in a cluster; blocking calls of the API run in threads.

    Args:
        api: the deployment.
        source: its traffic and load.
        config: pools and budget.
        unix_s: seconds since 1970, the clock of observations.

    Attributes:
        sight: what the last round saw, None when it could not see everything.
        pools: as last seen, with what was ordered since; empty before the first look.
        limit: GPUs that may be in use, None for the budget of the configuration alone.
    """

    def __init__(
        self,
        api: GraphApi,
        source: TrafficSource,
        config: PlannerConfig,
        *,
        unix_s: Callable[[], float],
    ) -> None:
        self.sight: Sight | None = None
        self.pools: tuple[Reservation, ...] = ()
        self.limit: int | None = None
        self._api = api
        self._source = source
        self._config = config
        self._unix_s = unix_s
        self._missing_since: dict[Role, list[float]] = {}

    def graph(self) -> Mapping[str, Any] | None:
        """The deployment as the last round saw it."""
        return None if self.sight is None else self.sight.graph

    def now_s(self) -> float:
        """Seconds since 1970."""
        return self._unix_s()

    async def observe(self) -> View:
        """Workers from the API, load and traffic from metrics.

        Raises:
            TransientError: the API cannot be read now.
            PermanentError: the deployment does not have the pools of the configuration.
        """
        self.sight = None
        sight = await asyncio.to_thread(self._look)
        self.pools = sight.pools
        loads = await self._source.loads(sight.ready)
        try:
            reading = await self._source.traffic(sight.frontends, self.now_s())
        except TransientError as error:
            return self._blind(sight, loads, str(error))
        self.sight = sight
        return ClusterSnapshot(
            now_s=reading.at_s, counters=reading.counters, workers=sight.workers, loads=loads
        )

    async def order(self, targets: tuple[RoleTarget, ...]) -> Outcome:
        """Set replicas as far as it may be done now; the rest is decided anew next time.

        Writes are carried out one after the other, until one fails.
        """
        sight = self.sight
        if sight is None:
            raise TransientError("the deployment was not seen in this round", retry_after_s=0.0)
        budgets = [each for each in (self._config.gpu_budget, self.limit) if each is not None]
        writes = plan_writes(
            sight.pools,
            targets,
            gpu_budget=min(budgets, default=None),
            no_reduction=sight.no_reduction,
        )
        done: list[str] = []
        for each in writes.now:
            try:
                await asyncio.to_thread(
                    self._api.set_replicas, sight.components[each.role], each.replicas
                )
            except ApiError as error:
                # The API may have done it all the same.
                self._promise(each)
                applied = Applied.REJECTED if error.refused else Applied.UNKNOWN
                return Outcome(applied=applied, problem=f"{each}: {error}", changes=tuple(done))
            self._promise(each)
            done.append(str(each))
        if writes.later:
            problem = "; ".join(writes.later)
            return Outcome(applied=Applied.DEFERRED, problem=problem, changes=tuple(done))
        applied = Applied.ACCEPTED if done else Applied.NOTHING_TO_DO
        return Outcome(applied=applied, changes=tuple(done))

    def _promise(self, write: Write) -> None:
        """What was ordered counts from now on; what leaves counts until it is gone."""
        self.pools = tuple(
            replace(pool, desired=max(pool.desired, write.replicas))
            if pool.role is write.role
            else pool
            for pool in self.pools
        )

    def _blind(self, sight: Sight, loads: tuple[PoolLoad, ...], reason: str) -> Blind:
        return Blind(now_s=self.now_s(), reason=reason, workers=sight.workers, loads=loads)

    def _look(self) -> Sight:
        try:
            graph = self._api.graph()
            if graph["metadata"].get("deletionTimestamp"):
                raise TransientError(f"{self._api.name} is being deleted", retry_after_s=0.0)
            roles = [pool.role for pool in self._config.pools]
            components = scaled_components(graph, roles)
            desired = {role: self._api.replicas(each) for role, each in components.items()}
            pods = self._api.pods()
        except ApiError as error:
            text = f"the Kubernetes API: {error}"
            if error.refused:
                raise PermanentError(text) from error
            raise TransientError(text, retry_after_s=0.0) from error
        return self._sight(graph, components, desired, pods)

    def _sight(
        self,
        graph: Mapping[str, Any],
        components: Mapping[Role, ScaledComponent],
        desired: Mapping[Role, int],
        pods: tuple[Pod, ...],
    ) -> Sight:
        now_s = self.now_s()
        workers: list[WorkerView] = []
        pools: list[Reservation] = []
        ready: dict[Role, tuple[Target, ...]] = {}
        for pool in self._config.pools:
            role, component = pool.role, components[pool.role]
            own = [pod for pod in pods if belongs(pod, component.name)]
            found = pool_pods(
                own,
                role,
                desired=desired[role],
                nodes=component.nodes,
                port=SYSTEM_PORT,
                now_s=now_s,
            )
            missed = self._missed(role, desired[role] - found.live, now_s)
            workers += ordered(found, role, desired[role], missed).workers
            ready[role] = found.ready
            pools.append(
                Reservation(
                    role=role,
                    name=component.name,
                    gpus_per_replica=pool.gpus_per_replica,
                    min_replicas=pool.min_replicas,
                    desired=desired[role],
                    live=found.live,
                    terminating=found.terminating,
                )
            )
        return Sight(
            graph=graph,
            components=components,
            pools=tuple(pools),
            workers=tuple(workers),
            frontends=tuple(
                target(pod, FRONTEND_PORT)
                for pod in pods
                if (pod["metadata"].get("labels") or {}).get(TYPE_LABEL) == "frontend"
                and is_ready(pod)
            ),
            ready=ready,
            no_reduction=unsettled(graph),
        )

    def _missed(self, role: Role, count: int, now_s: float) -> list[float]:
        """Since when each of the missing replicas is missed; the oldest arrive first."""
        before = self._missing_since.get(role, [])
        count = max(0, count)
        kept = before[max(0, len(before) - count) :]
        self._missing_since[role] = [*kept, *[now_s] * (count - len(kept))]
        return self._missing_since[role]
