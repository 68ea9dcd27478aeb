"""Builds metric families for Prometheus from tallies and numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from mocker.metrics.tally import Tally

Labels = Mapping[str, str]


def gauge(name: str, labels: Labels, value: float) -> Metric:
    """One gauge."""
    family = GaugeMetricFamily(name, name, labels=list(labels))
    family.add_metric(list(labels.values()), float(value))
    return family


def counter(name: str, labels: Labels, value: float) -> Metric:
    """One counter; ``_total`` is added when it is exposed."""
    return counters(name, [(labels, value)])


def counters(name: str, rows: Iterable[tuple[Labels, float]]) -> Metric:
    """One counter with several sets of labels, which have the same names."""
    found = list(rows)
    family = CounterMetricFamily(name, name, labels=list(found[0][0]) if found else [])
    for labels, value in found:
        family.add_metric(list(labels.values()), float(value))
    return family


def histogram(name: str, labels: Labels, tally: Tally, bounds: Sequence[float]) -> Metric:
    """One histogram with its own bounds."""
    return histograms(name, [(labels, tally)], bounds)


def histograms(name: str, rows: Iterable[tuple[Labels, Tally]], bounds: Sequence[float]) -> Metric:
    """One histogram with several sets of labels, which have the same names."""
    found = list(rows)
    family = HistogramMetricFamily(name, name, labels=list(found[0][0]))
    for labels, tally in found:
        family.add_metric(list(labels.values()), tally.buckets(bounds), tally.total)
    return family
