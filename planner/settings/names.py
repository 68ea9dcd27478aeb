"""Fields of Dynamo's PlannerConfig (releases 1.2 and 1.6) that are not fields here.

Nothing is ignored silently: a field is honoured, or accepted at the value that changes
nothing, or refused with the reason and what to do instead.
"""

from __future__ import annotations

ALIASES = {
    "ttft": "ttft_ms",
    "itl": "itl_ms",
    "throughput_adjustment_interval": "throughput_adjustment_interval_seconds",
    "load_adjustment_interval": "load_adjustment_interval_seconds",
}

_FPM = "there is no regression on forward-pass metrics: capacity comes from the curves"
_REPORT = "the report of a run and the decisions on stdout take its place"

# Accepted at upstream's default only; it has no effect here.
NO_EFFECT: dict[str, tuple[object, str]] = {
    "environment": ("kubernetes", "the command line decides where the planner acts"),
    "namespace": ("dynamo", "the deployment's own namespace is used"),
    "throughput_metrics_source": ("frontend", "demand is what the frontend has started"),
    "metric_reporting_prometheus_port": (0, "the command line of the planner sets its port"),
    "max_num_fpm_samples": (64, _FPM),
    "fpm_sample_bucket_size": (16, _FPM),
    "load_metric_samples": (10, "it was removed in release 1.6"),
    "load_min_observations": (5, _FPM),
    "report_interval_hours": (24, _REPORT),
    "report_output_dir": ("./planner_reports", _REPORT),
    "report_filename": (None, _REPORT),
    "report_write_gzip_log": (True, _REPORT),
    "log_dir": (None, _REPORT),
    "control_api_port": (9086, "floors and budgets are fixed while the planner runs"),
    "speculative_nextn": (0, "speculation is part of the curves"),
}

REFUSED: dict[str, str] = {
    "aic_interpolation": "give profile_results_dir, which the profiler writes",
    "aic_perf_model": "give profile_results_dir, which the profiler writes",
    "ais_perf_model": "give profile_results_dir, which the profiler writes",
    "metric_pulling_prometheus_endpoint": "set PROMETHEUS_ENDPOINT in the planner's environment",
    "global_planner_namespace": "python -m planner global divides GPUs among deployments",
    "scheduling": "plug-ins are Python objects given to the tick, see docs/planner.md",
    "plugin_registration": "plug-ins are Python objects given to the tick, see docs/planner.md",
}
