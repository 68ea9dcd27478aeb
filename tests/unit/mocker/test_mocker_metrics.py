"""Names, labels and buckets of what is exposed, engine by engine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from mocker_client import MODEL, chat, with_server
from prometheus_client.parser import text_string_to_metric_families

from contracts.engine import SglangScheduling, TrtllmScheduling, VllmScheduling
from mocker.metrics import buckets as b
from mocker.metrics.tally import Tally

VLLM = {
    "num_requests_running": "gauge", "num_requests_waiting": "gauge",
    "kv_cache_usage_perc": "gauge", "gpu_cache_usage_perc": "gauge", "cache_config_info": "gauge",
    "prefix_cache_queries": "counter", "prefix_cache_hits": "counter",
    "num_preemptions": "counter", "prompt_tokens": "counter", "generation_tokens": "counter",
    "request_success": "counter", "time_to_first_token_seconds": "histogram",
    "inter_token_latency_seconds": "histogram", "time_per_output_token_seconds": "histogram",
    "request_time_per_output_token_seconds": "histogram",
    "e2e_request_latency_seconds": "histogram",
    "request_queue_time_seconds": "histogram", "request_inference_time_seconds": "histogram",
    "request_prefill_time_seconds": "histogram", "request_decode_time_seconds": "histogram",
    "request_prompt_tokens": "histogram", "request_generation_tokens": "histogram",
    "request_max_num_generation_tokens": "histogram", "request_params_max_tokens": "histogram",
    "request_params_n": "histogram", "iteration_tokens_total": "histogram",
}  # fmt: skip
SGLANG = {
    "num_running_reqs": "gauge", "num_queue_reqs": "gauge", "num_used_tokens": "gauge",
    "token_usage": "gauge", "max_total_num_tokens": "gauge", "gen_throughput": "gauge",
    "cache_hit_rate": "gauge", "utilization": "gauge", "num_retracted_reqs": "gauge",
    "prompt_tokens": "counter", "generation_tokens": "counter", "cached_tokens": "counter",
    "num_requests": "counter", "time_to_first_token_seconds": "histogram",
    "inter_token_latency_seconds": "histogram", "e2e_request_latency_seconds": "histogram",
    "queue_time_seconds": "histogram", "per_stage_req_latency_seconds": "histogram",
}  # fmt: skip
TRTLLM = {
    "request_success": "counter", "e2e_request_latency_seconds": "histogram",
    "time_to_first_token_seconds": "histogram", "time_per_output_token_seconds": "histogram",
    "request_queue_time_seconds": "histogram", "kv_cache_hit_rate": "gauge",
    "kv_cache_utilization": "gauge",
}  # fmt: skip
FRONTEND = {
    "requests": "counter", "output_tokens": "counter", "inflight_requests": "gauge",
    "queued_requests": "gauge", "active_requests": "gauge", "disconnected_clients": "gauge",
    "model_context_length": "gauge", "model_kv_cache_block_size": "gauge",
    "model_max_num_batched_tokens": "gauge", "model_max_num_seqs": "gauge",
    "model_total_kv_blocks": "gauge", "model_migration_limit": "gauge",
    "request_duration_seconds": "histogram", "time_to_first_token_seconds": "histogram",
    "inter_token_latency_seconds": "histogram", "input_sequence_tokens": "histogram",
    "output_sequence_tokens": "histogram",
}  # fmt: skip


def scrape(plan):
    async def act(client, driver):
        for stream in (False, True):
            body = chat(max_tokens=8, stream=stream)
            await client.post("/v1/chat/completions", json=body)
        answer = await client.get("/metrics")
        return {each.name: each for each in text_string_to_metric_families(answer.text)}

    return with_server(plan, act)


@pytest.mark.parametrize(
    ("scheduling", "prefix", "wanted", "labels"),
    [
        (VllmScheduling(), "vllm:", VLLM, {"model_name", "engine"}),
        (SglangScheduling(), "sglang:", SGLANG,
         {"model_name", "engine_type", "tp_rank", "pp_rank"}),
        (TrtllmScheduling(), "trtllm_", TRTLLM, {"model_name", "engine_type"}),
        (TrtllmScheduling(), "trtllm:", TRTLLM, {"model_name", "engine_type"}),
    ],
)  # fmt: skip
def test_every_engine_under_its_own_names(
    make_agg_plan, make_engine_spec, scheduling, prefix, wanted, labels
) -> None:
    engine = replace(make_engine_spec(), scheduling=scheduling)
    found = scrape(make_agg_plan(1, engine=engine))
    types = {name.removeprefix(prefix): each.type for name, each in found.items()
             if name.startswith(prefix)}  # fmt: skip
    assert wanted.items() <= types.items()
    for name in wanted:
        for sample in found[prefix + name].samples:
            assert labels <= set(sample.labels), sample
    ttft = found[f"{prefix}time_to_first_token_seconds"]
    assert next(s.value for s in ttft.samples if s.name.endswith("_count")) == 2


def test_the_frontend_under_its_own_names(make_agg_plan) -> None:
    found = scrape(make_agg_plan(1))
    types = {name.removeprefix("dynamo_frontend_"): each.type for name, each in found.items()
             if name.startswith("dynamo_frontend_")}  # fmt: skip
    assert types == FRONTEND
    requests = {
        (s.labels["request_type"], s.labels["status"]): s.value
        for s in found["dynamo_frontend_requests"].samples
    }
    assert requests == {("unary", "success"): 1, ("stream", "success"): 1}
    bounds = [s.labels["le"] for s in found["dynamo_frontend_request_duration_seconds"].samples
              if s.name.endswith("_bucket")]  # fmt: skip
    assert bounds[:3] == ["0.0", "1.9", "3.4"]
    assert all(
        sample.labels.get("model") == MODEL.lower()
        for name, each in found.items()
        if name.startswith("dynamo_frontend_") and not name.endswith("clients")
        for sample in each.samples
    )


def test_gpus_as_dcgm_shows_them(make_agg_plan) -> None:
    async def act(client, driver):
        return (await client.get("/dcgm/metrics")).text

    text = with_server(make_agg_plan(2), act)
    assert text.count("DCGM_FI_DEV_GPU_UTIL{") == 2
    for name in ("FB_USED", "FB_FREE", "POWER_USAGE"):
        assert f"DCGM_FI_DEV_{name}{{" in text


def test_a_tally_counts_many_values_as_it_counts_single_ones() -> None:
    values = np.array([0.0, 0.0004, 0.3, 0.3, 5.0, 1e9])
    one, many = Tally(b.VLLM_TTFT_S, b.FRONTEND_TTFT_S), Tally(b.VLLM_TTFT_S, b.FRONTEND_TTFT_S)
    for value in values:
        one.observe(float(value))
    many.observe_all(values)
    assert one.counts == many.counts
    assert one.count == len(values)
    assert one.buckets(b.FRONTEND_TTFT_S)[0] == ("0.0", 1.0)


def test_token_counts_end_at_the_context() -> None:
    assert b.token_counts(20_000)[-3:] == (5000, 10_000, 20_000)
    assert b.token_counts(4096)[-1] == 2000
