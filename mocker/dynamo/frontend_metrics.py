"""Metrics of the frontend under Dynamo's names, measured on the bytes that pass through.

Times are simulated seconds. A token is a chunk of a stream that carries text; answers that are
not streamed tell their tokens in ``usage`` and have no time to first token.
"""

from __future__ import annotations

import json
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from contracts.units import NS_PER_S
from mocker.api.errors import ApiError
from mocker.api.prompts import PromptReader
from mocker.api.requests import parse_generation
from mocker.clock import Clock, WallClock
from mocker.metrics.buckets import (
    FRONTEND_INPUT_TOKENS,
    FRONTEND_OUTPUT_TOKENS,
    FRONTEND_REQUEST_S,
    FRONTEND_TOKEN_S,
    FRONTEND_TTFT_S,
)
from mocker.text.tokenizer import load_tokenizer

_PREFIX = "dynamo_frontend_"
_TOKEN_MARKS = (b'"delta":{"content":"', b'"text":"')
_NO_TOKEN = b'"text":""'
_TAIL = max(map(len, (*_TOKEN_MARKS, _NO_TOKEN))) - 1


class FrontendMetrics:
    """What the frontend counts.

    Args:
        registry: gets the metrics.
        speed: simulated seconds in a second of wall time.
        clock: measures.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        speed: float = 1.0,
        clock: Clock | None = None,
    ) -> None:
        self.speed = speed
        self.reader = PromptReader(load_tokenizer(None))
        self._clock = clock or WallClock()
        self.started = _counter(registry, "requests_started", ["model"])
        self.finished = _counter(
            registry, "requests", ["model", "endpoint", "request_type", "status"]
        )
        self.in_flight = Gauge(
            _PREFIX + "inflight_requests", "requests in flight", ["model"], registry=registry
        )
        self.ttft = _histogram(registry, "time_to_first_token_seconds", FRONTEND_TTFT_S)
        self.itl = _histogram(registry, "inter_token_latency_seconds", FRONTEND_TOKEN_S)
        self.duration = _histogram(registry, "request_duration_seconds", FRONTEND_REQUEST_S)
        self.isl = _histogram(registry, "input_sequence_tokens", FRONTEND_INPUT_TOKENS)
        self.osl = _histogram(registry, "output_sequence_tokens", FRONTEND_OUTPUT_TOKENS)

    def steady_s(self) -> float:
        """Seconds on a clock that is never set back."""
        return self._clock.now_ns() / NS_PER_S

    def begin(self, path: str, body: bytes) -> RequestMeter:
        """A request has arrived."""
        return RequestMeter(self, path, body)


class RequestMeter:
    """Measures one request; :meth:`end` must be called once."""

    def __init__(self, metrics: FrontendMetrics, path: str, body: bytes) -> None:
        self._metrics = metrics
        self._endpoint = "chat_completions" if "/chat/" in path else "completions"
        self._isl: int | None = None
        self._model, self._kind = "", "unary"
        try:
            request = parse_generation(body, metrics.reader, chat="/chat/" in path)
        except ApiError:
            pass  # the worker says what is wrong with it
        else:
            self._isl = sum(prompt.isl for prompt in request.prompts)
            self._model = request.model.lower()
            self._kind = "stream" if request.stream else "unary"
        self._tokens = 0
        self._tail = b""
        self._begun_s = self._last_s = metrics.steady_s()
        metrics.started.labels(self._model).inc()
        metrics.in_flight.labels(self._model).inc()

    def on_part(self, part: bytes) -> None:
        """Bytes of the answer, as they pass."""
        if self._kind == "unary":
            self._tail += part
            return
        seen = self._tail + part
        tokens = _tokens(seen) - _tokens(self._tail)
        self._tail = seen[-_TAIL:]
        if tokens > 0:
            self._on_tokens(tokens)

    def end(self, *, success: bool) -> None:
        """The request has ended."""
        metrics = self._metrics
        metrics.in_flight.labels(self._model).dec()
        status = "success" if success else "error"
        metrics.finished.labels(self._model, self._endpoint, self._kind, status).inc()
        if not success:
            return
        if self._kind == "unary":
            self._tokens = _usage_tokens(self._tail)
            self._observe_isl()
        metrics.osl.labels(self._model).observe(self._tokens)
        elapsed_s = metrics.steady_s() - self._begun_s
        metrics.duration.labels(self._model).observe(elapsed_s * metrics.speed)

    def _on_tokens(self, tokens: int) -> None:
        metrics = self._metrics
        now_s = metrics.steady_s()
        gap_s = (now_s - self._last_s) * metrics.speed
        if self._tokens == 0:
            metrics.ttft.labels(self._model).observe(gap_s)
            self._observe_isl()
            gaps, gap_s = tokens - 1, 0.0
        else:
            gaps, gap_s = tokens, gap_s / tokens
        for _ in range(gaps):
            metrics.itl.labels(self._model).observe(gap_s)
        self._tokens += tokens
        self._last_s = now_s

    def _observe_isl(self) -> None:
        if self._isl is not None:
            self._metrics.isl.labels(self._model).observe(self._isl)


def _tokens(data: bytes) -> int:
    return sum(data.count(mark) for mark in _TOKEN_MARKS) - data.count(_NO_TOKEN)


def _usage_tokens(body: bytes) -> int:
    try:
        data: Any = json.loads(body)
        return int(data["usage"]["completion_tokens"])
    except (ValueError, KeyError, TypeError):
        return 0


def _counter(registry: CollectorRegistry, name: str, labels: list[str]) -> Counter:
    return Counter(_PREFIX + name, name.replace("_", " "), labels, registry=registry)


def _histogram(registry: CollectorRegistry, name: str, buckets: tuple[float, ...]) -> Histogram:
    return Histogram(
        _PREFIX + name, name.replace("_", " "), ["model"], registry=registry, buckets=buckets
    )
