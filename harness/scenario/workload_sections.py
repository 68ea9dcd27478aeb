"""``workload`` in a scenario file: synthetic requests, conversations, closed loop, traces."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from harness.scenario.base import Count, InnerShare, NonNegative, Positive, Share, StrictModel, Text


class PoissonSection(StrictModel):
    """``arrivals`` of kind ``poisson``: independent gaps."""

    kind: Literal["poisson"]
    rate_per_s: Positive


class GammaSection(StrictModel):
    """``arrivals`` of kind ``gamma``: ``cv`` above 1 clusters, below 1 smooths."""

    kind: Literal["gamma"]
    rate_per_s: Positive
    cv: Positive


class ConstantSection(StrictModel):
    """``arrivals`` of kind ``constant``: equal gaps."""

    kind: Literal["constant"]
    rate_per_s: Positive


class BurstSection(StrictModel):
    """``arrivals`` of kind ``burst``: one window at a peak rate."""

    kind: Literal["burst"]
    base_rate_per_s: Positive
    peak_rate_per_s: Positive
    start_s: NonNegative
    length_s: Positive


class DiurnalSection(StrictModel):
    """``arrivals`` of kind ``diurnal``: a sine around the mean, lowest at the start."""

    kind: Literal["diurnal"]
    mean_rate_per_s: Positive
    peak_rate_per_s: Positive
    period_s: Positive


class StepSection(StrictModel):
    """One entry of ``steps``: the rate from a second on."""

    from_s: NonNegative
    rate_per_s: NonNegative


class StepsSection(StrictModel):
    """``arrivals`` of kind ``steps``: a rate that changes in steps, the first at 0 s."""

    kind: Literal["steps"]
    steps: Annotated[list[StepSection], Field(min_length=1)]


ArrivalsSection = Annotated[
    PoissonSection | GammaSection | ConstantSection | BurstSection | DiurnalSection | StepsSection,
    Field(discriminator="kind"),
]


class LengthsSection(StrictModel):
    """Lognormal lengths with a mean and a coefficient of variation; 0 is fixed."""

    mean: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    cv: NonNegative = 0.0
    min: Count | None = None
    max: Count | None = None


class PrefixesSection(StrictModel):
    """``mix.prefixes``: prompts begin with the text of a group, as system prompts do."""

    groups: Count
    shared_ratio: InnerShare
    zipf_exponent: NonNegative = 0.0


class ThinkingSection(StrictModel):
    """``mix.thinking``: a share of the requests thinks before it answers."""

    request_ratio: Share
    tokens: LengthsSection


class AdaptersSection(StrictModel):
    """``mix.adapters``: LoRA adapters by popularity."""

    names: Annotated[list[Text], Field(min_length=1)]
    zipf_exponent: NonNegative = 1.0
    base_ratio: Share = 0.0


class MixSection(StrictModel):
    """``mix``: what requests differ in besides time and length."""

    prefixes: PrefixesSection | None = None
    thinking: ThinkingSection | None = None
    adapters: AdaptersSection | None = None
    priority_ratios: list[Share] = Field(default_factory=list)
    timeout_s: NonNegative = 0.0


class SyntheticSection(StrictModel):
    """``workload.synthetic``: requests that do not wait for each other."""

    duration_s: Positive
    arrivals: ArrivalsSection
    isl: LengthsSection | None = None
    osl: LengthsSection | None = None
    mix: MixSection = MixSection()


class ThinkTimeSection(StrictModel):
    """``think``: pause of a client between an answer and its next turn."""

    mean_s: NonNegative
    cv: NonNegative = 0.0


class SessionsSection(StrictModel):
    """``workload.sessions``: conversations; ``next_isl`` is the new text of a further turn."""

    duration_s: Positive
    arrivals: ArrivalsSection
    turns: LengthsSection
    think: ThinkTimeSection = ThinkTimeSection(mean_s=1.0)
    first_isl: LengthsSection | None = None
    next_isl: LengthsSection
    osl: LengthsSection | None = None
    mix: MixSection = MixSection()


class ClosedLoopSection(StrictModel):
    """``workload.closed_loop``: a fixed number of requests in flight, as benchmarks do."""

    concurrency: Count
    duration_s: Positive
    isl: LengthsSection | None = None
    osl: LengthsSection | None = None
    different_requests: Count = 1000


class TraceSection(StrictModel):
    """``workload.trace``: recorded traffic."""

    path: Text
    format: Literal["mooncake", "azure", "burstgpt", "servegen", "csv", "jsonl"]
    limit: Count | None = None
    speed: Positive = 1.0


class WorkloadSection(StrictModel):
    """``workload``: exactly one of its keys is given (checked by the converter)."""

    synthetic: SyntheticSection | None = None
    sessions: SessionsSection | None = None
    closed_loop: ClosedLoopSection | None = None
    trace: TraceSection | None = None

    @property
    def given(self) -> list[str]:
        """Keys that the file has."""
        return [name for name in type(self).model_fields if getattr(self, name) is not None]
