"""What the search asks of its surroundings."""

from __future__ import annotations

from typing import Protocol

from profiler.core.request import EngineChoice, Measured, Sized


class Estimator(Protocol):
    """Prices single steps and memory of an engine."""

    def step_ms(
        self, choice: EngineChoice, *, requests: float, context_tokens: float, chunk_tokens: float
    ) -> float:
        """One step: decodes with a mean context each, beside new prompt tokens."""
        ...

    def prefill_ms(self, choice: EngineChoice, isl: int) -> float:
        """A lone prompt from its first to its last chunk."""
        ...

    def kv_tokens(self, choice: EngineChoice) -> int:
        """Tokens that fit into the KV cache.

        Raises:
            InfeasibleError: the model does not fit.
        """
        ...

    def transfer_ms(self, prefill: EngineChoice, decode: EngineChoice, isl: int) -> float:
        """Moving the KV cache of a prompt."""
        ...


class Simulator(Protocol):
    """Runs a sized candidate under load."""

    def simulate(self, sized: Sized) -> Measured:
        """Serve the candidate's rate and report percentiles."""
        ...
