"""What is searched for, and what is found about one candidate."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.hardware import GpuSpec
from contracts.model import Dtype, ModelArchitecture
from contracts.plan import Role
from contracts.sla import SlaTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLoad:
    """Open loop: requests arrive at a mean rate."""

    requests_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrencyLoad:
    """Closed loop: this many requests are in flight."""

    requests: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """The wish, reduced to what the search needs.

    Attributes:
        total_gpus: GPUs that a deployment may use.
        isl: prompt tokens.
        osl: output tokens.
        load: what must be served; ``None`` asks for the highest throughput.
    """

    model: ModelArchitecture
    gpu: GpuSpec
    total_gpus: int
    gpus_per_node: int
    isl: int
    osl: int
    load: RateLoad | ConcurrencyLoad | None
    sla: SlaTarget
    weight_dtype: Dtype = Dtype.BF16
    kv_dtype: Dtype = Dtype.BF16


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineChoice:
    """One engine configuration: tensor-parallel size and the token budget of a step."""

    tp: int
    max_num_batched_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AggCandidate:
    """Every worker does prefill and decode."""

    engine: EngineChoice

    @property
    def label(self) -> str:
        """Injective name."""
        return f"agg-tp{self.engine.tp}-chunk{self.engine.max_num_batched_tokens}"

    @property
    def engines(self) -> dict[Role, EngineChoice]:
        """Engine of each role."""
        return {Role.AGG: self.engine}


@dataclass(frozen=True, slots=True, kw_only=True)
class DisaggCandidate:
    """Prefill and decode workers of their own."""

    prefill: EngineChoice
    decode: EngineChoice

    @property
    def label(self) -> str:
        """Injective name."""
        return f"disagg-prefill-tp{self.prefill.tp}-decode-tp{self.decode.tp}"

    @property
    def engines(self) -> dict[Role, EngineChoice]:
        """Engine of each role."""
        return {Role.PREFILL: self.prefill, Role.DECODE: self.decode}


Candidate = AggCandidate | DisaggCandidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Sized:
    """A candidate with replicas.

    Attributes:
        rate_per_s: requests a second that it shall serve.
    """

    candidate: Candidate
    replicas: dict[Role, int]
    rate_per_s: float

    @property
    def gpus(self) -> int:
        """GPUs of all replicas."""
        engines = self.candidate.engines
        return sum(engines[role].tp * count for role, count in self.replicas.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """A sized candidate with its closed-form estimate at the rate it shall serve."""

    sized: Sized
    ttft_ms: float
    itl_ms: float
    feasible: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the simulation of a sized candidate says; percentiles over its requests.

    Attributes:
        attainment_ratio: share of requests within both targets (0-1).
        ttft_ms: median.
        itl_ms: median.
        e2e_ms: median.
        tokens_per_s_per_gpu: output tokens a second divided by all GPUs.
    """

    sized: Sized
    attainment_ratio: float
    ttft_ms: float
    itl_ms: float
    e2e_ms: float
    tokens_per_s_per_gpu: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A candidate that was ruled out before it was priced, and why."""

    label: str
    reason: str
