"""Service-level targets."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class OptimizationType(StrEnum):
    """What to prefer among candidates that meet the SLA."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlaTarget:
    """Latency targets in milliseconds; ``e2e_ms`` replaces the other two when given."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    ttft_ms: float
    itl_ms: float
    e2e_ms: float | None = None
