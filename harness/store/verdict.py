"""The verdict of a run: every expectation, what was asked, what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

_STRICT = {"extra": "forbid"}


class Outcome(StrEnum):
    """Three-valued: no data is never a pass."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Bound(StrEnum):
    """On which side of the asked value the measured one must lie."""

    AT_LEAST = "at_least"
    AT_MOST = "at_most"
    EQUAL = "equal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One expectation on one rung.

    Attributes:
        name: key of the scenario file, for example ``ttft_ms_p95_max``.
        rung: where it was measured; two rungs are written ``sim -> mock``.
        seed: the seed, ``None`` when all seeds were taken together.
        measured: ``None`` when there was nothing to measure.
        unit: for people: ``ms``, ``s`` or empty for a ratio.
        note: why it is inconclusive, or what else a reader must know.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    name: str
    rung: str
    seed: int | None
    bound: Bound
    asked: float
    measured: float | None
    unit: str
    outcome: Outcome
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The outcome of a run and the checks behind it.

    Attributes:
        reasons: sentences for people, most important first.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    outcome: Outcome
    checks: tuple[Check, ...]
    reasons: tuple[str, ...] = ()
