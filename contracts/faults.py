"""Faults that a scenario can inject.

Worker indices are positions among the ready workers of a pool at the instant of the
fault. A fault that hits nothing is an input error, never a silent no-op.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from contracts.errors import InputError
from contracts.plan import Role


class LostRequestPolicy(StrEnum):
    """What happens to the requests of a worker that dies."""

    RETRY = "retry"
    FAIL = "fail"


class LostTransferPolicy(StrEnum):
    """What happens to KV transfers while the link is lost.

    ``retry`` sends the whole cache again when the link is back; ``recompute`` gives the
    prompt to the decode worker without its cache, which vLLM calls
    ``kv_load_failure_policy=recompute``.
    """

    RETRY = "retry"
    RECOMPUTE = "recompute"


def _require(ok: bool, kind: str, what: str, value: object) -> None:
    if not ok:
        raise InputError(what, path=kind, value=str(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerCrash:
    """One worker dies at an instant and, if asked for, is ordered again.

    Attributes:
        at_s: seconds after the start of the workload.
        role: pool of the victim.
        worker_index: position among the ready workers of the pool at that instant.
        restart: order a replacement at once; it needs the deployment's start-up time.
    """

    at_s: float
    role: Role
    worker_index: int = 0
    restart: bool = True
    kind: Literal["worker_crash"] = "worker_crash"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLoss:
    """Every worker with a GPU on one node dies.

    Workers are placed on nodes of ``gpus_per_node`` GPUs in the order in which they are
    ordered, each on the first node with room; a worker larger than a node takes whole
    nodes.

    Attributes:
        node_index: which node, counted from 0 in order of first use.
        restart: order replacements at once; they go to other nodes.
    """

    at_s: float
    node_index: int = 0
    restart: bool = True
    kind: Literal["node_loss"] = "node_loss"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowWorker:
    """The steps of one worker take ``factor`` times as long for ``duration_s`` seconds.

    Raises:
        InputError: a factor below 1 or no duration.
    """

    at_s: float
    role: Role
    duration_s: float
    factor: float
    worker_index: int = 0
    kind: Literal["slow_worker"] = "slow_worker"

    def __post_init__(self) -> None:
        _require(self.factor >= 1, self.kind, "factor must be at least 1", self.factor)
        _require(self.duration_s > 0, self.kind, "duration_s must be positive", self.duration_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class LateStart:
    """Workers ordered within the window take longer to become ready.

    Attributes:
        role: pool concerned; ``None`` means every pool.
        factor: multiplies the start-up time.
        extra_s: is added to it, in seconds.

    Raises:
        InputError: no duration, or numbers that do not delay.
    """

    at_s: float
    duration_s: float
    role: Role | None = None
    factor: float = 1.0
    extra_s: float = 0.0
    kind: Literal["late_start"] = "late_start"

    def __post_init__(self) -> None:
        late = self.factor >= 1 and self.extra_s >= 0 and (self.factor > 1 or self.extra_s > 0)
        _require(late, self.kind, "must delay", f"factor {self.factor}, extra_s {self.extra_s}")
        _require(self.duration_s > 0, self.kind, "duration_s must be positive", self.duration_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkDegraded:
    """All bandwidth between prefill and decode is multiplied by ``factor`` for a while.

    Raises:
        InputError: a factor outside 0 (excluded) to 1, or no duration.
    """

    at_s: float
    duration_s: float
    factor: float
    kind: Literal["link_degraded"] = "link_degraded"

    def __post_init__(self) -> None:
        _require(0 < self.factor <= 1, self.kind, "factor must be above 0, at most 1", self.factor)
        _require(self.duration_s > 0, self.kind, "duration_s must be positive", self.duration_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkLost:
    """No KV transfer is possible for a while; those in flight lose what they have sent.

    Raises:
        InputError: no duration.
    """

    at_s: float
    duration_s: float
    transfers: LostTransferPolicy = LostTransferPolicy.RETRY
    kind: Literal["link_lost"] = "link_lost"

    def __post_init__(self) -> None:
        _require(self.duration_s > 0, self.kind, "duration_s must be positive", self.duration_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleRouterView:
    """The router hears ``lag_s`` late what became of requests and caches, for a while.

    Raises:
        InputError: no lag or no duration.
    """

    at_s: float
    duration_s: float
    lag_s: float
    kind: Literal["stale_router_view"] = "stale_router_view"

    def __post_init__(self) -> None:
        _require(self.lag_s > 0, self.kind, "lag_s must be positive", self.lag_s)
        _require(self.duration_s > 0, self.kind, "duration_s must be positive", self.duration_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryShrink:
    """A worker loses a share of its KV blocks until it is replaced.

    Attributes:
        lost_ratio: share of the planned KV blocks that is lost (0-1, both excluded).

    Raises:
        InputError: a share outside its range.
    """

    at_s: float
    role: Role
    lost_ratio: float
    worker_index: int = 0
    kind: Literal["memory_shrink"] = "memory_shrink"

    def __post_init__(self) -> None:
        inside = 0 < self.lost_ratio < 1
        _require(inside, self.kind, "lost_ratio must be between 0 and 1", self.lost_ratio)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPartition:
    """One worker is out of reach for a while; its requests count as lost, as in a crash.

    It comes back without start-up and with an empty KV cache.

    Raises:
        InputError: no duration.
    """

    at_s: float
    role: Role
    duration_s: float
    worker_index: int = 0
    kind: Literal["worker_partition"] = "worker_partition"

    def __post_init__(self) -> None:
        _require(self.duration_s > 0, self.kind, "duration_s must be positive", self.duration_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerDrain:
    """One worker takes no new requests, ends those it has, and is replaced, as in a rollout.

    The replacement is ordered at once and needs the deployment's start-up time.
    """

    at_s: float
    role: Role
    worker_index: int = 0
    kind: Literal["worker_drain"] = "worker_drain"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePullFailure:
    """Workers ordered within the window start up only from its end on.

    Attributes:
        role: pool concerned; ``None`` means every pool.

    Raises:
        InputError: no duration.
    """

    at_s: float
    duration_s: float
    role: Role | None = None
    kind: Literal["image_pull_failure"] = "image_pull_failure"

    def __post_init__(self) -> None:
        _require(self.duration_s > 0, self.kind, "duration_s must be positive", self.duration_s)


Fault = (
    WorkerCrash
    | WorkerPartition
    | WorkerDrain
    | NodeLoss
    | SlowWorker
    | LateStart
    | ImagePullFailure
    | LinkDegraded
    | LinkLost
    | StaleRouterView
    | MemoryShrink
)
