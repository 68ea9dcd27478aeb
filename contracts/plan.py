"""The deployment plan: what runs where. The profiler writes it, mocker and simulator run it.

All types are plain frozen dataclasses; ``__pydantic_config__`` lets the edges read
and write them strictly through ``pydantic.TypeAdapter(DeploymentPlan)``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Literal

from contracts.engine import Backend, EngineLimits, Scheduling, Speculation, VllmScheduling
from contracts.hardware import GpuSpec
from contracts.model import Dtype, ModelArchitecture
from contracts.sla import SlaTarget

_STRICT = {"extra": "forbid"}


class Role(StrEnum):
    """What a worker does with a request."""

    AGG = "agg"
    PREFILL = "prefill"
    DECODE = "decode"


class RouterPolicy(StrEnum):
    """How the frontend chooses a worker."""

    ROUND_ROBIN = "round_robin"
    LEAST_LOADED = "least_loaded"


class Fabric(StrEnum):
    """What joins the nodes of one replica."""

    RDMA = "rdma"
    TCP = "tcp"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """One kind of engine replica: model, GPU, parallel sizes, scheduler and limits.

    Attributes:
        tp: GPUs that share every layer of one attention rank.
        pp: pipeline stages.
        dp: attention ranks with a scheduler and KV cache each; they step together.
        ep: GPUs over which the experts are spread; 1 slices every expert instead.
        limits: of one attention rank.
        scheduling: the backend and its scheduler settings.
        fabric: what joins the nodes when the replica is larger than one.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    model: ModelArchitecture
    gpu: GpuSpec
    tp: int
    weight_dtype: Dtype
    kv_dtype: Dtype
    limits: EngineLimits
    pp: int = 1
    dp: int = 1
    ep: int = 1
    scheduling: Scheduling = field(default_factory=VllmScheduling)
    speculation: Speculation | None = None
    fabric: Fabric = Fabric.RDMA

    @property
    def gpus(self) -> int:
        """GPUs that one replica occupies."""
        return self.tp * self.pp * self.dp

    @property
    def backend(self) -> Backend:
        """The inference engine that is modelled."""
        return self.scheduling.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPlan:
    """Replicas of one engine kind in one role."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    role: Role
    engine: EngineSpec
    replicas: int

    @property
    def gpus(self) -> int:
        """GPUs of the whole pool."""
        return self.replicas * self.engine.gpus


@dataclass(frozen=True, slots=True, kw_only=True)
class KvLink:
    """The link that moves KV cache from prefill to decode workers.

    Attributes:
        gbytes_per_s: bandwidth of one transfer, 1e9 bytes a second.
        latency_us: fixed cost of one transfer.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    gbytes_per_s: float
    latency_us: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AggPlan:
    """Every worker does prefill and decode."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    pool: PoolPlan
    kind: Literal["agg"] = "agg"

    @property
    def pools(self) -> tuple[PoolPlan, ...]:
        """All pools, entry pool first."""
        return (self.pool,)


@dataclass(frozen=True, slots=True, kw_only=True)
class DisaggPlan:
    """Prefill workers hand their KV cache over a link to decode workers."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    prefill: PoolPlan
    decode: PoolPlan
    link: KvLink
    kind: Literal["disagg"] = "disagg"

    @property
    def pools(self) -> tuple[PoolPlan, ...]:
        """All pools, entry pool first."""
        return (self.prefill, self.decode)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentPlan:
    """A complete deployment of one model.

    Attributes:
        name: deployment name, also the model name that the mocker serves is ``model_id``.
        topology: aggregated or disaggregated pools.
        router: how requests are spread over the workers of a pool.
        startup_s: time from ordering a worker until it is ready.
        gpu_budget: GPUs that all pools together may use, also after scaling.
        sla: the targets it was planned for.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    name: str
    topology: AggPlan | DisaggPlan
    router: RouterPolicy
    startup_s: float
    gpu_budget: int
    sla: SlaTarget

    @property
    def model_id(self) -> str:
        """Name under which the model is served."""
        return self.topology.pools[0].engine.model.model_id

    @property
    def gpus(self) -> int:
        """GPUs in use before any scaling."""
        return sum(pool.gpus for pool in self.topology.pools)

    def pool(self, role: Role) -> PoolPlan:
        """The pool with this role.

        Raises:
            KeyError: the deployment has no such pool.
        """
        for pool in self.topology.pools:
            if pool.role is role:
                return pool
        raise KeyError(role)
