"""``planner.yaml`` or ``planner_config.json`` as a checked object."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_MaybePositiveS = Field(default=None, gt=0, allow_inf_nan=False)


class PlannerSettings(BaseModel):
    """Names up to ``total_gpu_power_limit`` are those of Dynamo's PlannerConfig.

    The only default that differs from Dynamo's is ``optimization_target: sla``. Names after
    it are our own.

    Attributes:
        enabled: false means that no planner runs.
        mode: which pools are scaled.
        optimization_target: ``sla`` is our policy unless ``policy`` says otherwise;
            ``throughput``, ``latency`` and ``load`` are upstream's thresholds.
        model_name: accepted for compatibility; the endpoint serves one model.
        pre_deployment_sweeping_mode: read by the profiler, no influence on decisions.
        enable_throughput_scaling: look ahead; false plans for the present rate.
        enable_load_scaling: count queues and running requests, and tick at
            ``load_adjustment_interval_seconds``; not given counts them at the throughput
            interval.
        throughput_adjustment_interval_seconds: between two ticks, or two slow decisions.
        load_adjustment_interval_seconds: between two ticks with load scaling.
        max_gpu_budget: GPUs of all pools together, -1 for no limit.
        min_gpu_budget: GPUs that are kept in use, -1 for none.
        min_endpoint: floor of each pool; 0 scales to zero.
        prefill_min_endpoint: floor of the prefill pool, instead of ``min_endpoint``.
        decode_min_endpoint: floor of the decode pool, instead of ``min_endpoint``.
        max_throughput_scaling_replicas: largest change of one pool in one tick.
        load_predictor_warmup_trace: Mooncake JSON lines whose rates precede the first.
        kalman_q_level: with the other two in requests per interval, as upstream has them;
            none of them given uses our own, relative ones.
        load_scaling_down_sensitivity: per cent of the target that may be used after a
            removal (policy ``throughput``).
        prefill_scale_up_queue_tokens: target ``load``; queued prompt tokens per replica.
        decode_scale_up_kv_rate: target ``load``; per cent of KV tokens.
        enable_power_awareness: keep all pools below ``total_gpu_power_limit`` watts;
            needs ``gpu_power_watts``.
        policy: who proposes; default follows from ``optimization_target``.
        max_endpoint: ceiling of each pool.
        gpu_power_watts: power cap of one GPU.
        context_length: tokens, the measure of a prefill queue for upstream's targets.
        startup_s: time from ordering a worker until it is ready, until starts are seen.
        headroom_ratio: share of the capacity that is left free on top of what the policy
            leaves free itself; negative plans beyond the capacity.
        attainment_target: share of requests that shall be within their targets; default 0.99.
        miss_price: what a miss costs, in requests that could be served instead; default
            follows from ``attainment_target``.
        keep_price_ratio: workers are kept as if a miss cost this many times more.
        direction_changes_per_hour_max: of one pool.
        scale_down_hold_s: default is the lead time, at least five minutes for ``sla``.
        stale_after_s: default is three intervals.
        backlog_drain_s: default is the lead time, at least a minute for ``sla``.
        start_patience: start-up times after which a worker is no longer counted on.
        trend_history_s: default is the lead time, at least six intervals, and 15 minutes
            for ``sla``.
        live_dashboard_port: of the live page; 0, the default here, serves none.
        season_seconds: length of a season for ``prophet``; 0 has none.
        expected_isl: prompt tokens assumed until traffic shows some.
        expected_osl: output tokens assumed until traffic shows some.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    enabled: bool = True
    mode: Literal["agg", "disagg", "prefill", "decode"] = "disagg"
    backend: Literal["vllm", "sglang", "trtllm", "mocker"] = "vllm"
    optimization_target: Literal["sla", "throughput", "latency", "load"] = "sla"
    model_name: str | None = None
    pre_deployment_sweeping_mode: Literal["none", "rapid", "thorough"] | None = None
    ttft_ms: float = Field(default=500.0, gt=0, allow_inf_nan=False)
    itl_ms: float = Field(default=50.0, gt=0, allow_inf_nan=False)
    enable_throughput_scaling: bool = True
    enable_load_scaling: bool | None = None
    throughput_adjustment_interval_seconds: float = Field(default=180.0, gt=0, allow_inf_nan=False)
    load_adjustment_interval_seconds: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    max_gpu_budget: int = Field(default=8, ge=-1)
    min_gpu_budget: int = Field(default=-1, ge=-1)
    min_endpoint: int = Field(default=1, ge=0)
    prefill_min_endpoint: int | None = Field(default=None, ge=1)
    decode_min_endpoint: int | None = Field(default=None, ge=1)
    prefill_engine_num_gpu: int | None = Field(default=None, ge=1)
    decode_engine_num_gpu: int | None = Field(default=None, ge=1)
    profile_results_dir: str = "profiling_results"
    load_predictor: (
        Literal["constant", "arima", "kalman", "prophet", "trend", "moving_average", "blend"] | None
    ) = None
    load_predictor_log1p: bool = False
    prophet_window_size: int = Field(default=50, ge=5)
    load_predictor_warmup_trace: str | None = None
    kalman_q_level: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    kalman_q_trend: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    kalman_r: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    kalman_min_points: int = Field(default=5, ge=1)
    max_throughput_scaling_replicas: int = Field(default=8, ge=1)
    load_scaling_down_sensitivity: float = Field(default=80.0, ge=0, le=100)
    advisory: bool = False
    live_dashboard_port: int = Field(default=0, ge=0, le=65535)
    prefill_scale_up_queue_tokens: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    prefill_scale_down_queue_tokens: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    decode_scale_up_kv_rate: float | None = Field(default=None, gt=0, le=100)
    decode_scale_down_kv_rate: float | None = Field(default=None, ge=0, le=100)
    enable_power_awareness: bool = False
    total_gpu_power_limit: float | None = Field(default=None, ge=1, allow_inf_nan=False)

    policy: Literal["sla", "headroom", "throughput", "reactive"] | None = None
    max_endpoint: int | None = Field(default=None, ge=1)
    gpu_power_watts: float | None = _MaybePositiveS
    context_length: int = Field(default=131_072, ge=1)
    startup_s: float = Field(default=120.0, ge=0, allow_inf_nan=False)
    headroom_ratio: float | None = Field(default=None, ge=-1, le=0.9)
    attainment_target: float | None = Field(default=None, ge=0.5, le=0.9999)
    miss_price: float | None = Field(default=None, ge=1, le=1e6)
    keep_price_ratio: float | None = Field(default=None, ge=1, le=1e3)
    direction_changes_per_hour_max: int = Field(default=6, ge=2)
    scale_down_hold_s: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    stale_after_s: float | None = _MaybePositiveS
    backlog_drain_s: float | None = _MaybePositiveS
    start_patience: float = Field(default=3.0, ge=1, allow_inf_nan=False)
    trend_history_s: float | None = _MaybePositiveS
    growth_ratio_max: float | None = Field(default=None, ge=1, allow_inf_nan=False)
    season_seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    expected_isl: float | None = Field(default=None, ge=1, allow_inf_nan=False)
    expected_osl: float | None = Field(default=None, ge=1, allow_inf_nan=False)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for problem in (
            self._scaling_problem(),
            self._threshold_problem(),
            self._power_problem(),
            self._predictor_problem(),
        ):
            if problem:
                raise ValueError(problem)
        return self

    def _scaling_problem(self) -> str | None:
        if self.optimization_target != "sla":
            return None
        if not self.enable_throughput_scaling and not self.enable_load_scaling:
            return "enable_throughput_scaling and enable_load_scaling: at least one must be true"
        fast, slow = (
            self.load_adjustment_interval_seconds,
            self.throughput_adjustment_interval_seconds,
        )
        if self.enable_throughput_scaling and self.enable_load_scaling and fast >= slow:
            return (
                "load_adjustment_interval_seconds must be below "
                "throughput_adjustment_interval_seconds when both run"
            )
        return None

    def _threshold_problem(self) -> str | None:
        names = []
        if self.mode in ("disagg", "prefill"):
            names.append(("prefill_scale_up_queue_tokens", "prefill_scale_down_queue_tokens"))
        if self.mode != "prefill":
            names.append(("decode_scale_up_kv_rate", "decode_scale_down_kv_rate"))
        for up, down in names:
            values = getattr(self, up), getattr(self, down)
            if self.optimization_target == "load" and None in values:
                return f"optimization_target load needs {up} and {down}"
            if None not in values and values[0] <= values[1]:
                return f"{up} must be above {down}"
        return None

    def _predictor_problem(self) -> str | None:
        if self.load_predictor == "blend" and self.load_predictor_log1p:
            return "load_predictor_log1p is not for load_predictor blend, which counts arrivals"
        return None

    def _power_problem(self) -> str | None:
        given = self.total_gpu_power_limit is not None and self.gpu_power_watts is not None
        if self.enable_power_awareness and not given:
            return "enable_power_awareness needs total_gpu_power_limit and gpu_power_watts"
        return None
