"""Everything a tick may depend on besides what it sees; frozen, with a digest."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from contracts.errors import InputError, UnsupportedError
from contracts.sla import SlaTarget
from planner.core.checks import require
from planner.core.fleet import AggFleet, DisaggFleet, Fleet, PoolConfig, SingleFleet, check_fleet

__all__ = [
    "AggFleet",
    "DisaggFleet",
    "Fleet",
    "LoadPredictor",
    "PlannerConfig",
    "PolicyName",
    "PoolConfig",
    "PredictorSettings",
    "SchedulePoint",
    "SingleFleet",
    "Thresholds",
]

# Version of the meaning of this configuration; part of the digest.
CONFIG_VERSION = 4

# Tuned on the benchmark's training workloads.
ATTAINMENT_TARGET = 0.99
MISS_PRICE = 24.0
KEEP_PRICE_RATIO = 2.0
_PRICE_EXPONENT = 0.5


class LoadPredictor(StrEnum):
    """How the arrival rate one lead time ahead is guessed."""

    CONSTANT = "constant"
    MOVING_AVERAGE = "moving_average"
    TREND = "trend"
    KALMAN = "kalman"
    BLEND = "blend"
    ARIMA = "arima"
    PROPHET = "prophet"


class PolicyName(StrEnum):
    """The policies that come with the planner."""

    SLA = "sla"
    HEADROOM = "headroom"
    THROUGHPUT = "throughput"
    REACTIVE = "reactive"
    SCHEDULE = "schedule"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictorSettings:
    """Knobs of the predictors; each reads those that concern it.

    Attributes:
        log1p: forecast log(1 + rate) and transform back.
        window_points: windows that ``prophet``, ``arima`` and ``moving_average`` look at.
        kalman_q_level: variance that the level gains a second, relative to its square.
        kalman_q_trend: variance that the slope gains a second, relative to the level's
            square.
        kalman_r: observation variance in multiples of Poisson noise.
        kalman_absolute: the three above are absolute: variances of the level (1/s**2) and
            of the slope (1/s**4) for each second, and of one observation (1/s**2).
        kalman_min_points: fewer windows than these give the last value.
        season_s: length of one season for ``prophet``; 0 has none.
        warmup: rates known before the first window, oldest first, one per interval.
    """

    log1p: bool = False
    window_points: int = 50
    kalman_q_level: float = 2e-6
    kalman_q_trend: float = 1e-9
    kalman_r: float = 1.0
    kalman_absolute: bool = False
    kalman_min_points: int = 5
    season_s: float = 0.0
    warmup: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Of the policy ``reactive``, per replica that would serve.

    Attributes:
        prefill_up: queued prompt tokens above (or at) which one replica more is ordered.
        prefill_down: queued prompt tokens below (or at) which one may go.
        decode_up: share of KV tokens, running and waiting, above which one more is ordered.
        decode_down: share below which one may go.
    """

    prefill_up: float = 8192.0
    prefill_down: float = 819.0
    decode_up: float = 1.0
    decode_down: float = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulePoint:
    """From ``at_s`` on, ``replicas`` of each pool, in the order of the fleet's pools."""

    at_s: float
    replicas: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerConfig:
    """Configuration of the planner.

    Attributes:
        fleet: which roles exist and what a replica of each costs.
        sla: targets for TTFT and ITL.
        interval_s: time between two ticks.
        startup_s: time from ordering a worker until it is ready.
        gpu_budget: GPUs that all pools together may use, ``None`` for no limit.
        gpu_floor: GPUs that all pools together shall at least use, as far as bounds allow.
        power_limit_w: watts that all pools together may draw, ``None`` for no limit.
        policy: who proposes.
        utilisation_target_ratio: share of the capacity that is planned for; above 1
            plans for more than the capacity that keeps the targets.
        attainment_target: share of requests that shall be in target (``sla``, 0.5-0.9999).
        miss_price: what a miss costs, in requests that could be served instead (``sla``);
            ``None`` follows from ``attainment_target``.
        keep_price_ratio: workers are kept as if a miss cost this many times more (``sla``).
        scale_down_hold_s: how long a lower demand must last before workers go.
        direction_changes_max: most changes of direction of one pool in an hour (``sla``).
        step_replicas_max: largest change of one pool in one tick.
        stale_after_s: a window longer than this says nothing about now.
        backlog_drain_s: time in which an excessive queue shall be worked off.
        start_patience: a worker that takes this many start-up times (and at least a
            minute) is no longer counted on.
        load_predictor: how the rate is forecast.
        predictor: knobs of the predictors.
        trend_history_s: how far back the trend looks.
        growth_ratio_max: the forecast is at most this multiple of the last rate.
        use_forecast: look ahead; without it the present rate counts.
        use_load: count queues and running requests besides the rate.
        slow_interval_s: between two decisions of ``throughput``'s slow loop; ``None``
            makes every tick one.
        down_sensitivity_ratio: share of the ITL target that may be reached after a
            removal (``throughput`` with ``use_load``).
        thresholds: of ``reactive``.
        schedule: of ``schedule``, in order of time.
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
    gpu_floor: int = 0
    power_limit_w: float | None = None
    policy: PolicyName = PolicyName.SLA
    utilisation_target_ratio: float = 1.0
    attainment_target: float = ATTAINMENT_TARGET
    miss_price: float | None = None
    keep_price_ratio: float = KEEP_PRICE_RATIO
    scale_down_hold_s: float = 300.0
    direction_changes_max: int = 6
    step_replicas_max: int = 8
    stale_after_s: float = 540.0
    backlog_drain_s: float = 300.0
    start_patience: float = 3.0
    load_predictor: LoadPredictor = LoadPredictor.TREND
    predictor: PredictorSettings = field(default_factory=PredictorSettings)
    trend_history_s: float = 900.0
    growth_ratio_max: float = 1.5
    use_forecast: bool = True
    use_load: bool = True
    slow_interval_s: float | None = None
    down_sensitivity_ratio: float = 0.8
    thresholds: Thresholds = field(default_factory=Thresholds)
    schedule: tuple[SchedulePoint, ...] = ()
    isl_expected: float | None = None
    osl_expected: float | None = None
    version: int = CONFIG_VERSION

    def __post_init__(self) -> None:
        if self.sla.e2e_ms is not None:
            raise UnsupportedError("the planner scales for TTFT and ITL, not for an e2e target")
        for name in ("interval_s", "stale_after_s", "backlog_drain_s", "trend_history_s"):
            require(name, getattr(self, name), low=0.0, open_low=True)
        for name in ("startup_s", "scale_down_hold_s", "gpu_floor"):
            require(name, getattr(self, name), low=0.0)
        for name in ("isl_expected", "osl_expected"):
            if getattr(self, name) is not None:
                require(name, getattr(self, name), low=1.0)
        for name in ("power_limit_w", "slow_interval_s"):
            if getattr(self, name) is not None:
                require(name, getattr(self, name), low=0.0, open_low=True)
        require("sla.ttft_ms", self.sla.ttft_ms, low=0.0, open_low=True)
        require("sla.itl_ms", self.sla.itl_ms, low=0.0, open_low=True)
        require("utilisation_target_ratio", self.utilisation_target_ratio, low=0.05, high=4.0)
        require("attainment_target", self.attainment_target, low=0.5, high=0.9999)
        if self.miss_price is not None:
            require("miss_price", self.miss_price, low=1.0, high=1e6)
        require("keep_price_ratio", self.keep_price_ratio, low=1.0, high=1e3)
        require("growth_ratio_max", self.growth_ratio_max, low=1.0)
        require("start_patience", self.start_patience, low=1.0)
        require("step_replicas_max", self.step_replicas_max, low=1)
        require("direction_changes_max", self.direction_changes_max, low=2)
        check_fleet(self.fleet, self.gpu_budget, self.gpu_floor)
        self._check_policy()

    def _check_policy(self) -> None:
        limits = self.thresholds
        for name in ("prefill", "decode"):
            down, up = getattr(limits, f"{name}_down"), getattr(limits, f"{name}_up")
            require(f"thresholds.{name}_down", down, low=0.0)
            if not down < up:
                raise InputError(
                    "must be below the threshold that scales up",
                    path=f"thresholds.{name}_down",
                    value=f"{down:g}",
                    allowed=f"below {up:g}",
                )
        if self.policy is PolicyName.SCHEDULE and not self.schedule:
            raise InputError("is required for the policy schedule", path="schedule")
        for index, point in enumerate(self.schedule):
            if len(point.replicas) != len(self.pools) or min(point.replicas) < 0:
                raise InputError(
                    "needs a number of replicas for each pool",
                    path=f"schedule[{index}].replicas",
                    value=str(point.replicas),
                    allowed=f"{len(self.pools)} numbers of at least 0",
                )
        if not (self.use_forecast or self.use_load):
            raise InputError("at least one of use_forecast and use_load is needed", path="use_load")

    @property
    def pools(self) -> tuple[PoolConfig, ...]:
        """All pools, entry pool first."""
        return self.fleet.pools

    @property
    def price(self) -> float:
        """What a miss costs: the one that is given, or that which suits the attainment.

        At the newsvendor's optimum the last replica is wanted for a share 1/price of the time,
        so the price falls with the share of misses that is allowed: ``MISS_PRICE`` at one in a
        hundred, and less than in proportion, since jumps and long requests miss at any price
        and use up part of what is allowed. Both numbers are tuned on the training workloads.
        """
        if self.miss_price is not None:
            return self.miss_price
        allowed = (1.0 - self.attainment_target) / (1.0 - ATTAINMENT_TARGET)
        return max(1.0, MISS_PRICE * math.pow(allowed, -_PRICE_EXPONENT))

    @property
    def lead_s(self) -> float:
        """How far ahead an order must look: start-up plus the interval until the next tick."""
        return self.startup_s + self.interval_s

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON form; equal configurations have equal digests."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
