"""What the search asks of its surroundings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from contracts.ports import PrefillChunk
from profiler.core.request import EngineChoice, Sized
from profiler.core.results import Measured


class EngineFacts(NamedTuple):
    """What one attention rank of an engine can hold, and how it schedules.

    Attributes:
        kv_tokens: tokens that fit into its KV cache.
        max_num_seqs: requests that may run at once.
        mixes: decodes run beside prompt chunks in one step.
    """

    kv_tokens: int
    max_num_seqs: int
    mixes: bool = True


class Estimator(Protocol):
    """Prices single steps and memory of an engine."""

    def facts(self, choice: EngineChoice) -> EngineFacts:
        """Limits of an engine.

        Raises:
            InfeasibleError: the model does not fit, or there are no step times for it.
        """
        ...

    def step_ms(
        self,
        choice: EngineChoice,
        *,
        requests: float,
        context_tokens: float,
        chunks: Sequence[PrefillChunk] = (),
    ) -> float:
        """One step of a rank: decodes with a mean context each, beside prompt chunks."""
        ...

    def transfer_ms(self, prefill: EngineChoice, decode: EngineChoice, isl: int) -> float:
        """Moving the KV cache of a prompt."""
        ...


class Simulator(Protocol):
    """Runs a sized candidate under load."""

    def simulate(self, sized: Sized, *, sure: bool = True) -> Measured:
        """Serve the candidate's load and report percentiles.

        Args:
            sized: the candidate.
            sure: look longer while it is unclear whether the targets are met.
        """
        ...
