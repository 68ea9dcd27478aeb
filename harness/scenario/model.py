"""A scenario after validation: frozen values, absolute paths, every default filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from contracts.faults import Fault, LostRequestPolicy
from contracts.plan import Role, RouterPolicy
from harness.scenario.condition import Condition
from harness.scenario.control_faults import ControlFault, TrafficShift
from harness.scenario.expectations import Expectations, Tolerance
from simcore.workload import Arrivals, Conversation, Lengths, TrafficMix


class Rung(StrEnum):
    """A step of the ladder; each one changes exactly one thing."""

    SIM = "sim"
    VMOCK = "vmock"
    MOCK = "mock"
    KUBE = "kube"


class TraceFormat(StrEnum):
    """File formats of recorded traffic."""

    MOONCAKE = "mooncake"
    AZURE = "azure"
    BURSTGPT = "burstgpt"
    SERVEGEN = "servegen"
    CSV = "csv"
    JSONL = "jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class AggTopology:
    """So many workers that do prefill and decode."""

    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DisaggTopology:
    """So many prefill and decode workers, joined by a link of ``contracts.plan.KV_LINKS``."""

    prefill: int
    decode: int
    link: str


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
        dgdr_set: values that replace fields of the DGDR, by dotted path.
        topology: replaces what the profiler picks; ``None`` runs what it picks.
    """

    dgdr: Path
    model_config: Path | None
    gpu_file: Path | None
    step_table: Path | None
    startup_s: float
    router: RouterPolicy
    dgdr_set: Mapping[str, Any] = field(default_factory=dict)
    topology: AggTopology | DisaggTopology | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticWorkload:
    """Generated traffic; lengths of ``None`` are taken from the DGDR."""

    duration_s: float
    arrivals: Arrivals
    isl: Lengths | None
    osl: Lengths | None
    mix: TrafficMix = field(default_factory=TrafficMix)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionsWorkload:
    """Generated conversations; a further turn waits for the answer before it.

    Attributes:
        conversation: its lengths; where the file has none, those of the DGDR.
        isl_from_dgdr: the first prompt has the length that the DGDR declares.
        osl_from_dgdr: likewise the outputs.
    """

    duration_s: float
    arrivals: Arrivals
    conversation: Conversation
    isl_from_dgdr: bool
    osl_from_dgdr: bool
    mix: TrafficMix = field(default_factory=TrafficMix)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoopWorkload:
    """A fixed number of requests in flight; lengths of ``None`` are taken from the DGDR."""

    concurrency: int
    duration_s: float
    isl: Lengths | None
    osl: Lengths | None
    different_requests: int


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


ScenarioWorkload = SyntheticWorkload | SessionsWorkload | ClosedLoopWorkload | TraceWorkload


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerSettings:
    """The autoscaler of the run; pools missing in ``initial_replicas`` start as planned.

    Attributes:
        overrides: replace settings of the generated planner configuration, by name.
    """

    enabled: bool
    interval_s: float
    scale_down_hold_s: float
    initial_replicas: Mapping[Role, int]
    overrides: Mapping[str, Any] = field(default_factory=dict)


class LoadDriver(StrEnum):
    """What sends the requests of the wall-clock rung."""

    BUILTIN = "builtin"
    AIPERF = "aiperf"


@dataclass(frozen=True, slots=True, kw_only=True)
class MockSettings:
    """The wall-clock rung: ``speed`` 2.0 runs twice as fast as real time."""

    speed: float
    driver: LoadDriver = LoadDriver.BUILTIN


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeSettings:
    """The rung in a Kubernetes cluster.

    Attributes:
        speed: 2.0 runs the pods and the load twice as fast as real time.
        kubeconfig: absolute path; ``None`` starts the embedded cluster.
    """

    speed: float = 1.0
    kubeconfig: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A fault that strikes once a condition holds, at ``fault.at_s`` or later."""

    fault: Fault
    after: Condition


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One rehearsal.

    Attributes:
        source: absolute path of the scenario file.
        text: the file as it was read, for the run folder.
        rungs: in the order in which they run, without duplicates.
        seeds: each seed is one run of each rung.
        faults: those of the cluster that strike at a time.
        triggers: those of the cluster that strike on a condition.
        control_faults: those between planner and cluster.
        shifts: changes of the traffic.
        document: the file with everything included and one cell of its matrix.
    """

    name: str
    description: str
    source: Path
    text: str
    deploy: DeploySettings
    workload: ScenarioWorkload
    planner: PlannerSettings
    faults: tuple[Fault, ...]
    on_worker_lost: LostRequestPolicy
    expect: Expectations
    rungs: tuple[Rung, ...]
    mock: MockSettings
    tolerance: Tolerance
    seeds: tuple[int, ...]
    kube: KubeSettings = field(default_factory=KubeSettings)
    triggers: tuple[Trigger, ...] = ()
    control_faults: tuple[ControlFault, ...] = ()
    shifts: tuple[TrafficShift, ...] = ()
    document: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cluster_faults(self) -> tuple[Fault, ...]:
        """Faults that the cluster suffers, timed ones first."""
        return (*self.faults, *(trigger.fault for trigger in self.triggers))

    @property
    def fault_kinds(self) -> frozenset[str]:
        """Kinds of all faults."""
        every = (*self.cluster_faults, *self.control_faults, *self.shifts)
        return frozenset(fault.kind for fault in every)
