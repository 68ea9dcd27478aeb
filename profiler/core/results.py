"""What is found out about one candidate."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.hardware import Evidence
from contracts.plan import Role
from profiler.core.request import Sized


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """A sized candidate with its closed-form estimate at the rate it shall serve.

    Attributes:
        ttft_ms: mean.
        itl_ms: mean.
        capacity_per_s: requests a second that one replica of each role sustains within the
            targets.
        gpus_needed: GPUs that the load takes, also beyond the budget.
        gpus_min: GPUs below which the load cannot be served, by an optimistic estimate.
        rate_max_per_s: requests a second that the budget sustains at most, optimistically.
        unit_cost: GPUs for each request a second when roles are scaled freely.
        feasible: within the targets when idle, and the load within the budget.
        reason: what is missed most; empty when feasible.
        miss: by what factor.
    """

    sized: Sized
    ttft_ms: float
    itl_ms: float
    capacity_per_s: dict[Role, float]
    gpus_needed: int
    gpus_min: int
    rate_max_per_s: float
    unit_cost: float
    feasible: bool
    reason: str
    miss: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """Of all simulated requests that count, in ms."""

    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the simulation of a sized candidate says.

    Attributes:
        attainment_ratio: share of requests within all targets (0-1).
        attainment_error: half of the 95 % confidence interval of that share.
        requests: simulated requests that count.
        tokens_per_s_per_gpu: output tokens a second divided by all GPUs.
        evidence: the weakest of the step times used.
        error_ratio: expected relative error of latencies (0-1), two thirds of steps.
    """

    sized: Sized
    attainment_ratio: float
    ttft: Quantiles
    itl: Quantiles
    e2e: Quantiles
    tokens_per_s_per_gpu: float
    attainment_error: float = 0.0
    requests: int = 0
    evidence: Evidence = Evidence.ESTIMATED
    error_ratio: float = 0.0

    @property
    def ttft_ms(self) -> float:
        """Median TTFT."""
        return self.ttft.p50

    @property
    def itl_ms(self) -> float:
        """Median ITL."""
        return self.itl.p50

    @property
    def e2e_ms(self) -> float:
        """Median time from arrival to the last token."""
        return self.e2e.p50

    @property
    def tokens_per_s(self) -> float:
        """Output tokens a second of the whole deployment."""
        return self.tokens_per_s_per_gpu * self.sized.gpus
