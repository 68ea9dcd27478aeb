"""A step timer whose steps take longer, for a worker that has become slow."""

from __future__ import annotations

import math
from collections.abc import Sequence

from contracts.errors import InputError
from contracts.hardware import Evidence
from contracts.ports import DecodeCost, PrefillChunk, StepTimer

# Factors are integers of this unit, so that every machine rounds alike.
_UNIT = 1 << 20


class SlowedTimer:
    """Stretches the steps of another timer by a factor.

    Raises:
        InputError: the factor is not a positive number.
    """

    def __init__(self, timer: StepTimer, factor: float) -> None:
        if not (factor > 0 and math.isfinite(factor)):
            raise InputError("a speed factor must be positive", value=str(factor))
        self._timer = timer
        self._factor = max(1, round(factor * _UNIT))

    @property
    def evidence(self) -> Evidence:
        """As good as the timer below."""
        return self._timer.evidence

    def decode_cost(self, requests: int) -> DecodeCost:
        """See :class:`contracts.ports.StepTimer`."""
        base_fs, slope_fs = self._timer.decode_cost(requests)
        return DecodeCost(base_fs * self._factor // _UNIT, slope_fs * self._factor // _UNIT)

    def mixed_step_fs(
        self, requests: int, context_tokens: int, chunks: Sequence[PrefillChunk]
    ) -> int:
        """See :class:`contracts.ports.StepTimer`."""
        if not chunks:
            cost = self.decode_cost(requests)
            return cost.base_fs + cost.slope_fs * context_tokens
        step_fs = self._timer.mixed_step_fs(requests, context_tokens, chunks)
        return step_fs * self._factor // _UNIT
