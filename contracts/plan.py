"""The deployment plan: what runs where. The profiler writes it, mocker and simulator run it.

All types are plain frozen dataclasses; ``__pydantic_config__`` lets the edges read
and write them strictly through ``pydantic.TypeAdapter(DeploymentPlan)``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Literal

from contracts.engine import Backend, EngineLimits, Scheduling, Speculation, VllmScheduling
from contracts.errors import InputError
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
    POWER_OF_TWO = "power_of_two"
    KV_AWARE = "kv_aware"
    SESSION_AFFINITY = "session_affinity"


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterSettings:
    """Knobs of the routers; each router reads the ones that concern it.

    Attributes:
        seed: root of the router's random streams (``power_of_two``, ``kv_aware``).
        view_lag_s: the router hears this late what became of requests and caches.
        overlap_credit: weight of a prompt block that a worker has cached.
        prefill_load_scale: weight of the prompt blocks that still have to be computed.
        active_request_weight: weight of each request that a worker has.
        temperature: 0 takes the cheapest worker; above 0 draws from a softmax over the
            costs scaled to 0-1.

    Raises:
        InputError: a negative number.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    seed: int = 0
    view_lag_s: float = 0.0
    overlap_credit: float = 1.0
    prefill_load_scale: float = 1.0
    active_request_weight: float = 0.0
    temperature: float = 0.0

    def __post_init__(self) -> None:
        for name in (
            "seed", "view_lag_s", "overlap_credit", "prefill_load_scale",
            "active_request_weight", "temperature",
        ):  # fmt: skip
            if getattr(self, name) < 0:
                raise InputError(
                    "must not be negative", path=f"routing.{name}", value=str(getattr(self, name))
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSettings:
    """LoRA adapters of each worker, loaded when a request first needs them.

    Attributes:
        load_s: time to load one adapter onto one worker, in seconds.
        slots: adapters that a worker keeps; the idle one used longest ago makes room.
        spill_requests: a worker without the adapter is taken when the best one that has
            it holds so many requests more than the least loaded worker.

    Raises:
        InputError: a negative time, no slot, or a negative spill.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    load_s: float
    slots: int
    spill_requests: int = 16

    def __post_init__(self) -> None:
        if self.load_s < 0 or self.slots < 1 or self.spill_requests < 0:
            raise InputError(
                "needs load_s of at least 0, one slot or more, spill_requests of at least 0",
                path="adapters",
                value=f"{self.load_s}, {self.slots}, {self.spill_requests}",
            )


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
    """The network that moves KV cache from prefill to decode workers.

    Transfers that meet at a sender, a receiver or the fabric share its bandwidth fairly.

    Attributes:
        gbytes_per_s: bandwidth of one worker's connection, in each direction, 1e9 bytes a
            second.
        latency_us: fixed cost of one transfer before its first byte.
        fabric_gbytes_per_s: bandwidth of all transfers together; ``None`` is no limit.

    Raises:
        InputError: a bandwidth that is not positive or a negative latency.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    gbytes_per_s: float
    latency_us: float
    fabric_gbytes_per_s: float | None = None

    def __post_init__(self) -> None:
        fabric = self.fabric_gbytes_per_s
        if self.gbytes_per_s <= 0 or self.latency_us < 0 or (fabric is not None and fabric <= 0):
            raise InputError(
                "bandwidths must be positive and the latency not negative",
                path="link",
                value=f"{self.gbytes_per_s} GB/s, {self.latency_us} us, fabric {fabric}",
            )


# Nominal figures for one worker. NVLink 4: 900 GB/s both ways together on H100 and H200
# data sheets. RDMA: one 400 Gb/s NIC (NDR InfiniBand or RoCE). TCP: 10 Gb/s, as reached
# when the cache is copied through host memory. Latencies include the NIXL handshake.
KV_LINKS: dict[str, KvLink] = {
    "nvlink": KvLink(gbytes_per_s=450.0, latency_us=20.0),
    "rdma": KvLink(gbytes_per_s=50.0, latency_us=50.0),
    "tcp": KvLink(gbytes_per_s=1.25, latency_us=1000.0),
}


class HandOff(StrEnum):
    """When the decode worker of a request is chosen and its KV blocks reserved."""

    PREFILL_FIRST = "prefill_first"
    DECODE_FIRST = "decode_first"


class KvSend(StrEnum):
    """Which part of a prompt's KV cache is sent."""

    FULL_PROMPT = "full_prompt"
    MISSING_ONLY = "missing_only"


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
    """Prefill workers hand their KV cache over a link to decode workers.

    Attributes:
        hand_off: decode worker chosen after the prefill or before it.
        kv_send: the whole prompt or only what the decode worker does not have.
        max_waiting_transfers: while so many finished prompts wait for room on a decode
            worker, no request enters prefill; ``None`` is no limit.

    Raises:
        InputError: a limit below one.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    prefill: PoolPlan
    decode: PoolPlan
    link: KvLink
    hand_off: HandOff = HandOff.PREFILL_FIRST
    kv_send: KvSend = KvSend.FULL_PROMPT
    max_waiting_transfers: int | None = None
    kind: Literal["disagg"] = "disagg"

    def __post_init__(self) -> None:
        if self.max_waiting_transfers is not None and self.max_waiting_transfers < 1:
            raise InputError(
                "must be at least 1",
                path="max_waiting_transfers",
                value=str(self.max_waiting_transfers),
            )

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
        routing: knobs of the router.
        adapters: LoRA adapters; ``None`` takes every adapter as loaded everywhere.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    name: str
    topology: AggPlan | DisaggPlan
    router: RouterPolicy
    startup_s: float
    gpu_budget: int
    sla: SlaTarget
    routing: RouterSettings = RouterSettings()
    adapters: AdapterSettings | None = None

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
