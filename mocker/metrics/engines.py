"""Metrics of the mocked engine under its own names, labels and buckets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import Metric

from contracts.engine import Backend, EngineLimits
from mocker.metrics import buckets as b
from mocker.metrics.families import counter, counters, gauge, histogram, histograms
from mocker.metrics.server import ServerMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLoads:
    """Load of the engines at a scrape.

    Attributes:
        kv_usage_ratio: of the fullest pool (0-1).
        now_s: simulated time.
        sending: requests between prefill and decode.
    """

    running: int = 0
    waiting: int = 0
    waiting_prefill_tokens: int = 0
    kv_usage_ratio: float = 0.0
    now_s: float = 0.0
    sending: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCard:
    """What does not change while an engine runs.

    Attributes:
        engines: replicas whose numbers are added up.
    """

    model_id: str
    backend: Backend
    limits: EngineLimits
    kv_dtype: str = "auto"
    engines: int = 1
    adapters: Mapping[str, str] = field(default_factory=dict)


def engine_families(
    card: EngineCard, metrics: ServerMetrics, loads: EngineLoads
) -> Iterator[Metric]:
    """All families of the engine that is mocked."""
    if card.backend is Backend.SGLANG:
        yield from _sglang(card, metrics, loads)
    elif card.backend is Backend.TRTLLM:
        yield from _trtllm(card, metrics, loads)
    else:
        yield from _vllm(card, metrics, loads)


def _vllm(card: EngineCard, metrics: ServerMetrics, loads: EngineLoads) -> Iterator[Metric]:
    labels = {"model_name": card.model_id, "engine": "0"}
    yield gauge("vllm:num_requests_running", labels, loads.running)
    yield gauge("vllm:num_requests_waiting", labels, loads.waiting)
    yield gauge("vllm:kv_cache_usage_perc", labels, loads.kv_usage_ratio)
    yield gauge("vllm:gpu_cache_usage_perc", labels, loads.kv_usage_ratio)
    yield gauge("vllm:cache_config_info", _cache_config(card, labels), 1.0)
    if card.adapters:
        names = ",".join(sorted(card.adapters))
        lora = {
            "max_lora": str(card.limits.max_adapters),
            "running_lora_adapters": names,
            "waiting_lora_adapters": "",
        }
        yield gauge("vllm:lora_requests_info", lora, loads.now_s)
    for name, value in (
        ("prefix_cache_queries", metrics.cache_queries),
        ("prefix_cache_hits", metrics.cache_hits),
        ("num_preemptions", metrics.preemptions),
        ("prompt_tokens", metrics.prompt_tokens),
        ("generation_tokens", metrics.generation_tokens),
    ):
        yield counter(f"vllm:{name}", labels, value)
    yield counters(
        "vllm:request_success",
        [({**labels, "finished_reason": r}, metrics.finished[r]) for r in _reasons(metrics)],
    )
    lengths = b.token_counts(card.limits.max_model_len)
    for name, tally, bounds in (
        ("time_to_first_token_seconds", metrics.ttft_s, b.VLLM_TTFT_S),
        ("inter_token_latency_seconds", metrics.itl_s, b.VLLM_TOKEN_S),
        ("time_per_output_token_seconds", metrics.itl_s, b.VLLM_TOKEN_S),
        ("request_time_per_output_token_seconds", metrics.tpot_s, b.VLLM_TOKEN_S),
        ("e2e_request_latency_seconds", metrics.e2e_s, b.VLLM_REQUEST_S),
        ("request_queue_time_seconds", metrics.queue_s, b.VLLM_REQUEST_S),
        ("request_inference_time_seconds", metrics.inference_s, b.VLLM_REQUEST_S),
        ("request_prefill_time_seconds", metrics.prefill_s, b.VLLM_REQUEST_S),
        ("request_decode_time_seconds", metrics.decode_s, b.VLLM_REQUEST_S),
        ("request_prompt_tokens", metrics.prompt_lengths, lengths),
        ("request_generation_tokens", metrics.output_lengths, lengths),
        ("request_max_num_generation_tokens", metrics.output_lengths, lengths),
        ("request_params_max_tokens", metrics.max_tokens, lengths),
        ("request_params_n", metrics.choices, b.VLLM_CHOICES),
        ("iteration_tokens_total", metrics.step_tokens, b.VLLM_STEP_TOKENS),
    ):
        yield histogram(f"vllm:{name}", labels, tally, bounds)


def _cache_config(card: EngineCard, labels: Mapping[str, str]) -> dict[str, str]:
    return {
        "engine": labels["engine"],
        "model_name": card.model_id,
        "block_size": str(card.limits.block_size_tokens),
        "num_gpu_blocks": str(card.limits.kv_blocks_total),
        "cache_dtype": card.kv_dtype,
        "enable_prefix_caching": str(card.limits.prefix_caching),
    }


def _sglang(card: EngineCard, metrics: ServerMetrics, loads: EngineLoads) -> Iterator[Metric]:
    labels = {
        "model_name": card.model_id, "engine_type": "unified", "tp_rank": "0", "pp_rank": "0",
    }  # fmt: skip
    limits = card.limits
    room = limits.kv_blocks_total * limits.block_size_tokens * card.engines
    hits = metrics.cache_hits / metrics.cache_queries if metrics.cache_queries else 0.0
    busy = loads.running / max(1, limits.max_num_seqs * card.engines) if loads.running else -1.0
    for name, value in (
        ("num_running_reqs", loads.running),
        ("num_queue_reqs", loads.waiting),
        ("num_used_tokens", round(room * loads.kv_usage_ratio)),
        ("token_usage", loads.kv_usage_ratio),
        ("max_total_num_tokens", room),
        ("gen_throughput", metrics.throughput(loads.now_s)),
        ("cache_hit_rate", hits),
        ("utilization", busy),
        ("num_retracted_reqs", metrics.preemptions),
        ("spec_accept_length", 0.0),
        ("spec_accept_rate", 0.0),
        ("num_prefill_prealloc_queue_reqs", 0),
        ("num_prefill_inflight_queue_reqs", loads.sending),
        ("num_decode_prealloc_queue_reqs", 0),
        ("num_decode_transfer_queue_reqs", loads.sending),
    ):
        yield gauge(f"sglang:{name}", labels, float(value))
    for name, value in (
        ("prompt_tokens", metrics.prompt_tokens),
        ("generation_tokens", metrics.generation_tokens),
        ("cached_tokens", metrics.cache_hits),
        ("num_requests", sum(metrics.finished.values())),
    ):
        yield counter(f"sglang:{name}", labels, value)
    for name, tally, bounds in (
        ("time_to_first_token_seconds", metrics.ttft_s, b.SGLANG_TTFT_S),
        ("inter_token_latency_seconds", metrics.itl_s, b.SGLANG_TOKEN_S),
        ("e2e_request_latency_seconds", metrics.e2e_s, b.SGLANG_REQUEST_S),
        ("queue_time_seconds", metrics.queue_s, b.SGLANG_QUEUE_S),
    ):
        yield histogram(f"sglang:{name}", labels, tally, bounds)
    stages = (
        ("prefill_waiting", metrics.queue_s),
        ("prefill_forward", metrics.prefill_s),
        ("decode_transferred", metrics.decode_s),
    )
    rows = [({**labels, "stage": stage}, tally) for stage, tally in stages]
    yield histograms("sglang:per_stage_req_latency_seconds", rows, b.SGLANG_STAGE_S)


def _trtllm(card: EngineCard, metrics: ServerMetrics, loads: EngineLoads) -> Iterator[Metric]:
    """Under the engine's own prefix and under the one that Dynamo gives it."""
    labels = {"model_name": card.model_id, "engine_type": "trtllm"}
    hits = metrics.cache_hits / metrics.cache_queries if metrics.cache_queries else 0.0
    for prefix in ("trtllm_", "trtllm:"):
        yield gauge(f"{prefix}num_requests_running", labels, loads.running)
        yield gauge(f"{prefix}num_requests_waiting", labels, loads.waiting)
        yield gauge(f"{prefix}kv_cache_hit_rate", labels, hits)
        yield gauge(f"{prefix}kv_cache_utilization", labels, loads.kv_usage_ratio)
        yield counters(
            f"{prefix}request_success",
            [({**labels, "finished_reason": r}, metrics.finished[r]) for r in _reasons(metrics)],
        )
        for name, tally, bounds in (
            ("e2e_request_latency_seconds", metrics.e2e_s, b.VLLM_REQUEST_S),
            ("time_to_first_token_seconds", metrics.ttft_s, b.VLLM_TTFT_S),
            ("time_per_output_token_seconds", metrics.tpot_s, b.VLLM_TOKEN_S),
            ("request_queue_time_seconds", metrics.queue_s, b.VLLM_REQUEST_S),
        ):
            yield histogram(f"{prefix}{name}", labels, tally, bounds)


def _reasons(metrics: ServerMetrics) -> list[str]:
    return sorted({"length", "stop", "abort", *metrics.finished})
