"""The planner's files: its configuration (YAML or JSON) and the profiler's curves."""

from __future__ import annotations

import difflib
import json
import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.curves import DecodeCurves, PrefillCurves
from contracts.errors import CombinedInputError, InputError
from contracts.plan import Role
from contracts.sla import SlaTarget
from planner.core.config import AggFleet, DisaggFleet, LoadPredictor, PlannerConfig, PoolConfig

_ALIASES = {
    "ttft": "ttft_ms",
    "itl": "itl_ms",
    "throughput_adjustment_interval": "throughput_adjustment_interval_seconds",
}

# Fields of upstream's PlannerConfig (releases 1.2 and 1.6) that are not honoured here yet.
_KNOWN_UNSUPPORTED = frozenset(
    [
        "environment",
        "namespace",
        "load_adjustment_interval_seconds",
        "load_adjustment_interval",
        "min_gpu_budget",
        "aic_interpolation",
        "aic_perf_model",
        "ais_perf_model",
        "load_predictor_log1p",
        "prophet_window_size",
        "load_predictor_warmup_trace",
        "kalman_q_level",
        "kalman_q_trend",
        "kalman_r",
        "kalman_min_points",
        "metric_pulling_prometheus_endpoint",
        "metric_reporting_prometheus_port",
        "throughput_metrics_source",
        "global_planner_namespace",
        "max_num_fpm_samples",
        "fpm_sample_bucket_size",
        "load_scaling_down_sensitivity",
        "load_metric_samples",
        "load_min_observations",
        "report_interval_hours",
        "report_output_dir",
        "report_filename",
        "log_dir",
        "live_dashboard_port",
        "prefill_min_endpoint",
        "decode_min_endpoint",
        "control_api_port",
        "prefill_scale_up_queue_tokens",
        "prefill_scale_down_queue_tokens",
        "decode_scale_up_kv_rate",
        "decode_scale_down_kv_rate",
        "speculative_nextn",
        "enable_power_awareness",
        "total_gpu_power_limit",
        "report_write_gzip_log",
        "scheduling",
        "plugin_registration",
    ]
)

_MaybePositiveS = Field(default=None, gt=0, allow_inf_nan=False)


class PlannerSettings(BaseModel):
    """``planner.yaml`` or ``planner_config.json``.

    Names up to ``advisory`` are those of Dynamo's PlannerConfig; the only optimization
    target so far is ``sla``, which is therefore the default. Names after it are our own.

    Attributes:
        enabled: false means that no planner runs.
        model_name: accepted for compatibility; the endpoint serves one model.
        pre_deployment_sweeping_mode: read by the profiler, no influence on decisions.
        max_gpu_budget: GPUs of all pools together, -1 for no limit.
        min_endpoint: floor of each pool.
        max_throughput_scaling_replicas: largest change of one pool in one tick.
        startup_s: time from ordering a worker until it is ready.
        headroom_ratio: share of the capacity that is left free.
        scale_down_hold_s: default is the lead time (start-up plus one interval).
        stale_after_s: default is three intervals.
        backlog_drain_s: default is the lead time.
        trend_history_s: default is the lead time, at least six intervals.
        expected_isl: prompt tokens assumed until traffic shows some.
        expected_osl: output tokens assumed until traffic shows some.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    enabled: bool = True
    mode: Literal["agg", "disagg"] = "disagg"
    backend: Literal["vllm", "sglang", "trtllm", "mocker"] = "vllm"
    optimization_target: Literal["sla"] = "sla"
    model_name: str | None = None
    pre_deployment_sweeping_mode: Literal["none", "rapid", "thorough"] | None = None
    ttft_ms: float = Field(default=500.0, gt=0, allow_inf_nan=False)
    itl_ms: float = Field(default=50.0, gt=0, allow_inf_nan=False)
    enable_throughput_scaling: Literal[True] = True
    enable_load_scaling: Literal[False] = False
    throughput_adjustment_interval_seconds: float = Field(default=180.0, gt=0, allow_inf_nan=False)
    max_gpu_budget: int = Field(default=8, ge=-1)
    min_endpoint: int = Field(default=1, ge=1)
    prefill_engine_num_gpu: int | None = Field(default=None, ge=1)
    decode_engine_num_gpu: int | None = Field(default=None, ge=1)
    profile_results_dir: str = "profiling_results"
    load_predictor: Literal["constant", "trend"] = "trend"
    max_throughput_scaling_replicas: int = Field(default=8, ge=1)
    advisory: bool = False
    startup_s: float = Field(default=120.0, ge=0, allow_inf_nan=False)
    headroom_ratio: float = Field(default=0.2, ge=0, le=0.9)
    scale_down_hold_s: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    stale_after_s: float | None = _MaybePositiveS
    backlog_drain_s: float | None = _MaybePositiveS
    trend_history_s: float | None = _MaybePositiveS
    growth_ratio_max: float = Field(default=1.5, ge=1, allow_inf_nan=False)
    expected_isl: float | None = Field(default=None, ge=1, allow_inf_nan=False)
    expected_osl: float | None = Field(default=None, ge=1, allow_inf_nan=False)


def own_deployment() -> str | None:
    """The DynamoGraphDeployment that this process is a pod of, as its operator says."""
    return os.environ.get("DYN_PARENT_DGD_K8S_NAME") or None


def load_settings(text: str, source: str) -> PlannerSettings:
    """Parse and check a configuration.

    Args:
        text: YAML or JSON.
        source: file name for messages.

    Raises:
        CombinedInputError: one error for each finding.
    """
    return settings_from(_parse(text, source), source)


def settings_from(raw: Mapping[str, Any], source: str) -> PlannerSettings:
    """Check an already parsed configuration, for example ``features.planner`` of a DGDR.

    Raises:
        CombinedInputError: one error for each finding.
    """
    values, errors = _resolve_names(raw, source)
    try:
        settings = PlannerSettings.model_validate(values)
    except ValidationError as error:
        spelled = {_ALIASES[key]: key for key in raw if key in _ALIASES}
        errors += [
            InputError(
                detail["msg"],
                source=source,
                path=_dotted(detail["loc"], spelled),
                value=repr(detail["input"]),
                allowed=_allowed(detail.get("ctx", {})),
            )
            for detail in error.errors()
        ]
        raise CombinedInputError(errors) from error
    if errors:
        raise CombinedInputError(errors)
    return settings


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
        InputError: the GPUs of a replica are not given, or floors exceed the budget.
    """
    interval_s = _or(interval_s, settings.throughput_adjustment_interval_seconds)
    startup_s = _or(startup_s, settings.startup_s)
    lead_s = startup_s + interval_s
    return PlannerConfig(
        fleet=_fleet(settings),
        sla=SlaTarget(ttft_ms=settings.ttft_ms, itl_ms=settings.itl_ms),
        interval_s=interval_s,
        startup_s=startup_s,
        gpu_budget=None if settings.max_gpu_budget == -1 else settings.max_gpu_budget,
        utilisation_target_ratio=1.0 - settings.headroom_ratio,
        scale_down_hold_s=_or(scale_down_hold_s, _or(settings.scale_down_hold_s, lead_s)),
        step_replicas_max=settings.max_throughput_scaling_replicas,
        stale_after_s=_or(settings.stale_after_s, 3 * interval_s),
        backlog_drain_s=_or(settings.backlog_drain_s, lead_s),
        load_predictor=LoadPredictor(settings.load_predictor),
        trend_history_s=_or(settings.trend_history_s, max(lead_s, 6 * interval_s)),
        growth_ratio_max=settings.growth_ratio_max,
        isl_expected=isl_expected if settings.expected_isl is None else settings.expected_isl,
        osl_expected=osl_expected if settings.expected_osl is None else settings.expected_osl,
    )


def load_curves(folder: Path) -> tuple[PrefillCurves, DecodeCurves]:
    """Read the curves from the profiler's result folder.

    Raises:
        InputError: a file or an array is missing or unusable.
    """
    file = folder / "selected_prefill_interpolation" / "raw_data.npz"
    prefill = PrefillCurves(
        **_read_arrays(file, ("prefill_isl", "prefill_ttft", "prefill_thpt_per_gpu"))
    )
    file = folder / "selected_decode_interpolation" / "raw_data.npz"
    arrays = _read_arrays(
        file, ("x_kv_usage", "y_context_length", "z_itl", "z_thpt_per_gpu", "max_kv_tokens")
    )
    kv_tokens = arrays.pop("max_kv_tokens")
    if kv_tokens.size != 1 or not kv_tokens[0] >= 1:
        raise InputError("must be one number of at least 1", source=str(file), path="max_kv_tokens")
    return prefill, DecodeCurves(**arrays, max_kv_tokens=int(kv_tokens[0]))


def _parse(text: str, source: str) -> Mapping[str, Any]:
    try:
        raw = json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        raise InputError(f"is neither YAML nor JSON: {error}", source=source) from error
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        raise InputError("must be a mapping of settings", source=source, value=type(raw).__name__)
    return raw


def _resolve_names(raw: Mapping[str, Any], source: str) -> tuple[dict[str, Any], list[InputError]]:
    supported = (*PlannerSettings.model_fields, *_ALIASES)
    values: dict[str, Any] = {}
    errors: list[InputError] = []
    for key, value in raw.items():
        name = _ALIASES.get(key, key)
        if name in values:
            errors.append(InputError(f"is given twice, also as {name!r}", source=source, path=key))
        elif name in PlannerSettings.model_fields:
            values[name] = value
        else:
            errors.append(_unknown(key, source, supported))
    return values, errors


def _unknown(key: str, source: str, supported: tuple[str, ...]) -> InputError:
    if key in _KNOWN_UNSUPPORTED:
        message = "is a field of Dynamo's PlannerConfig that is not supported here yet"
    else:
        near = difflib.get_close_matches(key, supported, n=1)
        message = "unknown setting" + (f"; did you mean {near[0]!r}?" if near else "")
    return InputError(message, source=source, path=key, allowed=", ".join(supported))


def _dotted(loc: tuple[int | str, ...], spelled: Mapping[str, str]) -> str:
    """The path under the name that the user wrote."""
    return ".".join(spelled.get(str(part), str(part)) for part in loc)


def _allowed(context: Mapping[str, Any]) -> str | None:
    words = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    bounds = [f"{word} {context[key]:g}" for key, word in words.items() if key in context]
    return " and ".join(bounds) or context.get("expected")


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _fleet(settings: PlannerSettings) -> AggFleet | DisaggFleet:
    if settings.mode == "agg":
        return AggFleet(pool=_pool(settings, Role.AGG, "decode_engine_num_gpu"))
    return DisaggFleet(
        prefill=_pool(settings, Role.PREFILL, "prefill_engine_num_gpu"),
        decode=_pool(settings, Role.DECODE, "decode_engine_num_gpu"),
    )


def _pool(settings: PlannerSettings, role: Role, field: str) -> PoolConfig:
    gpus: int | None = getattr(settings, field)
    if gpus is None:
        raise InputError(f"is required for the {role.value} pool", path=field)
    return PoolConfig(role=role, gpus_per_replica=gpus, min_replicas=settings.min_endpoint)


def _read_arrays(file: Path, names: tuple[str, ...]) -> dict[str, npt.NDArray[np.float64]]:
    try:
        with np.load(file, allow_pickle=False) as data:
            missing = [name for name in names if name not in data]
            if missing:
                raise InputError(
                    "lacks arrays",
                    source=str(file),
                    value=", ".join(data.keys()),
                    allowed=", ".join(names),
                )
            arrays = {name: np.asarray(data[name], dtype=np.float64).ravel() for name in names}
    except FileNotFoundError as error:
        raise InputError("no such file; run the profiler first", source=str(file)) from error
    except (OSError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"is not a readable npz file: {error}", source=str(file)) from error
    for name, values in arrays.items():
        if not all(math.isfinite(value) for value in values):
            raise InputError("has values that are not finite", source=str(file), path=name)
    return arrays
