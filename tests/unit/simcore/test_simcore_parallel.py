"""Step times and memory of engines larger than one tensor-parallel group."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from contracts.engine import EngineLimits, SglangScheduling, Speculation, VllmScheduling
from contracts.errors import InputError, UnsupportedError
from contracts.model import Dtype
from contracts.plan import EngineSpec, Fabric
from contracts.ports import PrefillChunk
from simcore.perf import MemoryRequest, architecture, gpu_spec, kv_blocks_for, roofline

DEEPSEEK = "deepseek-ai/DeepSeek-R1"
QWEN_MOE = "Qwen/Qwen3-235B-A22B"


def spec(model: str = DEEPSEEK, sku: str = "h200_sxm", **changes: Any) -> EngineSpec:
    base: dict[str, Any] = {
        "tp": 8, "weight_dtype": Dtype.FP8, "kv_dtype": Dtype.BF16, "limits": EngineLimits(),
        "scheduling": SglangScheduling(),
    }  # fmt: skip
    return EngineSpec(model=architecture(model), gpu=gpu_spec(sku), **{**base, **changes})


def decode_ms(engine: EngineSpec, requests: int = 32, context: int = 2000) -> float:
    return roofline(engine).mixed_step_fs(requests, requests * context, []) / 1e12


def prefill_ms(engine: EngineSpec, tokens: int = 4096) -> float:
    return roofline(engine).mixed_step_fs(0, 0, [PrefillChunk(tokens, 0)]) / 1e12


def test_attention_ranks_share_the_experts_and_nothing_else() -> None:
    """The same 256 requests on 8 GPUs: DEP reads less KV cache for each than TEP."""
    tep = spec(tp=8, ep=8)
    dep = spec(tp=1, dp=8, ep=8)
    assert decode_ms(dep, 32, 8000) < decode_ms(tep, 256, 8000)
    one_rank = {"model": tep.model, "gpu": tep.gpu, "weight_dtype": Dtype.FP8}
    room = {
        name: kv_blocks_for(MemoryRequest(**one_rank, tp=engine.tp, dp=engine.dp)) * engine.dp
        for name, engine in (("tep", tep), ("dep", dep))
    }
    assert 4 * room["tep"] < room["dep"], "latent entries lie on every GPU of a tensor group"


def test_more_requests_wake_more_experts_until_all_are_awake() -> None:
    model = architecture(QWEN_MOE)
    times = [decode_ms(spec(QWEN_MOE), n, 10) for n in (1, 4, 16, 64, 256)]
    assert times == sorted(times)
    assert times[3] - times[0] > 3.0, "one token wakes 8 of 128 experts, 64 nearly all"
    all_gib = model.expert_elements / 2**30
    assert times[3] > all_gib / 8 / 4.8e12 * 2**30 * 1e3
    active_gib = 8 * model.moe_layers * 3 * model.hidden * model.expert_intermediate / 2**30
    assert times[0] > active_gib / 8 / 4.8e12 * 2**30 * 1e3, "never below the bytes of 8 experts"


@pytest.mark.parametrize("model", [DEEPSEEK, QWEN_MOE])
def test_pipeline_stages_trade_latency_for_memory(model: str) -> None:
    flat, staged = spec(model, tp=8, pp=1), spec(model, tp=8, pp=2)
    assert staged.gpus == 16
    one = {"model": flat.model, "gpu": flat.gpu, "tp": 8, "weight_dtype": Dtype.FP8}
    small, large = (MemoryRequest(**one, pp=pp) for pp in (1, 2))
    assert large.weights_gib == pytest.approx(small.weights_gib / 2)
    assert large.kv_bytes_per_token == pytest.approx(small.kv_bytes_per_token / 2)
    assert 0.5 * prefill_ms(flat, 8192) < prefill_ms(staged, 8192) < prefill_ms(flat, 8192)


def test_nodes_are_joined_slowly_and_slower_by_tcp() -> None:
    inside = spec(tp=1, dp=8, ep=8)
    across = spec(tp=1, dp=32, ep=32)
    by_tcp = dataclasses.replace(across, fabric=Fabric.TCP)
    far_ms = [prefill_ms(engine) for engine in (inside, across, by_tcp)]
    assert far_ms[0] < far_ms[1] < far_ms[2]
    assert far_ms[2] > 3 * far_ms[1], "the experts' tokens go over the network in every layer"
    rack = [prefill_ms(spec(sku="gb200_sxm", tp=1, dp=d, ep=d)) for d in (8, 32)]
    assert rack[1] / rack[0] < far_ms[1] / far_ms[0], "an NVLink domain of 72 spans the nodes"


def test_speculation_shortens_the_time_of_a_token() -> None:
    plain = spec()
    good = dataclasses.replace(plain, speculation=Speculation(acceptance_ratios=(0.9, 0.8)))
    bad = dataclasses.replace(plain, speculation=Speculation(acceptance_ratios=(0.0, 0.0)))
    assert decode_ms(good, 4) < 0.75 * decode_ms(plain, 4)
    assert decode_ms(bad, 4) > decode_ms(plain, 4), "wasted proposals cost time"


def test_four_bits_need_a_gpu_that_computes_them() -> None:
    b200 = spec(sku="b200_sxm")
    small = dataclasses.replace(b200, weight_dtype=Dtype.FP4)
    assert decode_ms(small) < decode_ms(b200)
    assert prefill_ms(small, 8192) < prefill_ms(b200, 8192)
    with pytest.raises(UnsupportedError, match="h200_sxm has no 4-bit"):
        roofline(spec(weight_dtype=Dtype.FP4))


def test_experts_stored_in_four_bits_are_widened_where_the_gpu_cannot_compute_them() -> None:
    oss = spec("openai/gpt-oss-120b", tp=1, weight_dtype=Dtype.BF16)
    request = MemoryRequest(model=oss.model, gpu=oss.gpu, tp=1)
    assert 60 < request.weights_gib < 70, "not 217 GiB"
    assert kv_blocks_for(request) > 10_000
    wide_model = dataclasses.replace(oss.model, expert_dtype=None)
    wide = dataclasses.replace(oss, model=wide_model)
    assert decode_ms(oss, 16) < 0.6 * decode_ms(wide, 16), "a quarter of the bytes is read"


def test_layers_with_a_window_read_a_bounded_context() -> None:
    oss = spec("openai/gpt-oss-120b", tp=1, weight_dtype=Dtype.BF16)
    whole = dataclasses.replace(oss.model, sliding_layers=0)
    slope = roofline(oss).decode_cost(4).slope_fs
    assert slope == pytest.approx(
        roofline(dataclasses.replace(oss, model=whole)).decode_cost(4).slope_fs / 2, rel=1e-3
    )


def test_a_hidden_host_costs_nothing_while_the_gpu_is_slower() -> None:
    model = "meta-llama/Llama-3.1-70B"
    hidden = spec(model, tp=4, weight_dtype=Dtype.BF16, scheduling=VllmScheduling())
    shown = dataclasses.replace(hidden, scheduling=VllmScheduling(async_scheduling=False))
    assert 0.5 < decode_ms(shown) - decode_ms(hidden) < 6.0


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"tp": 16}, "tp"),
        ({"pp": 0}, "pp"),
        ({"pp": 62}, "pp"),
        ({"dp": 0}, "dp"),
        ({"tp": 8, "ep": 4}, "ep"),
        ({"tp": 1, "dp": 6, "ep": 6}, "ep"),
        ({"model": "Qwen/Qwen3-32B", "tp": 1, "dp": 2}, "dp"),
    ],
)
def test_sizes_that_no_engine_has_are_refused(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(InputError, match=f"^{path}: "):
        roofline(spec(**changes))


def test_one_replica_spans_at_most_four_nodes() -> None:
    roofline(spec(tp=8, pp=4))
    with pytest.raises(InputError, match="spans too many nodes"):
        roofline(spec(tp=8, pp=5))
