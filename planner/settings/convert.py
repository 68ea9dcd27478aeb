"""From the settings of a file to the frozen configuration of the pure core."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from contracts.errors import InputError
from contracts.plan import Role
from contracts.sla import SlaTarget
from planner.core.config import (
    ATTAINMENT_TARGET,
    KEEP_PRICE_RATIO,
    AggFleet,
    DisaggFleet,
    Fleet,
    LoadPredictor,
    PlannerConfig,
    PolicyName,
    PoolConfig,
    PredictorSettings,
    SingleFleet,
    Thresholds,
)
from planner.settings.model import PlannerSettings
from planner.settings.warmup import warmup_rates

# Of the policy ``sla``; tuned on the benchmark's training workloads.
_SLA_HOLD_S = 300.0
_SLA_DRAIN_S = 60.0
_SLA_HISTORY_S = 900.0
_HEADROOM_RATIO = 0.2

# Forecasts are at most this multiple of the last rate; upstream has no such bound.
_GROWTH_RATIOS = {PolicyName.SLA: 3.0, PolicyName.HEADROOM: 1.5}
_GROWTH_RATIO_UPSTREAM = 10.0
_HEADROOM = PolicyName.HEADROOM

# Upstream's "easy" targets: share of the context length and share of KV tokens.
_PRESETS = {
    "throughput": (1.0, 0.1, 1.0, 0.6),
    "latency": (0.1, 0.0, 0.4, 0.1),
}


def to_config(
    settings: PlannerSettings,
    *,
    interval_s: float | None = None,
    startup_s: float | None = None,
    scale_down_hold_s: float | None = None,
    isl_expected: float | None = None,
    osl_expected: float | None = None,
) -> PlannerConfig:
    """The frozen configuration of the pure core, with every default filled in.

    Args:
        settings: the checked file.
        interval_s: replaces the file's interval, for callers who know better.
        startup_s: replaces the file's start-up time; defaults that derive follow.
        scale_down_hold_s: replaces the file's hold.
        isl_expected: used when the file does not say.
        osl_expected: used when the file does not say.

    Raises:
        InputError: the GPUs of a replica are not given, floors exceed the budget, or the
            warm-up trace cannot be read.
    """
    policy = policy_of(settings)
    interval_s = _or(interval_s, tick_interval_s(settings))
    startup_s = _or(startup_s, settings.startup_s)
    times = _times(settings, policy, startup_s + interval_s, interval_s)
    headroom = _or(settings.headroom_ratio, _HEADROOM_RATIO if policy is _HEADROOM else 0.0)
    growth = _GROWTH_RATIOS.get(policy, _GROWTH_RATIO_UPSTREAM)
    return PlannerConfig(
        fleet=_fleet(settings),
        sla=SlaTarget(ttft_ms=settings.ttft_ms, itl_ms=settings.itl_ms),
        interval_s=interval_s,
        startup_s=startup_s,
        gpu_budget=None if settings.max_gpu_budget == -1 else settings.max_gpu_budget,
        gpu_floor=max(0, settings.min_gpu_budget),
        power_limit_w=settings.total_gpu_power_limit if settings.enable_power_awareness else None,
        policy=policy,
        utilisation_target_ratio=1.0 - headroom,
        attainment_target=_or(settings.attainment_target, ATTAINMENT_TARGET),
        miss_price=settings.miss_price,
        keep_price_ratio=_or(settings.keep_price_ratio, KEEP_PRICE_RATIO),
        scale_down_hold_s=_or(scale_down_hold_s, times.hold_s),
        direction_changes_max=settings.direction_changes_per_hour_max,
        step_replicas_max=settings.max_throughput_scaling_replicas,
        stale_after_s=times.stale_s,
        backlog_drain_s=times.drain_s,
        start_patience=settings.start_patience,
        load_predictor=_predictor(settings, policy),
        predictor=_predictor_settings(settings, interval_s),
        trend_history_s=times.history_s,
        growth_ratio_max=_or(settings.growth_ratio_max, growth),
        use_forecast=settings.enable_throughput_scaling,
        use_load=settings.enable_load_scaling is not False,
        slow_interval_s=times.slow_s,
        down_sensitivity_ratio=settings.load_scaling_down_sensitivity / 100.0,
        thresholds=_thresholds(settings),
        isl_expected=isl_expected if settings.expected_isl is None else settings.expected_isl,
        osl_expected=osl_expected if settings.expected_osl is None else settings.expected_osl,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Times:
    """Seconds that follow from lead time and interval where the file does not say."""

    hold_s: float
    stale_s: float
    drain_s: float
    history_s: float
    slow_s: float | None


def _times(
    settings: PlannerSettings, policy: PolicyName, lead_s: float, interval_s: float
) -> _Times:
    ours = policy is PolicyName.SLA
    slow_s = max(settings.throughput_adjustment_interval_seconds, interval_s)
    history_s = max(lead_s, 6 * interval_s)
    if ours:
        history_s = max(history_s, _SLA_HISTORY_S)
    if policy is PolicyName.THROUGHPUT:
        # The predictor sees one point for each slow interval.
        history_s = max(history_s, settings.prophet_window_size * slow_s)
    return _Times(
        hold_s=_or(settings.scale_down_hold_s, _SLA_HOLD_S if ours else lead_s),
        stale_s=_or(settings.stale_after_s, 3 * interval_s),
        drain_s=_or(settings.backlog_drain_s, max(lead_s, _SLA_DRAIN_S if ours else 0.0)),
        history_s=_or(settings.trend_history_s, history_s),
        slow_s=slow_s if policy is PolicyName.THROUGHPUT else None,
    )


def policy_of(settings: PlannerSettings) -> PolicyName:
    """The policy that is named, or else the one of the optimization target."""
    if settings.policy is not None:
        return PolicyName(settings.policy)
    return PolicyName.SLA if settings.optimization_target == "sla" else PolicyName.REACTIVE


def tick_interval_s(settings: PlannerSettings) -> float:
    """Seconds between two ticks: the fast loop's when it runs, else the slow loop's."""
    fast = settings.enable_load_scaling or settings.optimization_target != "sla"
    if fast or policy_of(settings) is PolicyName.REACTIVE:
        return settings.load_adjustment_interval_seconds
    return settings.throughput_adjustment_interval_seconds


def _predictor(settings: PlannerSettings, policy: PolicyName) -> LoadPredictor:
    if settings.load_predictor is not None:
        return LoadPredictor(settings.load_predictor)
    if policy is PolicyName.SLA:
        # What was set for one filter, and logarithms, are for one filter.
        own_count = settings.kalman_min_points != PredictorSettings().kalman_min_points
        single = own_count or settings.load_predictor_log1p or any(_kalman_fields(settings))
        return LoadPredictor.KALMAN if single else LoadPredictor.BLEND
    return LoadPredictor.ARIMA if policy is PolicyName.THROUGHPUT else LoadPredictor.TREND


def _kalman_fields(settings: PlannerSettings) -> list[bool]:
    given = settings.kalman_q_level, settings.kalman_q_trend, settings.kalman_r
    return [value is not None for value in given]


def _predictor_settings(settings: PlannerSettings, interval_s: float) -> PredictorSettings:
    own, trace = PredictorSettings(), settings.load_predictor_warmup_trace
    counts = any(_kalman_fields(settings))
    q_level, q_trend, noise = own.kalman_q_level, own.kalman_q_trend, own.kalman_r
    if counts:
        # Upstream's state is requests per interval and moves one interval at a time.
        q_level = _or(settings.kalman_q_level, 1.0) / interval_s**3
        q_trend = _or(settings.kalman_q_trend, 0.1) / interval_s**5
        noise = _or(settings.kalman_r, 10.0) / interval_s**2
    return PredictorSettings(
        log1p=settings.load_predictor_log1p,
        window_points=settings.prophet_window_size,
        kalman_q_level=q_level,
        kalman_q_trend=q_trend,
        kalman_r=noise,
        kalman_absolute=counts,
        kalman_min_points=settings.kalman_min_points,
        season_s=settings.season_seconds,
        warmup=() if trace is None else warmup_rates(Path(trace), interval_s),
    )


def _thresholds(settings: PlannerSettings) -> Thresholds:
    own = Thresholds()
    if settings.optimization_target == "load":
        return Thresholds(
            prefill_up=_or(settings.prefill_scale_up_queue_tokens, own.prefill_up),
            prefill_down=_or(settings.prefill_scale_down_queue_tokens, own.prefill_down),
            decode_up=_or(settings.decode_scale_up_kv_rate, 100.0 * own.decode_up) / 100.0,
            decode_down=_or(settings.decode_scale_down_kv_rate, 100.0 * own.decode_down) / 100.0,
        )
    preset = _PRESETS.get(settings.optimization_target, _PRESETS["throughput"])
    return Thresholds(
        prefill_up=preset[0] * settings.context_length,
        prefill_down=preset[1] * settings.context_length,
        decode_up=preset[2],
        decode_down=preset[3],
    )


def _fleet(settings: PlannerSettings) -> Fleet:
    if settings.mode == "agg":
        return AggFleet(pool=_pool(settings, Role.AGG))
    if settings.mode == "disagg":
        return DisaggFleet(
            prefill=_pool(settings, Role.PREFILL), decode=_pool(settings, Role.DECODE)
        )
    return SingleFleet(
        pool=_pool(settings, Role.PREFILL if settings.mode == "prefill" else Role.DECODE)
    )


def _pool(settings: PlannerSettings, role: Role) -> PoolConfig:
    name = "prefill" if role is Role.PREFILL else "decode"
    field = f"{name}_engine_num_gpu"
    gpus: int | None = getattr(settings, field)
    if gpus is None:
        raise InputError(f"is required for the {role.value} pool", path=field)
    own_floor: int | None = getattr(settings, f"{name}_min_endpoint")
    if role is Role.AGG and own_floor is not None:
        raise InputError("is for prefill and decode pools", path=f"{name}_min_endpoint")
    watts = settings.gpu_power_watts if settings.enable_power_awareness else None
    return PoolConfig(
        role=role,
        gpus_per_replica=gpus,
        min_replicas=settings.min_endpoint if own_floor is None else own_floor,
        max_replicas=settings.max_endpoint,
        watts_per_replica=_or(watts, 0.0) * gpus,
    )


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
