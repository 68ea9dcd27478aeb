"""What a planner shows to Prometheus, under the names of Dynamo's planner where it has one."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, start_http_server

from contracts.plan import Role
from planner.adapters.connected import TickReport
from planner.core.config import PlannerConfig

_PREFIX = "dynamo_planner_"
_S_PER_HOUR = 3600.0
_POOLS = (Role.PREFILL, Role.DECODE)
# Figures of a decision that concern all pools.
_FIGURES: Mapping[str, tuple[str, str]] = {
    "rate_per_s": ("observed_requests_per_second", "arrivals of the last window"),
    "ttft_ms_mean": ("observed_ttft_ms", "mean TTFT of the last window"),
    "itl_ms_mean": ("observed_itl_ms", "mean ITL of the last window"),
    "isl_mean_tokens": ("observed_input_sequence_tokens", "mean prompt tokens, smoothed"),
    "osl_mean_tokens": ("observed_output_sequence_tokens", "mean output tokens, smoothed"),
    "forecast_rate_per_s": ("predicted_requests_per_second", "arrivals one lead time ahead"),
}
_POOL_FIGURES: Mapping[str, tuple[str, str]] = {
    "ready_replicas": ("num_{}_replicas", "ready replicas"),
    "target_replicas": ("predicted_num_{}_replicas", "replicas that the planner wants"),
    "capacity_requests_per_s": (
        "engine_{}_capacity_requests_per_second",
        "requests/s that one replica serves within the targets",
    ),
}
DECISIONS = ("unset", "hold", "scale_up", "scale_down", "rebalance", "no_change")


class PlannerMetrics:
    """Gauges of the last decision and counts of all.

    An aggregated pool is shown as decode, as Dynamo's planner does.

    Args:
        config: of the planner.
        registry: gets the metrics.
    """

    def __init__(self, config: PlannerConfig, registry: CollectorRegistry) -> None:
        self._config = config
        self._gauges: dict[str, Gauge] = {}
        self._registry = registry
        self._last_s: float | None = None
        self._gpus = 0.0
        for name, text in _FIGURES.values():
            self._gauge(name, text)
        for name, text in _POOL_FIGURES.values():
            for role in _POOLS:
                self._gauge(name.format(role.value), f"{text}, {role.value} pool")
        self._gauge("sla_target_ttft_ms", "target").set(config.sla.ttft_ms or 0.0)
        self._gauge("sla_target_itl_ms", "target").set(config.sla.itl_ms or 0.0)
        self._gauge("telemetry_age_seconds", "since traffic could last be read")
        self._gpu_hours = Gauge(
            _PREFIX + "gpu_hours", "GPU-hours of ready and ordered replicas", registry=registry
        )
        self._ticks = Counter(
            _PREFIX + "ticks", "decisions by what became of them", ["applied"], registry=registry
        )
        self._state = Enum(
            _PREFIX + "throughput_scaling_decision",
            "the last decision",
            states=list(DECISIONS),
            registry=registry,
        )
        digest = Gauge(_PREFIX + "config_info", "always 1", ["digest"], registry=registry)
        digest.labels(config.digest).set(1)

    def __call__(self, report: TickReport) -> None:
        """Show one decision."""
        figures = report.decision.figures
        for key, (name, _) in _FIGURES.items():
            if key in figures:
                self._gauges[name].set(figures[key])
        for pool in self._config.pools:
            shown = Role.PREFILL if pool.role is Role.PREFILL else Role.DECODE
            for key, (name, _) in _POOL_FIGURES.items():
                found = figures.get(f"{pool.role.value}_{key}")
                if found is not None:
                    self._gauges[name.format(shown.value)].set(found)
        self._gauges["telemetry_age_seconds"].set(figures.get("unknown_age_s", 0.0))
        self._ticks.labels(report.applied.value).inc()
        self._state.state(self._decision(report))
        self._count_gpus(report)

    def _decision(self, report: TickReport) -> str:
        decision = report.decision
        if decision.held:
            return "hold"
        changes = [
            target.replicas
            - decision.figures.get(f"{target.role.value}_position_replicas", target.replicas)
            for target in decision.targets
        ]
        up, down = any(change > 0 for change in changes), any(change < 0 for change in changes)
        if up and down:
            return "rebalance"
        return "scale_up" if up else "scale_down" if down else "no_change"

    def _count_gpus(self, report: TickReport) -> None:
        now_s, figures = report.decision.now_s, report.decision.figures
        if self._last_s is not None and now_s > self._last_s:
            self._gpu_hours.inc(self._gpus * (now_s - self._last_s) / _S_PER_HOUR)
        self._last_s = now_s
        known = [figures.get(f"{pool.role.value}_position_replicas") for pool in self._config.pools]
        if all(value is not None for value in known):
            self._gpus = sum(
                (value or 0.0) * pool.gpus_per_replica
                for value, pool in zip(known, self._config.pools, strict=True)
            )

    def _gauge(self, name: str, text: str) -> Gauge:
        if name not in self._gauges:
            self._gauges[name] = Gauge(_PREFIX + name, text, registry=self._registry)
        return self._gauges[name]


def serve_metrics(registry: CollectorRegistry, host: str, port: int) -> None:
    """Serve a registry from a thread of its own, as long as the process lives.

    Raises:
        OSError: the port is taken.
    """
    start_http_server(port, addr=host, registry=registry)
