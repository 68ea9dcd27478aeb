"""How long prompts, outputs and pauses are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.errors import InputError
from contracts.workload import IntArray

# No length that is drawn exceeds this.
TOKENS_MAX = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Lognormal token counts with a mean and a coefficient of variation; 0 is fixed."""

    mean: float
    cv: float = 0.0
    min_tokens: int = 1
    max_tokens: int | None = None


def draw_lengths(name: str, lengths: Lengths, count: int, rng: np.random.Generator) -> IntArray:
    """Draw ``count`` whole numbers of at least one.

    Raises:
        InputError: mean, variation or bounds are impossible; ``name`` says which.
    """
    positive(f"{name}.mean", lengths.mean)
    top = TOKENS_MAX if lengths.max_tokens is None else lengths.max_tokens
    low = max(1, lengths.min_tokens)
    if not low <= top <= TOKENS_MAX:
        raise InputError(
            "the bounds leave no length",
            path=f"{name}.max_tokens",
            value=str(top),
            allowed=f"{low} to {TOKENS_MAX}",
        )
    drawn = draw_lognormal(name, lengths.mean, lengths.cv, count, rng)
    return np.asarray(np.round(np.clip(drawn, low, top)).astype(np.int64))


def draw_lognormal(
    name: str, mean: float, cv: float, count: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Lognormal numbers with this mean and coefficient of variation; 0 is fixed.

    Raises:
        InputError: ``cv`` is negative or not finite.
    """
    if not (cv >= 0 and math.isfinite(cv)):
        raise InputError("must not be negative", path=f"{name}.cv", value=str(cv))
    if cv == 0 or mean == 0:
        return np.full(count, float(mean))
    variance = math.log(1.0 + cv**2)
    mu = math.log(mean) - variance / 2
    return np.asarray(rng.lognormal(mu, math.sqrt(variance), count))


def positive(name: str, value: float) -> None:
    """Refuse what is not a positive finite number.

    Raises:
        InputError: it is not; ``name`` says which.
    """
    if not (value > 0 and math.isfinite(value)):
        raise InputError("must be a positive number", path=name, value=str(value))


def ratio(name: str, value: float) -> None:
    """Refuse what does not lie between 0 and 1.

    Raises:
        InputError: it does not; ``name`` says which.
    """
    if not 0 <= value <= 1:
        raise InputError("must lie between 0 and 1", path=name, value=str(value))
