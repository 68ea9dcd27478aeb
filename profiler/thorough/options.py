"""How to search, and what to measure with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from contracts.errors import InputError
from contracts.hardware import GpuSpec
from contracts.plan import RouterPolicy
from contracts.ports import TimerFactory
from dgdr import Dgdr
from profiler.thorough.budget import Caps
from simcore.perf import roofline


class DeployerKind(StrEnum):
    """Where candidates are deployed."""

    SIM = "sim"
    MOCK = "mock"
    KUBERNETES = "kubernetes"


class MeasurerKind(StrEnum):
    """What puts load on a candidate; ``auto`` is AIPerf where it is installed."""

    AUTO = "auto"
    AIPERF = "aiperf"
    BUILTIN = "builtin"


class CurveMode(StrEnum):
    """When curves are measured; ``auto`` is when a planner or the mocker needs them."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The request in a cluster, from DGDR_NAME, DGDR_NAMESPACE and DGDR_UID.

    Attributes:
        uid: empty when nothing shall own the temporary deployments.
    """

    name: str
    namespace: str
    uid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThoroughOptions:
    """Options of a measured search.

    Attributes:
        speed: seconds of a mocked engine in a second of wall time; real engines have 1.
        seed: chooses the prompts.
        repeats: each burst is measured so often, medians count.
        startup_s: time until a worker is ready, for simulated candidates and for the plan.
        step_times: the choice behind ``timer_for``, handed to mockers.
        deployment_timeout_s: until a candidate must be ready.
        poll_s: between two looks at a deployment.
        prefill_granularity, decode_granularity: steps of the curves.
        context_tokens: longest context on the curves; ``None`` follows model and workload.
        kubeconfig: ``None`` is the pod's service account, else the default file.
        tokenizer: for AIPerf, a name or a local folder; ``None`` is the model's name.
        plots: write the PNG files.
    """

    deployer: DeployerKind = DeployerKind.SIM
    measurer: MeasurerKind = MeasurerKind.AUTO
    speed: float = 1.0
    seed: int = 0
    repeats: int = 1
    startup_s: float = 30.0
    router: RouterPolicy = RouterPolicy.LEAST_LOADED
    model_config: Mapping[str, Any] | None = None
    gpu: GpuSpec | None = None
    timer_for: TimerFactory = roofline
    step_times: str = "roofline"
    caps: Caps = field(default_factory=Caps)
    curves: CurveMode = CurveMode.AUTO
    deployment_timeout_s: float = 3600.0
    poll_s: float = 20.0
    prefill_granularity: int = 16
    decode_granularity: int = 6
    context_tokens: int | None = None
    kubeconfig: str | None = None
    identity: Identity | None = None
    tokenizer: str | None = None
    plots: bool = True

    def __post_init__(self) -> None:
        for name in (
            "speed", "repeats", "deployment_timeout_s", "poll_s", "prefill_granularity",
            "decode_granularity",
        ):  # fmt: skip
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise InputError("is out of range", path=name, value=str(value), allowed="above 0")
        for name, cap in (("hours", self.caps.hours), ("gpu_hours", self.caps.gpu_hours)):
            if cap is not None and not cap > 0:
                raise InputError(
                    "is out of range", path=f"caps.{name}", value=str(cap), allowed="above 0"
                )
        if self.deployer is DeployerKind.SIM and self.measurer is not MeasurerKind.AUTO:
            raise InputError(
                "does not fit the deployer sim, which answers no HTTP requests",
                path="measurer", value=self.measurer.value, allowed="auto",
            )  # fmt: skip

    def digest(self, dgdr: Dgdr) -> str:
        """Of everything that decides what a measurement shows; caps and patience do not."""
        content = {
            "spec": dgdr.spec.model_dump(mode="json"),
            "name": dgdr.metadata.name,
            "deployer": self.deployer.value,
            "measurer": self.measurer.value,
            "speed": self.speed,
            "seed": self.seed,
            "repeats": self.repeats,
            "step_times": self.step_times,
            "model_config": dict(self.model_config or {}),
            "gpu": None if self.gpu is None else asdict(self.gpu),
        }
        text = json.dumps(content, sort_keys=True, default=str)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
