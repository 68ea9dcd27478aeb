"""The status of a DGDR, as the operator writes it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from dgdr.enums import ConditionStatus, Phase, ProfilingPhase
from dgdr.section import RawObject, Section


class Condition(Section):
    """One Kubernetes condition."""

    type: str
    status: Annotated[ConditionStatus, Field(strict=False)]
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None
    observed_generation: int | None = None


class ParetoEntry(Section):
    """One non-dominated configuration with its latency and throughput."""

    config: RawObject
    label: str | None = None
    metrics: RawObject | None = None


class ProfilingResults(Section):
    """What profiling found: the chosen deployment and the non-dominated set."""

    selected_config: RawObject | None = None
    pareto: list[ParetoEntry] = Field(default_factory=list)


class DeploymentInfo(Section):
    """Replicas summed over the components of the deployment."""

    replicas: int | None = None
    available_replicas: int | None = None


class DgdrStatus(Section):
    """Where a request stands."""

    phase: Annotated[Phase | None, Field(strict=False)] = None
    profiling_phase: Annotated[ProfilingPhase | None, Field(strict=False)] = None
    dgd_name: str | None = None
    profiling_job_name: str | None = None
    observed_generation: int | None = None
    conditions: list[Condition] = Field(default_factory=list)
    profiling_results: ProfilingResults | None = None
    deployment_info: DeploymentInfo | None = None
