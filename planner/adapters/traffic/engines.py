"""Load of engines under the names of vLLM, SGLang and TensorRT-LLM."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from contracts.observation import PoolLoad
from contracts.plan import Role
from planner.adapters.traffic.exposition import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineNames:
    """Gauges of one engine; ``usage`` lists newer names first."""

    running: str
    waiting: str
    usage: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """Every name."""
        return (self.running, self.waiting, *self.usage)


ENGINES = (
    EngineNames(
        running="vllm:num_requests_running",
        waiting="vllm:num_requests_waiting",
        usage=("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
    ),
    EngineNames(
        running="sglang:num_running_reqs",
        waiting="sglang:num_queue_reqs",
        usage=("sglang:token_usage",),
    ),
    EngineNames(
        running="trtllm_num_requests_running",
        waiting="trtllm_num_requests_waiting",
        usage=("trtllm_kv_cache_utilization",),
    ),
)
WANTED = tuple(name for engine in ENGINES for name in engine.all)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLoad:
    """Load of one worker; its engines (data-parallel ranks) together."""

    running: float
    waiting: float
    kv_usage_ratio: float


def read_engine(page: Sequence[Sample]) -> EngineLoad | None:
    """The load that a worker reports, None when it reports none or only a part."""
    values: dict[str, list[float]] = {}
    for sample in page:
        if math.isfinite(sample.value):
            values.setdefault(sample.name, []).append(sample.value)
    for names in ENGINES:
        usage = next((values[name] for name in names.usage if name in values), None)
        if usage is not None and names.running in values and names.waiting in values:
            return EngineLoad(
                running=sum(values[names.running]),
                waiting=sum(values[names.waiting]),
                kv_usage_ratio=sum(usage) / len(usage),
            )
    return None


def pool_load(role: Role, engines: Sequence[EngineLoad | None]) -> PoolLoad | None:
    """The load of a pool, None when not every ready worker of it has told its own.

    Engines report waiting requests, not their tokens, so ``waiting_prefill_tokens`` is 0.
    """
    known = [engine for engine in engines if engine is not None]
    if not known or len(known) < len(engines):
        return None
    return PoolLoad(
        role=role,
        running_requests=round(sum(engine.running for engine in known)),
        waiting_requests=round(sum(engine.waiting for engine in known)),
        waiting_prefill_tokens=0,
        kv_usage_ratio=sum(engine.kv_usage_ratio for engine in known) / len(known),
    )
