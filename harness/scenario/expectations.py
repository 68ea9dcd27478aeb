"""What a scenario expects, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum

from harness.scenario.condition import Condition


class When(StrEnum):
    """Which requests a window takes, by their arrival."""

    ALWAYS = "always"
    BEFORE = "before"
    DURING = "during"
    AFTER = "after"


class ErrorKind(StrEnum):
    """Errors that a scenario may expect, named as in ``contracts.errors``."""

    INPUT = "input"
    UNSUPPORTED = "unsupported"
    INFEASIBLE = "infeasible"
    PERMANENT = "permanent"
    TRANSIENT = "transient"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds that a set of requests must keep; ``None`` means not asked.

    Attributes:
        attainment_min: share (0-1) of the offered requests that complete within the
            TTFT and ITL targets of the DGDR.
        completed_ratio_min: share (0-1) of the offered requests that complete.
    """

    attainment_min: float | None = None
    completed_ratio_min: float | None = None
    ttft_ms_p50_max: float | None = None
    ttft_ms_p95_max: float | None = None
    ttft_ms_p99_max: float | None = None
    itl_ms_p50_max: float | None = None
    itl_ms_p95_max: float | None = None
    itl_ms_p99_max: float | None = None
    e2e_ms_p95_max: float | None = None

    def asked(self) -> dict[str, float]:
        """The bounds that are asked for, by name."""
        names = [each.name for each in fields(Limits)]
        found = {name: getattr(self, name) for name in names}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowExpectation(Limits):
    """Bounds on the requests that arrive in a window.

    Attributes:
        when: before the first fault, until all have healed, or from then on.
        from_s: nothing earlier counts.
        to_s: nothing from here on counts.
        within_s: grace after everything has healed.
    """

    when: When = When.ALWAYS
    from_s: float | None = None
    to_s: float | None = None
    within_s: float = 0.0

    @property
    def label(self) -> str:
        """For people: ``after + 10 s``."""
        text = self.when.value if self.when is not When.ALWAYS else ""
        if self.within_s:
            text += f" + {self.within_s:g} s"
        if self.from_s is not None:
            text += f" from {self.from_s:g} s"
        if self.to_s is not None:
            text += f" to {self.to_s:g} s"
        return text.strip() or "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedError:
    """The run must be refused with this kind of error and these words in its text."""

    kind: ErrorKind
    contains: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations(Limits):
    """What must hold for a pass; ``None`` means not asked.

    Attributes:
        recovery_s_max: longest time from a fault until the pool is whole again.
        gpu_hours_max: GPU time of one run.
        windows: bounds on parts of the run.
        sometimes: each must hold at some instant of at least one run of a rung.
        never: none may hold at any instant of any run.
        error: the run must be refused; nothing else is judged then.
    """

    recovery_s_max: float | None = None
    gpu_hours_max: float | None = None
    windows: tuple[WindowExpectation, ...] = ()
    sometimes: tuple[Condition, ...] = ()
    never: tuple[Condition, ...] = ()
    error: ExpectedError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """Allowed differences between two rungs; ``None``: not judged.

    Attributes:
        ttft_ratio: relative difference of the medians.
        itl_ratio: likewise.
        attainment_abs: difference of the attainments (0-1).
    """

    ttft_ratio: float | None
    itl_ratio: float | None
    attainment_abs: float | None = None
