"""Ports: the questions that one package asks and another one answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from contracts.hardware import Evidence
from contracts.plan import EngineSpec


class PrefillChunk(NamedTuple):
    """Tokens of one prompt computed in a step, and the tokens computed before it."""

    new_tokens: int
    past_tokens: int


class DecodeCost(NamedTuple):
    """Cost of a decode-only step as a line in the summed context length.

    ``base_fs + slope_fs * context_tokens`` femtoseconds, exact for every step as
    long as the number of requests stays the same.
    """

    base_fs: int
    slope_fs: int


class StepTimer(Protocol):
    """How long does one engine step take?"""

    def decode_cost(self, requests: int) -> DecodeCost:
        """Cost line of a step in which ``requests`` requests decode one token each."""
        ...

    def mixed_step_fs(
        self, requests: int, context_tokens: int, chunks: Sequence[PrefillChunk]
    ) -> int:
        """Femtoseconds of one fused step.

        Args:
            requests: decoding requests.
            context_tokens: their context lengths summed up, new token included.
            chunks: prefill work in the same step; without any the result equals the
                cost line of :meth:`decode_cost`.
        """
        ...

    @property
    def evidence(self) -> Evidence:
        """Whether the times are measured, calibrated or estimated."""
        ...


class RatedStepTimer(StepTimer, Protocol):
    """A step timer that also says how far off it may be."""

    @property
    def error_ratio(self) -> float:
        """Expected relative error of a step (0-1), two thirds of steps."""
        ...


# The step times of an engine. Raises InputError, UnsupportedError or InfeasibleError where
# there are none for it.
TimerFactory = Callable[[EngineSpec], RatedStepTimer]
