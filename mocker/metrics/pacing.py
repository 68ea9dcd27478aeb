"""Metrics of the mocker itself: how far the wall clock was missed."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from mocker.metrics import buckets as b
from mocker.metrics.families import counter, counters, gauge, histogram
from mocker.metrics.server import ServerMetrics


def pacing_families(metrics: ServerMetrics, speed: float) -> Iterator[Metric]:
    """Lag of engine steps in wall seconds, counted by token, and how tokens were written."""
    yield histogram("mocker_pacing_lag_seconds", {}, metrics.pacing_lag_s, b.LAG_S)
    yield counter("mocker_late_tokens", {}, metrics.late_tokens)
    rows: list[tuple[dict[str, str], float]] = [
        ({"write": "single"}, metrics.delivered.single),
        ({"write": "coalesced"}, metrics.delivered.coalesced),
    ]
    yield counters("mocker_delivered_tokens", rows)
    yield counter("mocker_slow_reader_pauses", {}, metrics.slow_readers)
    yield gauge("mocker_speed", {}, speed)
