"""Entries of ``faults`` in a scenario file, one section for each kind."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from contracts import faults
from contracts.plan import Role

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Index = Annotated[int, Field(ge=0)]
RoleName = Literal["agg", "prefill", "decode"]


class _Section(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    at_s: NonNegative


class WorkerCrashSection(_Section):
    """A worker dies."""

    kind: Literal["worker_crash"]
    role: RoleName
    worker_index: Index = 0
    restart: bool = True


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
    factor: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    worker_index: Index = 0


class LateStartSection(_Section):
    """Workers that are ordered for a while start later."""

    kind: Literal["late_start"]
    duration_s: Positive
    role: RoleName | None = None
    factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0
    extra_s: NonNegative = 0.0


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
    lost_ratio: Annotated[float, Field(gt=0, lt=1)]
    worker_index: Index = 0


FaultSection = Annotated[
    WorkerCrashSection
    | NodeLossSection
    | SlowWorkerSection
    | LateStartSection
    | LinkDegradedSection
    | LinkLostSection
    | StaleRouterViewSection
    | MemoryShrinkSection,
    Field(discriminator="kind"),
]
_KINDS: dict[str, Any] = {
    "worker_crash": faults.WorkerCrash,
    "node_loss": faults.NodeLoss,
    "slow_worker": faults.SlowWorker,
    "late_start": faults.LateStart,
    "link_degraded": faults.LinkDegraded,
    "link_lost": faults.LinkLost,
    "stale_router_view": faults.StaleRouterView,
    "memory_shrink": faults.MemoryShrink,
}
FAULT_KINDS: tuple[str, ...] = tuple(_KINDS)


def to_fault(section: FaultSection) -> faults.Fault:
    """The fault that a section describes.

    Raises:
        InputError: numbers that fit the section and make no fault.
    """
    values = section.model_dump()
    if values.get("role") is not None:
        values["role"] = Role(values["role"])
    if "transfers" in values:
        values["transfers"] = faults.LostTransferPolicy(values["transfers"])
    fault: faults.Fault = _KINDS[section.kind](**values)
    return fault
