"""A scenario after validation: frozen values, absolute paths, every default filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from contracts.faults import Fault, LostRequestPolicy
from contracts.plan import Role, RouterPolicy
from simcore.workload import Arrivals, Lengths


class Rung(StrEnum):
    """A step of the ladder; each one changes exactly one thing."""

    SIM = "sim"
    MOCK = "mock"


class TraceFormat(StrEnum):
    """File formats of recorded traffic."""

    MOONCAKE = "mooncake"
    AZURE = "azure"
    SERVEGEN = "servegen"
    CSV = "csv"
    JSONL = "jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploySettings:
    """What to deploy and how.

    Attributes:
        dgdr: absolute path of the DGDR file.
        model_config: absolute path of a Hugging Face ``config.json``; ``None`` when the
            model of the DGDR shall be looked up among the known ones.
        gpu_file: absolute path of a YAML file with the facts of a GPU; ``None`` when the
            gpuSku of the DGDR shall be looked up.
        step_table: absolute path of a CSV of measured steps; ``None`` for the roofline.
        startup_s: time from ordering a worker until it is ready.
    """

    dgdr: Path
    model_config: Path | None
    gpu_file: Path | None
    step_table: Path | None
    startup_s: float
    router: RouterPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticWorkload:
    """Generated traffic; lengths of ``None`` are taken from the DGDR."""

    duration_s: float
    arrivals: Arrivals
    isl: Lengths | None
    osl: Lengths | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceWorkload:
    """Recorded traffic.

    Attributes:
        path: absolute path of the trace.
        limit: requests to take from its beginning, ``None`` for all.
        speed: 2.0 halves every gap between arrivals.
    """

    path: Path
    format: TraceFormat
    limit: int | None
    speed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerSettings:
    """The autoscaler of the run; pools missing in ``initial_replicas`` start as planned."""

    enabled: bool
    interval_s: float
    scale_down_hold_s: float
    initial_replicas: Mapping[Role, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    """What must hold for a pass; ``None`` means not asked.

    Attributes:
        attainment_min: share (0-1) of the offered requests that complete within the
            TTFT and ITL targets of the DGDR.
        completed_ratio_min: share (0-1) of the offered requests that complete.
        recovery_s_max: longest time from a fault until the pool is whole again.
    """

    attainment_min: float | None
    ttft_ms_p95_max: float | None
    itl_ms_p95_max: float | None
    completed_ratio_min: float | None
    recovery_s_max: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MockSettings:
    """The wall-clock rung: ``speed`` 2.0 runs twice as fast as real time."""

    speed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """Allowed relative difference of medians between two rungs; ``None``: not judged."""

    ttft_ratio: float | None
    itl_ratio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One rehearsal.

    Attributes:
        source: absolute path of the scenario file.
        text: the file as it was read, for the run folder.
        rungs: in the order in which they run, without duplicates.
        seeds: each seed is one run of each rung.
    """

    name: str
    description: str
    source: Path
    text: str
    deploy: DeploySettings
    workload: SyntheticWorkload | TraceWorkload
    planner: PlannerSettings
    faults: tuple[Fault, ...]
    on_worker_lost: LostRequestPolicy
    expect: Expectations
    rungs: tuple[Rung, ...]
    mock: MockSettings
    tolerance: Tolerance
    seeds: tuple[int, ...]
