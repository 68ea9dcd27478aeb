"""Metrics of the Dynamo frontend under their own names, labels and buckets."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from contracts.engine import EngineLimits
from mocker.metrics import buckets as b
from mocker.metrics.families import counter, counters, gauge, histogram
from mocker.metrics.server import ServerMetrics


def frontend_families(
    model_id: str,
    limits: EngineLimits,
    metrics: ServerMetrics,
    waiting: int,
    *,
    migration_limit: int = 0,
) -> Iterator[Metric]:
    """All families; the model's name is in lower case, as the frontend has it.

    Args:
        model_id: what is served.
        limits: of its engines.
        metrics: what was counted.
        waiting: requests without a token yet.
        migration_limit: workers that a request may lose and go on.
    """
    labels = {"model": model_id.lower()}
    rows = [
        ({**labels, "endpoint": key[0], "request_type": key[1], "status": key[2]}, value)
        for key, value in sorted(metrics.requests.items())
    ]
    yield counters("dynamo_frontend_requests", rows)
    if metrics.started is not None:
        yield counter("dynamo_frontend_requests_started", labels, metrics.started)
    for name, value in (
        ("inflight_requests", metrics.running),
        ("active_requests", metrics.running),
        ("queued_requests", waiting),
        ("model_context_length", limits.max_model_len),
        ("model_kv_cache_block_size", limits.block_size_tokens),
        ("model_max_num_batched_tokens", limits.max_num_batched_tokens),
        ("model_max_num_seqs", limits.max_num_seqs),
        ("model_total_kv_blocks", limits.kv_blocks_total),
        ("model_migration_limit", migration_limit),
    ):
        yield gauge(f"dynamo_frontend_{name}", labels, value)
    yield gauge("dynamo_frontend_disconnected_clients", {}, metrics.disconnected)
    yield counter("dynamo_frontend_output_tokens", labels, metrics.generation_tokens)
    for name, tally, bounds in (
        ("time_to_first_token_seconds", metrics.ttft_s, b.FRONTEND_TTFT_S),
        ("inter_token_latency_seconds", metrics.itl_s, b.FRONTEND_TOKEN_S),
        ("request_duration_seconds", metrics.e2e_s, b.FRONTEND_REQUEST_S),
        ("input_sequence_tokens", metrics.prompt_lengths, b.FRONTEND_INPUT_TOKENS),
        ("output_sequence_tokens", metrics.output_lengths, b.FRONTEND_OUTPUT_TOKENS),
    ):
        yield histogram(f"dynamo_frontend_{name}", labels, tally, bounds)
