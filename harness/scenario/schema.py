"""The scenario file format, version 1: shape, types, ranges and defaults."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from harness.scenario.base import Count, Index, NonNegative, Positive, StrictModel, Text
from harness.scenario.expect_sections import ExpectSection, ToleranceSection
from harness.scenario.fault_sections import FaultSection
from harness.scenario.workload_sections import WorkloadSection

NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
# A file may ask for so many runs at most; more is a slip of the pen.
CELLS_MAX = 256


class AggSection(StrictModel):
    """``deploy.topology`` of kind ``agg``: every worker does prefill and decode."""

    kind: Literal["agg"]
    replicas: Count


class DisaggSection(StrictModel):
    """``deploy.topology`` of kind ``disagg``: prefill workers hand over to decode workers."""

    kind: Literal["disagg"]
    prefill: Count
    decode: Count
    link: Literal["nvlink", "rdma", "tcp"] = "rdma"


class DeploySection(StrictModel):
    """``deploy``: paths are relative to the scenario file.

    ``set`` replaces fields of the DGDR by dotted path; ``topology`` replaces what the
    profiler picked, with the engines that it picked.
    """

    dgdr: Text
    set: dict[str, Any] = Field(default_factory=dict)
    topology: Annotated[AggSection | DisaggSection, Field(discriminator="kind")] | None = None
    model_config_file: Annotated[str | None, Field(alias="model_config")] = None
    gpu_file: str | None = None
    step_table: str | None = None
    startup_s: NonNegative = 10.0
    router: Literal[
        "least_loaded", "round_robin", "power_of_two", "kv_aware", "session_affinity"
    ] = "least_loaded"


class ReplicasSection(StrictModel):
    """``planner.initial_replicas``."""

    agg: Count | None = None
    prefill: Count | None = None
    decode: Count | None = None


class PlannerSection(StrictModel):
    """``planner``; ``set`` replaces settings of the generated planner configuration."""

    enabled: bool = True
    interval_s: Positive = 5.0
    scale_down_hold_s: NonNegative = 30.0
    initial_replicas: ReplicasSection = ReplicasSection()
    set: dict[str, Any] = Field(default_factory=dict)


class MockSection(StrictModel):
    """``mock``: ``speed`` 2 runs twice as fast as real time; ``driver`` sends the requests."""

    speed: Positive = 1.0
    driver: Literal["builtin", "aiperf"] = "builtin"


class KubeSection(StrictModel):
    """``kube``: ``speed`` 2 runs pods and load twice as fast as real time."""

    speed: Positive = 1.0


class ScenarioFile(StrictModel):
    """The whole file, or one cell of its matrix."""

    version: Literal[1]
    name: Annotated[str, Field(pattern=NAME_PATTERN, max_length=60)]
    description: str = ""
    deploy: DeploySection
    workload: WorkloadSection
    planner: PlannerSection = PlannerSection(enabled=False)
    faults: list[FaultSection] = Field(default_factory=list)
    on_worker_lost: Literal["retry", "fail"] = "retry"
    expect: ExpectSection
    rungs: Annotated[list[str], Field(min_length=1)]
    mock: MockSection = MockSection()
    kube: KubeSection = KubeSection()
    tolerance: ToleranceSection = ToleranceSection()
    seeds: Annotated[list[Index], Field(min_length=1)] = Field(default_factory=lambda: [1])
    repeats: Annotated[int, Field(ge=1, le=CELLS_MAX)] = 1


class FrameSection(StrictModel):
    """Keys that shape the file and are gone once it is expanded.

    ``include`` names files whose content lies under this one; ``matrix`` gives several
    values to a dotted path, and each combination is a run folder of its own.
    """

    include: list[Text] = Field(default_factory=list)
    matrix: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)
