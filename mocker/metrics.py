"""Prometheus metrics under the names of vLLM and of the Dynamo frontend.

Durations are simulated seconds, so that a planner sees undilated latencies. Buckets
and names follow vLLM's and Dynamo's documented metrics.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from contracts.observation import ClusterSnapshot
from contracts.units import NS_PER_S

TTFT_BUCKETS_S = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20,
    40, 80, 160, 640, 2560,
)  # fmt: skip
TOKEN_BUCKETS_S = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
)  # fmt: skip
REQUEST_BUCKETS_S = (
    0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
)  # fmt: skip
LAG_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1)
LENGTH_BUCKETS = tuple(
    digit * 10**power for power in range(6) for digit in (1, 2, 5) if digit * 10**power <= 200_000
)


class Histogram:
    """Counts by bucket; half a microsecond for each observation."""

    def __init__(self, bounds: Iterable[float]) -> None:
        self.bounds = tuple(float(bound) for bound in bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, possibly several times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound."""
        rows, so_far = [], 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            so_far += count
            rows.append((bound, float(so_far)))
        return rows


class ServerMetrics:
    """Everything the server counts; times come in as simulated nanoseconds."""

    def __init__(self) -> None:
        self.ttft_s = Histogram(TTFT_BUCKETS_S)
        self.itl_s = Histogram(TOKEN_BUCKETS_S)
        self.e2e_s = Histogram(REQUEST_BUCKETS_S)
        self.prompt_lengths = Histogram(LENGTH_BUCKETS)
        self.output_lengths = Histogram(LENGTH_BUCKETS)
        self.pacing_lag_s = Histogram(LAG_BUCKETS_S)
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.requests: Counter[tuple[str, str, str]] = Counter()
        self.finished: Counter[str] = Counter()

    def on_tokens(self, new_tokens: int, gap_ns: int) -> None:
        """Tokens after the first one; coalesced tokens share their gap evenly."""
        self.generation_tokens += new_tokens
        self.itl_s.observe(gap_ns / new_tokens / NS_PER_S, new_tokens)

    def on_first_token(self, ttft_ns: int) -> None:
        """The first token of a request."""
        self.generation_tokens += 1
        self.ttft_s.observe(ttft_ns / NS_PER_S)

    def on_finish(self, isl: int, osl: int, e2e_ns: int, reason: str) -> None:
        """A request completed."""
        self.prompt_tokens += isl
        self.prompt_lengths.observe(isl)
        self.output_lengths.observe(osl)
        self.e2e_s.observe(e2e_ns / NS_PER_S)
        self.finished[reason] += 1


class ServerCollector(Collector):
    """Turns the counts into metric families when somebody scrapes."""

    def __init__(
        self, model: str, metrics: ServerMetrics, snapshot: Callable[[], ClusterSnapshot]
    ) -> None:
        self._model = model
        self._metrics = metrics
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield from self._vllm()
        yield from self._frontend()
        lag = HistogramMetricFamily(
            "mocker_pacing_lag_seconds", "Wall time by which engine steps were delivered late"
        )
        lag.add_metric([], self._metrics.pacing_lag_s.buckets(), self._metrics.pacing_lag_s.total)
        yield lag

    def _vllm(self) -> Iterator[Metric]:
        metrics, snapshot = self._metrics, self._snapshot()
        labels = {"model_name": self._model, "engine": "0"}
        loads = snapshot.loads
        usage = max((load.kv_usage_ratio for load in loads), default=0.0)
        gauges = (
            ("num_requests_running", sum(load.running_requests for load in loads)),
            ("num_requests_waiting", sum(load.waiting_requests for load in loads)),
            ("kv_cache_usage_perc", usage),
        )
        for name, value in gauges:
            yield _gauge(f"vllm:{name}", labels, float(value))
        yield _counter("vllm:prompt_tokens", labels, metrics.prompt_tokens)
        yield _counter("vllm:generation_tokens", labels, metrics.generation_tokens)
        success = CounterMetricFamily(
            "vllm:request_success", "Completed requests", labels=[*labels, "finished_reason"]
        )
        for reason, count in sorted(metrics.finished.items()):
            success.add_metric([*labels.values(), reason], count)
        yield success
        for name, histogram in (
            ("time_to_first_token_seconds", metrics.ttft_s),
            ("inter_token_latency_seconds", metrics.itl_s),
            ("e2e_request_latency_seconds", metrics.e2e_s),
            ("request_prompt_tokens", metrics.prompt_lengths),
            ("request_generation_tokens", metrics.output_lengths),
        ):
            yield _histogram(f"vllm:{name}", labels, histogram)

    def _frontend(self) -> Iterator[Metric]:
        metrics, labels = self._metrics, {"model": self._model.lower()}
        requests = CounterMetricFamily(
            "dynamo_frontend_requests",
            "Requests by outcome",
            labels=["model", "endpoint", "request_type", "status"],
        )
        for key, count in sorted(metrics.requests.items()):
            requests.add_metric([*labels.values(), *key], count)
        yield requests
        loads = self._snapshot().loads
        inflight = sum(load.running_requests + load.waiting_requests for load in loads)
        yield _gauge("dynamo_frontend_inflight_requests", labels, float(inflight))
        yield _counter("dynamo_frontend_output_tokens", labels, metrics.generation_tokens)
        for name, histogram in (
            ("time_to_first_token_seconds", metrics.ttft_s),
            ("inter_token_latency_seconds", metrics.itl_s),
            ("request_duration_seconds", metrics.e2e_s),
            ("input_sequence_tokens", metrics.prompt_lengths),
            ("output_sequence_tokens", metrics.output_lengths),
        ):
            yield _histogram(f"dynamo_frontend_{name}", labels, histogram)


def _gauge(name: str, labels: dict[str, str], value: float) -> Metric:
    family = GaugeMetricFamily(name, name, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family


def _counter(name: str, labels: dict[str, str], value: float) -> Metric:
    family = CounterMetricFamily(name, name, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family


def _histogram(name: str, labels: dict[str, str], histogram: Histogram) -> Metric:
    family = HistogramMetricFamily(name, name, labels=list(labels))
    family.add_metric(list(labels.values()), histogram.buckets(), histogram.total)
    return family
