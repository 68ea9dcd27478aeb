"""DynamoGraphDeployment and its scaling adapter, in both served versions.

The types fix what this project reads and writes. Further keys are kept as they are: they
belong to NVIDIA's operator, and pod templates belong to Kubernetes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from dgdr.section import RawObject
from dgdr.status import Condition

GRAPH_KIND = "DynamoGraphDeployment"
ADAPTER_KIND = "DynamoGraphDeploymentScalingAdapter"
COMPONENTS_MAX = 25

_Count = Annotated[int, Field(ge=0)]


class OpenSection(BaseModel):
    """A group of keys of which only some are known; the rest is kept untouched."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True, alias_generator=to_camel)

    @model_validator(mode="before")
    @classmethod
    def _null_means_absent(cls, data: object) -> object:
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if value is not None}
        return data


class Multinode(OpenSection):
    """One replica spans several machines."""

    node_count: Annotated[int, Field(ge=2)] = 2


class CompilationCache(OpenSection):
    """A claim that keeps compiled kernels between restarts."""

    pvc_name: str
    mount_path: str | None = None


class GraphComponent(OpenSection):
    """One component of a deployment, v1beta1."""

    name: Annotated[str, Field(min_length=1, max_length=63)]
    type: Literal["frontend", "worker", "prefill", "decode", "planner", "epp"] | None = None
    replicas: _Count | None = None
    scaling_adapter: RawObject | None = None
    multinode: Multinode | None = None
    pod_template: RawObject | None = None
    compilation_cache: CompilationCache | None = None
    runtime_version_override: str | None = None


class GraphSpec(OpenSection):
    """Components of a deployment, v1beta1."""

    components: Annotated[list[GraphComponent], Field(max_length=COMPONENTS_MAX)]
    backend_framework: Literal["vllm", "sglang", "trtllm"] | None = None


class LegacyPvc(OpenSection):
    """A claim used by services, v1alpha1."""

    name: str | None = None
    create: bool | None = None


class LegacyAdapter(OpenSection):
    """Whether a scaling adapter owns the replicas, v1alpha1."""

    enabled: bool = False


class LegacySharedMemory(OpenSection):
    """Shared memory of a pod, v1alpha1."""

    disabled: bool | None = None
    size: Any = None


class GraphService(OpenSection):
    """One component of a deployment, v1alpha1."""

    component_type: str | None = None
    sub_component_type: str | None = None
    replicas: _Count | None = None
    scaling_adapter: LegacyAdapter | None = None
    multinode: Multinode | None = None
    resources: RawObject | None = None
    shared_memory: LegacySharedMemory | None = None
    volume_mounts: list[RawObject] | None = None
    envs: list[RawObject] | None = None
    env_from_secret: str | None = None
    extra_pod_spec: RawObject | None = None
    extra_pod_metadata: RawObject | None = None
    runtime_version_override: str | None = None


class LegacyGraphSpec(OpenSection):
    """Services of a deployment, v1alpha1."""

    services: dict[str, GraphService] | None = None
    pvcs: Annotated[list[LegacyPvc], Field(max_length=100)] | None = None
    envs: list[RawObject] | None = None
    backend_framework: Literal["vllm", "sglang", "trtllm"] | None = None


class ComponentStatus(OpenSection):
    """Replicas of one component; what a kind of workload cannot tell stays absent."""

    component_kind: (
        Literal["PodClique", "PodCliqueScalingGroup", "Deployment", "LeaderWorkerSet"] | None
    ) = None
    component_names: list[str] | None = None
    replicas: int | None = None
    updated_replicas: int | None = None
    ready_replicas: int | None = None
    available_replicas: int | None = None


class RollingUpdate(OpenSection):
    """Progress of a change of pod templates."""

    phase: Literal["Pending", "InProgress", "Completed", "Failed", ""] | None = None


class GraphStatus(OpenSection):
    """Where a deployment stands."""

    state: Literal["initializing", "pending", "successful", "failed"] | None = None
    observed_generation: int | None = None
    conditions: list[Condition] | None = None
    components: dict[str, ComponentStatus] | None = None
    rolling_update: RollingUpdate | None = None


class LegacyGraphStatus(OpenSection):
    """Where a deployment stands, v1alpha1: components are called services."""

    state: Literal["", "initializing", "pending", "successful", "failed"] | None = None
    observed_generation: int | None = None
    conditions: list[Condition] | None = None
    services: dict[str, ComponentStatus] | None = None
    rolling_update: RollingUpdate | None = None


class DgdRef(OpenSection):
    """The component whose replicas an adapter sets."""

    name: Annotated[str, Field(min_length=1)]
    component_name: Annotated[str, Field(min_length=1)]


class LegacyDgdRef(OpenSection):
    """The service whose replicas an adapter sets, v1alpha1."""

    name: Annotated[str, Field(min_length=1)]
    service_name: Annotated[str, Field(min_length=1)]


class AdapterSpec(OpenSection):
    """How many replicas a component shall have."""

    replicas: _Count
    dgd_ref: DgdRef


class LegacyAdapterSpec(OpenSection):
    """How many replicas a service shall have, v1alpha1."""

    replicas: _Count
    dgd_ref: LegacyDgdRef


class AdapterStatus(OpenSection):
    """What the scale subresource reports."""

    replicas: int | None = None
    selector: str | None = None
    last_scale_time: str | None = None
