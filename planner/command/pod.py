"""Scales one DynamoGraphDeployment, from a pod of it or from outside."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client import CollectorRegistry

from contracts.errors import PermanentError
from dgdr.operator.client import KubeClient
from dgdr.operator.clock import SystemClock
from dgdr.operator.events import EventRecorder
from planner.adapters.connected import ConnectedPlanner, TickReport
from planner.adapters.dashboard import Dashboard, served
from planner.adapters.kubernetes import GraphApi, GraphName, KubernetesConnector
from planner.adapters.kubernetes.events import COMPONENT, DecisionEvents
from planner.adapters.kubernetes.settings import PodSettings
from planner.adapters.metrics import PlannerMetrics, serve_metrics
from planner.adapters.traffic import PrometheusSource, ScrapeSource, TrafficSource
from planner.command.common import journal, print_report, timeout_s, until_signal
from planner.core.config import PlannerConfig
from planner.loop import Planner, View
from planner.settings import PlannerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class PodOptions:
    """Options of the command line.

    Attributes:
        graph: the deployment.
        kubeconfig: None uses the pod's service account, else the default kubeconfig.
        ticks: how many, None for ever.
        advisory: decide, but never act.
        journal: file for what the planner sees.
    """

    graph: GraphName
    pod: PodSettings
    kubeconfig: str | None = None
    ticks: int | None = None
    advisory: bool = False
    journal: Path | None = None


async def scale_graph(options: PodOptions, settings: PlannerSettings, planner: Planner) -> None:
    """Tick until SIGTERM, or as often as asked for.

    Raises:
        PermanentError: there is no Kubernetes configuration, or the port of the metrics or of
            the live page is taken.
    """
    config, pod, clock = planner.config, options.pod, SystemClock()
    calls = KubeClient(options.kubeconfig)
    try:
        async with httpx.AsyncClient(
            timeout=timeout_s(config.interval_s), trust_env=False
        ) as client:
            connector = KubernetesConnector(
                GraphApi(calls, options.graph),
                traffic_source(client, pod.prometheus, config, settings.model_name),
                config,
                unix_s=clock.unix_s,
            )
            recorder = EventRecorder(calls, clock, pod.identity, component=COMPONENT)
            events = DecisionEvents(recorder, connector.graph)
            _say_hello(options, config)
            page = served(config, str(options.graph), pod.host, settings.live_dashboard_port)
            with journal(options.journal, config.digest) as on_view, page as dashboard:
                report = _reporting(config, pod, events, dashboard)
                adapter = _connected(options, settings, planner, connector, on_view)
                await until_signal(adapter.run(report, ticks=options.ticks))
    finally:
        calls.close()


def traffic_source(
    client: httpx.AsyncClient, prometheus: str | None, config: PlannerConfig, model: str | None
) -> TrafficSource:
    """Prometheus if there is one, else the pods themselves."""
    if prometheus is None:
        return ScrapeSource(client, model=model)
    return PrometheusSource(client, prometheus, window_s=config.stale_after_s, model=model)


def _connected(
    options: PodOptions,
    settings: PlannerSettings,
    planner: Planner,
    connector: KubernetesConnector,
    on_view: Callable[[View], None] | None,
) -> ConnectedPlanner:
    advisory = options.advisory or settings.advisory
    return ConnectedPlanner(planner, connector, advisory=advisory, on_view=on_view)


def _reporting(
    config: PlannerConfig, pod: PodSettings, events: DecisionEvents, dashboard: Dashboard | None
) -> Callable[[TickReport], None]:
    registry = CollectorRegistry()
    metrics = PlannerMetrics(config, registry)
    if pod.metrics_port is not None:
        try:
            serve_metrics(registry, pod.host, pod.metrics_port)
        except OSError as error:
            raise PermanentError(
                f"metrics cannot be served at {pod.host}:{pod.metrics_port}: {error}"
            ) from error

    def report(found: TickReport) -> None:
        print_report(found)
        metrics(found)
        events(found)
        if dashboard is not None:
            dashboard(found)

    return report


def _say_hello(options: PodOptions, config: PlannerConfig) -> None:
    where = options.pod.prometheus or "the metrics of its pods"
    sys.stderr.write(
        f"planner of {options.graph}, traffic from {where}, config digest {config.digest}\n"
    )
