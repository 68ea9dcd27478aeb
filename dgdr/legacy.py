"""DynamoGraphDeploymentRequest ``nvidia.com/v1alpha1``: the older form, read and converted."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dgdr.section import ImageName, ModelName, ObjectName, RawObject, Section
from dgdr.status import Condition

LegacyState = Literal[
    "",
    "Initializing",
    "Pending",
    "Profiling",
    "Deploying",
    "Ready",
    "DeploymentDeleted",
    "Failed",
]


class ConfigMapRef(Section):
    """A key of a ConfigMap that holds a deployment to start from."""

    name: ObjectName
    key: str = "disagg.yaml"


class ProfilingConfigSpec(Section):
    """How to profile: a free blob of settings and what the Job needs."""

    config: RawObject | None = None
    config_map_ref: ConfigMapRef | None = None
    profiler_image: ImageName = Field(description="image of the profiling job")
    output_pvc: ObjectName | None = Field(default=None, alias="outputPVC")
    resources: RawObject | None = None
    tolerations: list[RawObject] | None = None


class DeploymentOverridesSpec(Section):
    """Changes to the metadata and images of the generated deployment."""

    name: str | None = None
    namespace: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    workers_image: str | None = None


class LegacySpec(Section):
    """What is wanted, in the older form."""

    model: ModelName
    backend: Literal["auto", "vllm", "sglang", "trtllm"]
    profiling_config: ProfilingConfigSpec
    use_mocker: bool = False
    auto_apply: bool = False
    deployment_overrides: DeploymentOverridesSpec | None = None
    enable_gpu_discovery: bool | None = None


class LegacyDeployment(Section):
    """The deployment that was created."""

    name: str | None = None
    namespace: str | None = None
    state: str | None = None
    created: bool | None = None


class LegacyStatus(Section):
    """Where a request stands, in the older form; Ready means deployed."""

    state: LegacyState | None = None
    backend: str | None = None
    observed_generation: int | None = None
    conditions: list[Condition] | None = None
    profiling_results: str | None = None
    generated_deployment: RawObject | None = None
    deployment: LegacyDeployment | None = None
