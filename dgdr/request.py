"""DynamoGraphDeploymentRequest ``nvidia.com/v1beta1``: the request a user writes.

Python names carry units, the wire keeps the names of the API. The types check each
field by itself; rules across fields live in :mod:`dgdr.validation`, and
:func:`dgdr.load.load_dgdr` applies both.
"""

from __future__ import annotations

import posixpath
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from contracts.sla import SlaTarget
from dgdr.enums import Backend, GpuSku, Interconnect, OptimizationType, SearchStrategy
from dgdr.section import (
    ImageName,
    ModelName,
    MountPath,
    Namespace,
    ObjectName,
    PathInClaim,
    PositiveInt32,
    PositiveNumber,
    RawObject,
    RuntimeVersion,
    Section,
)
from dgdr.status import DgdrStatus

API_GROUP = "nvidia.com"
API_VERSION = "nvidia.com/v1beta1"
KIND = "DynamoGraphDeploymentRequest"
DEFAULT_TTFT_MS = 2000.0
DEFAULT_ITL_MS = 30.0
DEFAULT_MOUNT_PATH = "/opt/model-cache"
# Where a profiling Job finds the model cache: the model in it, else its mount.
MODEL_CACHE_VARIABLE = "DGDR_MODEL_CACHE"


class ObjectMeta(Section):
    """Kubernetes object metadata; fields the API server fills in are kept as they are."""

    name: ObjectName = Field(description="a Kubernetes object name")
    namespace: Namespace | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    generation: int | None = None
    uid: str | None = None
    resource_version: str | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    generate_name: str | None = None
    self_link: str | None = None
    finalizers: list[str] = Field(default_factory=list)
    owner_references: list[RawObject] = Field(default_factory=list)
    managed_fields: list[RawObject] = Field(default_factory=list)


class SlaSpec(Section):
    """Latency targets in milliseconds: TTFT and ITL, or one end-to-end latency."""

    ttft_ms: PositiveNumber | None = Field(default=None, alias="ttft")
    itl_ms: PositiveNumber | None = Field(default=None, alias="itl")
    e2e_latency_ms: PositiveNumber | None = Field(default=None, alias="e2eLatency")
    optimization_type: Annotated[OptimizationType | None, Field(strict=False)] = None

    @property
    def sets_token_latency(self) -> bool:
        """Whether the user gave a TTFT or ITL target."""
        return self.ttft_ms is not None or self.itl_ms is not None

    @property
    def target(self) -> SlaTarget:
        """The targets in force; giving one of TTFT and ITL keeps the default of the other."""
        return SlaTarget(
            ttft_ms=DEFAULT_TTFT_MS if self.ttft_ms is None else self.ttft_ms,
            itl_ms=DEFAULT_ITL_MS if self.itl_ms is None else self.itl_ms,
            e2e_ms=self.e2e_latency_ms,
        )


class WorkloadSpec(Section):
    """Mean lengths in tokens and the load, as a request rate or a concurrency."""

    isl: PositiveInt32 = 4000
    osl: PositiveInt32 = 1000
    request_rate_per_s: PositiveNumber | None = Field(default=None, alias="requestRate")
    concurrency: PositiveNumber | None = None


class HardwareSpec(Section):
    """GPUs to plan for; what is absent has to be discovered."""

    gpu_sku: Annotated[GpuSku | None, Field(strict=False)] = None
    vram_mib: PositiveNumber | None = Field(default=None, alias="vramMb")
    total_gpus: PositiveInt32 | None = None
    num_gpus_per_node: PositiveInt32 | None = None
    interconnect: Annotated[Interconnect | None, Field(strict=False)] = None
    rdma: bool | None = None


class ModelCacheSpec(Section):
    """An existing ReadWriteMany claim that holds the weights."""

    pvc_name: ObjectName | None = None
    pvc_model_path: PathInClaim | None = None
    pvc_mount_path: MountPath = DEFAULT_MOUNT_PATH

    @property
    def model_path(self) -> str | None:
        """Where a container finds the weights, mount and path joined exactly once.

        None without a claim or without a path inside it.
        """
        if self.pvc_name is None or self.pvc_model_path is None:
            return None
        # An absolute path starts with the mount (checked on loading), and join keeps it then.
        return posixpath.normpath(posixpath.join(self.pvc_mount_path, self.pvc_model_path))


class SwitchSpec(Section):
    """A feature that is on or off."""

    enabled: bool = False


class FeaturesSpec(Section):
    """Optional parts of the deployment."""

    planner: RawObject | None = None
    mocker: SwitchSpec = SwitchSpec()
    kv_router: SwitchSpec = SwitchSpec()


class OverridesSpec(Section):
    """Partial Kubernetes objects that are merged over what is generated."""

    profiling_job: RawObject | None = None
    dgd: RawObject | None = None
    trust_remote_code: bool = False

    @property
    def dgd_name(self) -> str | None:
        """Name that ``overrides.dgd.metadata.name`` gives the deployment, if any."""
        metadata = (self.dgd or {}).get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        return name if isinstance(name, str) else None

    @property
    def tolerations(self) -> list[JsonValue]:
        """Pod tolerations of the profiling job; every generated component gets them too."""
        here: JsonValue = self.profiling_job
        for key in ("template", "spec", "tolerations"):
            here = here.get(key) if isinstance(here, dict) else None
        return here if isinstance(here, list) else []


class DgdrSpec(Section):
    """What is wanted: only the model is mandatory."""

    model: ModelName = Field(description="a Hugging Face id or private model name")
    image: ImageName | None = None
    backend: Annotated[Backend, Field(strict=False)] = Backend.AUTO
    search_strategy: Annotated[SearchStrategy, Field(strict=False)] = SearchStrategy.RAPID
    auto_apply: bool = True
    sla: SlaSpec = SlaSpec()
    workload: WorkloadSpec = WorkloadSpec()
    hardware: HardwareSpec = HardwareSpec()
    model_cache: ModelCacheSpec = ModelCacheSpec()
    features: FeaturesSpec = FeaturesSpec()
    overrides: OverridesSpec = OverridesSpec()
    runtime_version_override: RuntimeVersion | None = None

    @property
    def planner(self) -> dict[str, JsonValue] | None:
        """The user's planner settings without ``enabled``; None when the planner is off."""
        planner = self.features.planner
        if planner is None or planner.get("enabled") is False:
            return None
        return {key: value for key, value in planner.items() if key != "enabled"}

    @property
    def mocker(self) -> bool:
        """Whether workers run without GPUs."""
        return self.features.mocker.enabled


class Dgdr(Section):
    """One DynamoGraphDeploymentRequest."""

    api_version: Literal["nvidia.com/v1beta1"] = Field(description=API_VERSION)
    kind: Literal["DynamoGraphDeploymentRequest"] = Field(description=KIND)
    metadata: ObjectMeta = Field(description="a section with the name of the request")
    spec: DgdrSpec = Field(description="a section with at least the model")
    status: DgdrStatus | None = None

    @property
    def dgd_name(self) -> str:
        """Name under which the deployment is created in a cluster."""
        return self.spec.overrides.dgd_name or f"{self.metadata.name}-dgd"
