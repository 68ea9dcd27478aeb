"""The scenario file format, version 1: shape, types, ranges and defaults."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.scenario.fault_sections import FaultSection

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class StrictModel(BaseModel):
    """Base of every section: unknown keys and loose types are errors."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class DeploySection(StrictModel):
    """``deploy``: paths are relative to the scenario file."""

    dgdr: Annotated[str, Field(min_length=1)]
    model_config_file: Annotated[str | None, Field(alias="model_config")] = None
    gpu_file: str | None = None
    step_table: str | None = None
    startup_s: NonNegative = 10.0
    router: Literal[
        "least_loaded", "round_robin", "power_of_two", "kv_aware", "session_affinity"
    ] = "least_loaded"


class PoissonSection(StrictModel):
    """``arrivals`` of kind ``poisson``."""

    kind: Literal["poisson"]
    rate_per_s: Positive


class GammaSection(StrictModel):
    """``arrivals`` of kind ``gamma``."""

    kind: Literal["gamma"]
    rate_per_s: Positive
    cv: Positive


class ConstantSection(StrictModel):
    """``arrivals`` of kind ``constant``."""

    kind: Literal["constant"]
    rate_per_s: Positive


class BurstSection(StrictModel):
    """``arrivals`` of kind ``burst``."""

    kind: Literal["burst"]
    base_rate_per_s: Positive
    peak_rate_per_s: Positive
    start_s: NonNegative
    length_s: Positive


ArrivalsSection = Annotated[
    PoissonSection | GammaSection | ConstantSection | BurstSection, Field(discriminator="kind")
]


class LengthsSection(StrictModel):
    """``isl`` or ``osl``."""

    mean: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    cv: NonNegative = 0.0
    min: Count | None = None
    max: Count | None = None


class SyntheticSection(StrictModel):
    """``workload.synthetic``."""

    duration_s: Positive
    arrivals: ArrivalsSection
    isl: LengthsSection | None = None
    osl: LengthsSection | None = None


class TraceSection(StrictModel):
    """``workload.trace``."""

    path: Annotated[str, Field(min_length=1)]
    format: Literal["mooncake", "azure", "servegen", "csv", "jsonl"]
    limit: Count | None = None
    speed: Positive = 1.0


class WorkloadSection(StrictModel):
    """``workload``: exactly one of its keys is given (checked by the converter)."""

    synthetic: SyntheticSection | None = None
    trace: TraceSection | None = None


class ReplicasSection(StrictModel):
    """``planner.initial_replicas``."""

    agg: Count | None = None
    prefill: Count | None = None
    decode: Count | None = None


class PlannerSection(StrictModel):
    """``planner``."""

    enabled: bool = True
    interval_s: Positive = 5.0
    scale_down_hold_s: NonNegative = 30.0
    initial_replicas: ReplicasSection = ReplicasSection()


class ExpectSection(StrictModel):
    """``expect``: at least one key is given (checked by the converter)."""

    attainment_min: Share | None = None
    ttft_ms_p95_max: Positive | None = None
    itl_ms_p95_max: Positive | None = None
    completed_ratio_min: Share | None = None
    recovery_s_max: Positive | None = None


class MockSection(StrictModel):
    """``mock``."""

    speed: Positive = 1.0


class ToleranceSection(StrictModel):
    """``tolerance``."""

    ttft_ratio: NonNegative | None = None
    itl_ratio: NonNegative | None = None


class ScenarioFile(StrictModel):
    """The whole file."""

    version: Literal[1]
    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=60)]
    description: str = ""
    deploy: DeploySection
    workload: WorkloadSection
    planner: PlannerSection = PlannerSection(enabled=False)
    faults: list[FaultSection] = []
    on_worker_lost: Literal["retry", "fail"] = "retry"
    expect: ExpectSection
    rungs: Annotated[list[str], Field(min_length=1)]
    mock: MockSection = MockSection()
    tolerance: ToleranceSection = ToleranceSection()
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [1]
