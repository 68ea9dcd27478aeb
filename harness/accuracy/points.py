"""A measured point: one configuration with its load and its latencies."""

from __future__ import annotations

from dataclasses import dataclass, field

from contracts.model import Dtype, ModelArchitecture
from contracts.workload import Workload
from harness.accuracy.engines import StatedEngine
from harness.accuracy.sources import Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A measured value and the statistic that it is.

    ``value`` is in milliseconds, that of ``tokens_per_s`` in output tokens a second.
    """

    value: float
    median: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One measured configuration.

    Attributes:
        raw: the source is a log or a full result block, not a published table.
        isl, osl: mean lengths, or the largest where they are spread over the upper fifth.
        concurrency: requests in flight; ``None`` for open loop.
        prompts: requests of the whole benchmark, ``None`` where the source does not say.
        rate_per_s: arrivals a second; ``None`` for closed loop.
        trace: the very requests that were sent; then load and lengths are not needed.
        served: measured by a client of a server, not inside an offline benchmark.
        overlap: the engine prepares its next step while the GPU works.
        options: engine limits that the source states, by their vLLM names.
        stated: what scripts of the benchmark say of the scheduler.
        figures: measured ``ttft_ms``, ``itl_ms``, ``e2e_ms`` and ``tokens_per_s``.
    """

    config_id: str
    source: str
    raw: bool
    gpu_sku: str
    model: ModelArchitecture
    backend: str
    tp: int
    dp: int = 1
    ep: int = 1
    weight_dtype: Dtype
    isl: int
    osl: int
    spread: Spread = Spread.FIXED
    concurrency: int | None
    prompts: int | None
    rate_per_s: float | None
    trace: Workload | None = None
    served: bool = True
    overlap: bool = True
    options: dict[str, int] = field(default_factory=dict)
    stated: StatedEngine | None = None
    figures: dict[str, Figure] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """``dense`` or ``moe``."""
        return "moe" if self.model.experts else "dense"
