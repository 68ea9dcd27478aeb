"""Prices steps for the screen with the simulator's own step timer."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.engine import SglangScheduling
from contracts.ports import PrefillChunk, StepTimer
from contracts.units import FS_PER_NS, NS_PER_MS
from profiler.core.ports import EngineFacts
from profiler.core.request import DisaggCandidate, EngineChoice
from profiler.measure.engines import EngineFactory

_FS_PER_MS = FS_PER_NS * NS_PER_MS


class SimcoreEstimator:
    """Answers :class:`profiler.core.ports.Estimator`."""

    def __init__(self, engines: EngineFactory) -> None:
        self._engines = engines

    def facts(self, choice: EngineChoice) -> EngineFacts:
        """Limits of one attention rank; see the port."""
        spec = self._engines.spec(choice)
        limits, scheduling = spec.limits, spec.scheduling
        return EngineFacts(
            kv_tokens=limits.kv_blocks_total * limits.block_size_tokens,
            max_num_seqs=limits.max_num_seqs,
            mixes=not isinstance(scheduling, SglangScheduling) or scheduling.mixed_chunk,
        )

    def step_ms(
        self,
        choice: EngineChoice,
        *,
        requests: float,
        context_tokens: float,
        chunks: Sequence[PrefillChunk] = (),
    ) -> float:
        """One step; fractions are rounded to whole requests and tokens."""
        count = round(requests)
        context = round(count * context_tokens)
        return self._engines.timer(choice).mixed_step_fs(count, context, chunks) / _FS_PER_MS

    def transfer_ms(self, prefill: EngineChoice, decode: EngineChoice, isl: int) -> float:
        """Latency plus size over bandwidth."""
        link = self._engines.link(DisaggCandidate(prefill=prefill, decode=decode))
        spec = self._engines.spec(prefill)
        size = isl * spec.model.kv_bytes_per_token(spec.kv_dtype)
        return link.latency_us / 1e3 + size / (link.gbytes_per_s * 1e9) * 1e3


def lone_prefill_ms(timer: StepTimer, isl: int, budget: int) -> float:
    """Time to compute a prompt alone, in chunks of at most ``budget`` tokens."""
    total_fs = 0
    for past in range(0, isl, budget):
        total_fs += timer.mixed_step_fs(0, 0, [PrefillChunk(min(budget, isl - past), past)])
    return total_fs / _FS_PER_MS
