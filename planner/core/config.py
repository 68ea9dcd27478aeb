"""Everything a tick may depend on besides what it sees; frozen, with a digest."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from enum import StrEnum

from contracts.errors import InputError, UnsupportedError
from contracts.plan import Role
from contracts.sla import SlaTarget


class LoadPredictor(StrEnum):
    """How the arrival rate one lead time ahead is guessed."""

    CONSTANT = "constant"
    TREND = "trend"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig:
    """Size of one replica of a role, and the replicas that always stay."""

    role: Role
    gpus_per_replica: int
    min_replicas: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AggFleet:
    """Every worker does prefill and decode."""

    pool: PoolConfig

    @property
    def pools(self) -> tuple[PoolConfig, ...]:
        """All pools."""
        return (self.pool,)


@dataclass(frozen=True, slots=True, kw_only=True)
class DisaggFleet:
    """Prefill and decode workers share one GPU budget."""

    prefill: PoolConfig
    decode: PoolConfig

    @property
    def pools(self) -> tuple[PoolConfig, ...]:
        """All pools, entry pool first."""
        return (self.prefill, self.decode)


Fleet = AggFleet | DisaggFleet


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerConfig:
    """Configuration of the planner.

    Attributes:
        fleet: which roles exist and what a replica of each costs.
        sla: targets for TTFT and ITL.
        interval_s: time between two ticks.
        startup_s: time from ordering a worker until it is ready.
        gpu_budget: GPUs that all pools together may use, ``None`` for no limit.
        utilisation_target_ratio: share of the measured capacity that is planned for.
        scale_down_hold_s: how long a lower demand must last before workers go.
        step_replicas_max: largest change of one pool in one tick.
        stale_after_s: a window longer than this says nothing about now.
        backlog_drain_s: time in which an excessive queue shall be worked off.
        load_predictor: last value, or last value plus trend.
        trend_history_s: how far back the trend looks.
        growth_ratio_max: the forecast is at most this multiple of the last rate.
        isl_expected: prompt tokens assumed until some were seen, ``None`` if unknown.
        osl_expected: output tokens assumed until some were seen, ``None`` if unknown.

    Raises:
        InputError: a value is out of range, or the floors do not fit into the budget.
        UnsupportedError: the SLA asks for an end-to-end target.
    """

    fleet: Fleet
    sla: SlaTarget
    interval_s: float
    startup_s: float
    gpu_budget: int | None
    utilisation_target_ratio: float = 0.8
    scale_down_hold_s: float = 300.0
    step_replicas_max: int = 8
    stale_after_s: float = 540.0
    backlog_drain_s: float = 300.0
    load_predictor: LoadPredictor = LoadPredictor.TREND
    trend_history_s: float = 900.0
    growth_ratio_max: float = 1.5
    isl_expected: float | None = None
    osl_expected: float | None = None

    def __post_init__(self) -> None:
        if self.sla.e2e_ms is not None:
            raise UnsupportedError("the planner scales for TTFT and ITL, not for an e2e target")
        for name in ("interval_s", "stale_after_s", "backlog_drain_s", "trend_history_s"):
            _require(name, getattr(self, name), low=0.0, open_low=True)
        for name in ("startup_s", "scale_down_hold_s"):
            _require(name, getattr(self, name), low=0.0)
        for name in ("isl_expected", "osl_expected"):
            if getattr(self, name) is not None:
                _require(name, getattr(self, name), low=1.0)
        _require("sla.ttft_ms", self.sla.ttft_ms, low=0.0, open_low=True)
        _require("sla.itl_ms", self.sla.itl_ms, low=0.0, open_low=True)
        _require("utilisation_target_ratio", self.utilisation_target_ratio, low=0.05, high=1.0)
        _require("growth_ratio_max", self.growth_ratio_max, low=1.0)
        _require("step_replicas_max", self.step_replicas_max, low=1)
        self._check_pools()

    def _check_pools(self) -> None:
        roles = tuple(pool.role for pool in self.pools)
        wanted = (Role.AGG,) if isinstance(self.fleet, AggFleet) else (Role.PREFILL, Role.DECODE)
        if roles != wanted:
            raise InputError(
                "pools do not fit the kind of fleet",
                path="fleet",
                value=", ".join(roles),
                allowed=", ".join(wanted),
            )
        for pool in self.pools:
            _require(f"{pool.role.value}.gpus_per_replica", pool.gpus_per_replica, low=1)
            _require(f"{pool.role.value}.min_replicas", pool.min_replicas, low=1)
        floor_gpus = sum(pool.min_replicas * pool.gpus_per_replica for pool in self.pools)
        if self.gpu_budget is not None and floor_gpus > self.gpu_budget:
            raise InputError(
                "the smallest allowed deployment exceeds the GPU budget",
                path="gpu_budget",
                value=str(self.gpu_budget),
                allowed=f"at least {floor_gpus}",
            )

    @property
    def pools(self) -> tuple[PoolConfig, ...]:
        """All pools, entry pool first."""
        return self.fleet.pools

    @property
    def lead_s(self) -> float:
        """How far ahead an order must look: start-up plus the interval until the next tick."""
        return self.startup_s + self.interval_s

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON form; equal configurations have equal digests."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def _require(
    name: str, value: float, *, low: float, high: float = math.inf, open_low: bool = False
) -> None:
    above = value > low if open_low else value >= low
    if not (math.isfinite(value) and above and value <= high):
        allowed = f"{'above' if open_low else 'at least'} {low:g}"
        if math.isfinite(high):
            allowed += f" and at most {high:g}"
        raise InputError("is out of range", path=name, value=f"{value:g}", allowed=allowed)
