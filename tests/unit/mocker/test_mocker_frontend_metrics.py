"""What the frontend of the stand-ins counts."""

from __future__ import annotations

import json
from typing import Any

from prometheus_client import CollectorRegistry

from mocker.dynamo.frontend_metrics import FrontendMetrics

CHAT = "/v1/chat/completions"
LABELS = {"model": "m"}


class Clock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.at_ns = 0

    def now_ns(self) -> int:
        return self.at_ns

    def unix_s(self) -> int:
        return 0


def body(**changes: Any) -> bytes:
    data = {"model": "M", "messages": [{"role": "user", "content": "a b c"}], "stream": True}
    return json.dumps(data | changes).encode()


def token(text: str) -> bytes:
    return b'data: {"choices":[{"delta":{"content":"' + text.encode() + b'"}}]}\n\n'


class Bench:
    def __init__(self, speed: float = 1.0) -> None:
        self.clock = Clock()
        self.registry = CollectorRegistry()
        self.metrics = FrontendMetrics(self.registry, speed=speed, clock=self.clock)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"dynamo_frontend_{name}", LABELS | labels)


def test_a_stream_is_measured_token_by_token_in_simulated_time():
    bench = Bench(speed=10.0)
    meter = bench.metrics.begin(CHAT, body())
    assert bench.value("requests_started_total") == 1
    assert bench.value("inflight_requests") == 1
    role = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
    meter.on_part(role)
    bench.clock.at_ns = 20_000_000
    meter.on_part(token(" x"))
    bench.clock.at_ns = 24_000_000
    # Two tokens at once, and a chunk that is cut in the middle of a mark.
    cut = token(" y") + token(" z")
    meter.on_part(cut[:95])
    meter.on_part(cut[95:])
    meter.on_part(b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')
    meter.end(success=True)
    assert bench.value("time_to_first_token_seconds_sum") == 0.2
    assert bench.value("inter_token_latency_seconds_count") == 2
    assert bench.value("inter_token_latency_seconds_sum") == 0.04
    assert bench.value("input_sequence_tokens_sum") == 3
    assert bench.value("output_sequence_tokens_sum") == 3
    assert bench.value("inflight_requests") == 0
    done = {"endpoint": "chat_completions", "request_type": "stream", "status": "success"}
    assert bench.value("requests_total", **done) == 1


def test_plain_completions_end_with_an_empty_text_that_is_no_token():
    bench = Bench()
    meter = bench.metrics.begin("/v1/completions", body(prompt="a b"))
    for text in (" x", " y", ""):
        meter.on_part(b'data: {"choices":[{"index":0,"text":"' + text.encode() + b'"}]}\n\n')
    meter.end(success=True)
    assert bench.value("output_sequence_tokens_sum") == 2
    assert bench.value("input_sequence_tokens_sum") == 2


def test_a_whole_answer_tells_its_tokens_in_its_usage():
    bench = Bench()
    meter = bench.metrics.begin(CHAT, body(stream=False))
    meter.on_part(b'{"usage": {"completion_')
    meter.on_part(b'tokens": 7}}')
    meter.end(success=True)
    assert bench.value("output_sequence_tokens_sum") == 7
    assert bench.value("time_to_first_token_seconds_count") is None


def test_failures_have_no_lengths():
    bench = Bench()
    bench.metrics.begin(CHAT, body()).end(success=False)
    bench.metrics.begin(CHAT, b"{").end(success=False)
    assert bench.value("output_sequence_tokens_count") is None
    failed = {"endpoint": "chat_completions", "request_type": "stream", "status": "error"}
    assert bench.value("requests_total", **failed) == 1
