"""Where traffic and load are read from when there is no snapshot: metrics of pods, Prometheus."""

from planner.adapters.traffic.prometheus import PrometheusSource
from planner.adapters.traffic.scrape import ScrapeSource
from planner.adapters.traffic.source import Reading, Target, TrafficSource

__all__ = ["PrometheusSource", "Reading", "ScrapeSource", "Target", "TrafficSource"]
