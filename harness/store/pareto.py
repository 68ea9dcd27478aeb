"""The profiler's candidates as it leaves them in ``profile/pareto.json``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

# The profiler writes this file; keys that it adds later must not break old readers.
_TOLERANT = {"extra": "ignore"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoPoint:
    """One candidate deployment.

    Attributes:
        reason: why it is infeasible, or why it was or was not picked.
        pareto: no other candidate is better in throughput, TTFT and ITL together.
        cost_per_million_tokens: output tokens, in the currency of the price table; ``None``
            without one.
        error_ratio: expected relative error of the latencies (0-1).
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _TOLERANT

    label: str
    mode: str
    tokens_per_s_per_gpu: float | None
    ttft_ms: float | None
    itl_ms: float | None
    gpus: int
    replicas: int | dict[str, int]
    feasible: bool
    reason: str
    pareto: bool
    cost_per_million_tokens: float | None = None
    error_ratio: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoSet:
    """All candidates and the label of the one that was picked."""

    __pydantic_config__: ClassVar[dict[str, str]] = _TOLERANT

    objective: str
    picked: str
    points: tuple[ParetoPoint, ...]
