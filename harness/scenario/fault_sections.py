"""Entries of ``faults`` in a scenario file, one section for each kind."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from contracts import faults
from contracts.plan import Role
from harness.scenario import control_faults as control
from harness.scenario.base import (
    Finite,
    Index,
    InnerShare,
    NonNegative,
    Positive,
    StrictModel,
    Text,
)

RoleName = Literal["agg", "prefill", "decode"]
_Factor = Annotated[float, Field(ge=1, allow_inf_nan=False)]


class _Section(StrictModel):
    """Strikes at ``at_s``, or, with ``after``, once the condition holds at ``at_s`` or later."""

    at_s: NonNegative = 0.0
    after: Text | None = None


class WorkerCrashSection(_Section):
    """A worker dies."""

    kind: Literal["worker_crash"]
    role: RoleName
    worker_index: Index = 0
    restart: bool = True


class WorkerPartitionSection(_Section):
    """A worker is out of reach for a while."""

    kind: Literal["worker_partition"]
    role: RoleName
    duration_s: Positive
    worker_index: Index = 0


class WorkerDrainSection(_Section):
    """A worker ends what it has and is replaced, as in a rollout."""

    kind: Literal["worker_drain"]
    role: RoleName
    worker_index: Index = 0


class NodeLossSection(_Section):
    """Every worker on a node dies."""

    kind: Literal["node_loss"]
    node_index: Index = 0
    restart: bool = True


class SlowWorkerSection(_Section):
    """The steps of a worker take longer for a while."""

    kind: Literal["slow_worker"]
    role: RoleName
    duration_s: Positive
    factor: _Factor
    worker_index: Index = 0


class LateStartSection(_Section):
    """Workers that are ordered for a while start later."""

    kind: Literal["late_start"]
    duration_s: Positive
    role: RoleName | None = None
    factor: _Factor = 1.0
    extra_s: NonNegative = 0.0


class ImagePullFailureSection(_Section):
    """Workers that are ordered for a while start up only afterwards."""

    kind: Literal["image_pull_failure"]
    duration_s: Positive
    role: RoleName | None = None


class LinkDegradedSection(_Section):
    """KV transfers are slower for a while."""

    kind: Literal["link_degraded"]
    duration_s: Positive
    factor: Annotated[float, Field(gt=0, le=1)]


class LinkLostSection(_Section):
    """No KV transfer is possible for a while."""

    kind: Literal["link_lost"]
    duration_s: Positive
    transfers: Literal["retry", "recompute"] = "retry"


class StaleRouterViewSection(_Section):
    """The router hears late for a while."""

    kind: Literal["stale_router_view"]
    duration_s: Positive
    lag_s: Positive


class MemoryShrinkSection(_Section):
    """A worker loses KV blocks."""

    kind: Literal["memory_shrink"]
    role: RoleName
    lost_ratio: InnerShare
    worker_index: Index = 0


class MetricsGapSection(_Section):
    """The planner sees nothing for a while."""

    kind: Literal["metrics_gap"]
    duration_s: Positive


class StaleMetricsSection(_Section):
    """The planner sees figures that stand still for a while."""

    kind: Literal["stale_metrics"]
    duration_s: Positive


class ClockSkewSection(_Section):
    """The planner's figures carry a wrong time for a while."""

    kind: Literal["clock_skew"]
    duration_s: Positive
    skew_s: Finite


class ApiErrorsSection(_Section):
    """Orders of the planner are refused for a while, as by an API server in trouble."""

    kind: Literal["api_errors"]
    duration_s: Positive


class TrafficShiftSection(_Section):
    """Prompts and outputs of requests that arrive for a while are longer or shorter."""

    kind: Literal["traffic_shift"]
    duration_s: Positive
    isl_factor: Positive = 1.0
    osl_factor: Positive = 1.0


FaultSection = Annotated[
    WorkerCrashSection
    | WorkerPartitionSection
    | WorkerDrainSection
    | NodeLossSection
    | SlowWorkerSection
    | LateStartSection
    | ImagePullFailureSection
    | LinkDegradedSection
    | LinkLostSection
    | StaleRouterViewSection
    | MemoryShrinkSection
    | MetricsGapSection
    | StaleMetricsSection
    | ClockSkewSection
    | ApiErrorsSection
    | TrafficShiftSection,
    Field(discriminator="kind"),
]
_CLUSTER: dict[str, Any] = {
    "worker_crash": faults.WorkerCrash,
    "worker_partition": faults.WorkerPartition,
    "worker_drain": faults.WorkerDrain,
    "node_loss": faults.NodeLoss,
    "slow_worker": faults.SlowWorker,
    "late_start": faults.LateStart,
    "image_pull_failure": faults.ImagePullFailure,
    "link_degraded": faults.LinkDegraded,
    "link_lost": faults.LinkLost,
    "stale_router_view": faults.StaleRouterView,
    "memory_shrink": faults.MemoryShrink,
}
_CONTROL: dict[str, Any] = {
    "metrics_gap": control.MetricsGap,
    "stale_metrics": control.StaleMetrics,
    "clock_skew": control.ClockSkew,
    "api_errors": control.ApiErrors,
}
_TRAFFIC: dict[str, Any] = {"traffic_shift": control.TrafficShift}
CLUSTER_FAULTS: tuple[str, ...] = tuple(_CLUSTER)
CONTROL_FAULTS: tuple[str, ...] = tuple(_CONTROL)
TRAFFIC_FAULTS: tuple[str, ...] = tuple(_TRAFFIC)
FAULT_KINDS = (*CLUSTER_FAULTS, *CONTROL_FAULTS, *TRAFFIC_FAULTS)

AnyFault = faults.Fault | control.ControlFault | control.TrafficShift


def to_fault(section: FaultSection) -> AnyFault:
    """The fault that a section describes, without its condition.

    Raises:
        InputError: numbers that fit the section and make no fault.
    """
    values = section.model_dump(exclude={"after"})
    if values.get("role") is not None:
        values["role"] = Role(values["role"])
    if "transfers" in values:
        values["transfers"] = faults.LostTransferPolicy(values["transfers"])
    kinds = _CLUSTER | _CONTROL | _TRAFFIC
    fault: AnyFault = kinds[section.kind](**values)
    return fault
