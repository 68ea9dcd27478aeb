"""What one rung with one seed leaves behind, besides the records themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from contracts.decision import Decision
from contracts.plan import DeploymentPlan
from contracts.records import RunRecord

_STRICT = {"extra": "forbid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadCheck:
    """How well the load generator kept to its schedule, and what failed at the client.

    Attributes:
        dispatch_delay_ms_p99: actual minus scheduled send time, wall-clock milliseconds.
        limit_ms: the delay beyond which the measurement is not trusted.
        saturated: the limit was exceeded; latencies then say more about the client.
        failures: requests by reason of failure, as the client saw it.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    dispatch_delay_ms_p99: float | None
    limit_ms: float
    saturated: bool
    failures: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RungRun:
    """One rung with one seed.

    Attributes:
        load: ``None`` where no load generator was involved.
        facts: what else there is to know, for the report, by label.
    """

    rung: str
    seed: int
    record: RunRecord
    decisions: tuple[Decision, ...] = ()
    load: LoadCheck | None = None
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Name of this run inside the folder's JSON files."""
        return f"{self.rung}/{self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSetup:
    """What was run, for people and for the report.

    Attributes:
        plan: the deployment that the rungs ran.
        facts: further lines for the report, by label, in order of appearance.
        ttft_ratio_tolerance: allowed relative difference of the median between rungs.
        itl_ratio_tolerance: likewise for ITL; ``None`` means not judged.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    plan: DeploymentPlan
    facts: dict[str, str] = field(default_factory=dict)
    ttft_ratio_tolerance: float | None = None
    itl_ratio_tolerance: float | None = None
