"""``expect`` and ``tolerance`` in a scenario file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from harness.scenario.base import NonNegative, Positive, Share, StrictModel, Text


class LimitsSection(StrictModel):
    """Bounds that a set of requests must keep."""

    attainment_min: Share | None = None
    completed_ratio_min: Share | None = None
    ttft_ms_p50_max: Positive | None = None
    ttft_ms_p95_max: Positive | None = None
    ttft_ms_p99_max: Positive | None = None
    itl_ms_p50_max: Positive | None = None
    itl_ms_p95_max: Positive | None = None
    itl_ms_p99_max: Positive | None = None
    e2e_ms_p95_max: Positive | None = None


class WindowSection(LimitsSection):
    """One entry of ``expect.windows``: bounds on the requests that arrive in a window.

    ``before`` ends at the first fault, ``during`` lasts from there until everything has
    healed, ``after`` begins ``within_s`` later. ``from_s`` and ``to_s`` narrow any of them.
    """

    when: Literal["always", "before", "during", "after"] = "always"
    from_s: NonNegative | None = None
    to_s: Positive | None = None
    within_s: NonNegative = 0.0


class ErrorSection(StrictModel):
    """``expect.error``: the run must be refused, and say so."""

    kind: Literal["input", "unsupported", "infeasible", "permanent", "transient"]
    contains: str = ""


class ExpectSection(LimitsSection):
    """``expect``: at least one key is given (checked by the converter)."""

    recovery_s_max: Positive | None = None
    gpu_hours_max: Positive | None = None
    windows: list[WindowSection] = Field(default_factory=list)
    sometimes: list[Text] = Field(default_factory=list)
    never: list[Text] = Field(default_factory=list)
    error: ErrorSection | None = None


class ToleranceSection(StrictModel):
    """``tolerance``: how far two neighbouring rungs may differ."""

    ttft_ratio: NonNegative | None = None
    itl_ratio: NonNegative | None = None
    attainment_abs: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
