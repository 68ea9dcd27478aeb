"""What is searched for: the wish, and the candidates that may fulfil it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from contracts.engine import Backend
from contracts.hardware import GpuSpec
from contracts.model import Dtype, ModelArchitecture
from contracts.plan import Role
from contracts.sla import OptimizationType, SlaTarget
from contracts.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLoad:
    """Open loop: requests arrive at a mean rate."""

    requests_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrencyLoad:
    """Closed loop: this many requests are in flight."""

    requests: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TraceLoad:
    """Open loop: recorded arrivals and lengths."""

    workload: Workload

    @property
    def requests_per_s(self) -> float:
        """Mean arrival rate."""
        return self.workload.rate_per_s


Load = RateLoad | ConcurrencyLoad | TraceLoad


class PickMode(StrEnum):
    """What the pick is best at; the names are those of the profiler's contract."""

    DEFAULT = "default"
    LOAD_MATCH = "load_match"
    AUTOSCALE = "autoscale"


class Topology(StrEnum):
    """Whether prefill and decode have workers of their own."""

    AGG = "agg"
    DISAGG = "disagg"


class WhenInfeasible(StrEnum):
    """What to do when no candidate meets the targets."""

    CLOSEST = "closest"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """Types of weights and KV cache."""

    weights: Dtype = Dtype.BF16
    kv: Dtype = Dtype.BF16


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """The wish, reduced to what the search needs.

    Attributes:
        total_gpus: GPUs that a deployment may use.
        isl: prompt tokens, the mean of a trace.
        osl: output tokens, the mean of a trace.
        longest_tokens: prompt plus output of the longest request.
        load: what must be served; ``None`` asks for the highest throughput.
        step_tokens: backends to compare, each with the token budgets of a step to try.
        precision: of the checkpoint.
        variants: other precisions that are searched too; they change the checkpoint.
        alternatives: other precisions in which the pick is estimated, to show what they
            would save.
        topologies: which ones are searched.
    """

    model: ModelArchitecture
    gpu: GpuSpec
    total_gpus: int
    gpus_per_node: int
    isl: int
    osl: int
    load: Load | None
    sla: SlaTarget
    step_tokens: Mapping[Backend, tuple[int, ...]] = field(
        default_factory=lambda: {Backend.VLLM: (8192, 2048)}
    )
    precision: Precision = Precision()
    variants: tuple[Precision, ...] = ()
    alternatives: tuple[Precision, ...] = ()
    mode: PickMode = PickMode.LOAD_MATCH
    preference: OptimizationType = OptimizationType.THROUGHPUT
    topologies: tuple[Topology, ...] = tuple(Topology)
    when_infeasible: WhenInfeasible = WhenInfeasible.CLOSEST
    longest_tokens: int = 0

    @property
    def longest(self) -> int:
        """Tokens of the longest request."""
        return max(self.longest_tokens, self.isl + self.osl)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineChoice:
    """One engine configuration.

    Attributes:
        tp: GPUs of one attention rank.
        pp: pipeline stages.
        dp: attention ranks.
        ep: GPUs over which experts are spread; 1 slices them.
        moe: the model has experts.
        max_num_batched_tokens: token budget of one step of one attention rank.
        overlap: the host prepares the next step while the GPU works.
    """

    tp: int
    max_num_batched_tokens: int
    backend: Backend = Backend.VLLM
    pp: int = 1
    dp: int = 1
    ep: int = 1
    moe: bool = False
    precision: Precision = Precision()
    overlap: bool = True

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.tp * self.pp * self.dp

    @property
    def shape(self) -> str:
        """Parallel sizes and precision, injective up to the token budget."""
        parts = [f"tp{self.tp}"]
        parts += [f"{name}{size}" for name, size in (("pp", self.pp), ("dp", self.dp)) if size > 1]
        if self.moe and self.tp * self.dp > 1:
            parts.append(f"moeep{self.ep}" if self.ep > 1 else f"moetp{self.tp * self.dp}")
        if self.precision.weights is not Dtype.BF16:
            parts.append(self.precision.weights.value)
        if self.precision.kv is not Dtype.BF16:
            parts.append(f"kv{self.precision.kv.value}")
        return "-".join(parts)

    @property
    def label(self) -> str:
        """Injective name within one backend and role."""
        return f"{self.shape}-chunk{self.max_num_batched_tokens}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AggCandidate:
    """Every worker does prefill and decode."""

    engine: EngineChoice

    @property
    def label(self) -> str:
        """Injective name."""
        return f"agg-{self.backend.value}-{self.engine.label}"

    @property
    def backend(self) -> Backend:
        """Backend of all workers."""
        return self.engine.backend

    @property
    def topology(self) -> Topology:
        """Aggregated."""
        return Topology.AGG

    @property
    def engines(self) -> dict[Role, EngineChoice]:
        """Engine of each role."""
        return {Role.AGG: self.engine}


@dataclass(frozen=True, slots=True, kw_only=True)
class DisaggCandidate:
    """Prefill and decode workers of their own, of one backend."""

    prefill: EngineChoice
    decode: EngineChoice

    @property
    def label(self) -> str:
        """Injective name; each role has one token budget only."""
        roles = f"prefill-{self.prefill.shape}-decode-{self.decode.shape}"
        return f"disagg-{self.backend.value}-{roles}"

    @property
    def backend(self) -> Backend:
        """Backend of all workers."""
        return self.prefill.backend

    @property
    def topology(self) -> Topology:
        """Disaggregated."""
        return Topology.DISAGG

    @property
    def engines(self) -> dict[Role, EngineChoice]:
        """Engine of each role."""
        return {Role.PREFILL: self.prefill, Role.DECODE: self.decode}


Candidate = AggCandidate | DisaggCandidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Sized:
    """A candidate with replicas.

    Attributes:
        rate_per_s: requests a second that it shall serve; with a concurrency an estimate.
        concurrency: requests in flight, ``None`` for an open loop.
        latency_ms: estimated time of one request from arrival to end.
    """

    candidate: Candidate
    replicas: dict[Role, int]
    rate_per_s: float
    concurrency: int | None = None
    latency_ms: float = 0.0

    @property
    def gpus(self) -> int:
        """GPUs of all replicas."""
        engines = self.candidate.engines
        return sum(engines[role].gpus * count for role, count in self.replicas.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A candidate that was ruled out before it was priced, and why."""

    label: str
    reason: str
    backend: Backend
    topology: Topology | None = None
