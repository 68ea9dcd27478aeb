import dataclasses
from collections.abc import Callable

import pytest

from contracts.errors import InfeasibleError, InputError, UnsupportedError
from contracts.hardware import Evidence
from contracts.model import Dtype
from contracts.plan import EngineSpec
from contracts.ports import PrefillChunk
from simcore.perf import (
    KNOWN_MODELS,
    KNOWN_SKUS,
    MemoryRequest,
    architecture,
    architecture_from_config,
    gpu_spec,
    kv_blocks_for,
    roofline,
)

LLAMA_8B = "meta-llama/Llama-3.1-8B"


@pytest.mark.parametrize(
    ("model_id", "billions"),
    [(LLAMA_8B, 8.03), ("meta-llama/Llama-3.1-70B", 70.55), ("Qwen/Qwen3-0.6B", 0.596),
     ("Qwen/Qwen3-8B", 8.19), ("Qwen/Qwen3-32B", 32.76), ("Qwen/Qwen3-30B-A3B", 30.5),
     ("Qwen/Qwen3-235B-A22B", 235.0), ("mistralai/Mixtral-8x7B-Instruct-v0.1", 46.7),
     ("openai/gpt-oss-120b", 116.8), ("deepseek-ai/DeepSeek-R1", 671.0)],
)  # fmt: skip
def test_parameter_counts_match_the_model_cards(model_id: str, billions: float) -> None:
    assert architecture(model_id).weight_elements / 1e9 == pytest.approx(billions, rel=0.01)


def test_kv_bytes_of_llama_70b() -> None:
    assert architecture("meta-llama/Llama-3.1-70B").kv_bytes_per_token(Dtype.BF16) == 327_680


def test_unknown_names_list_what_is_known() -> None:
    with pytest.raises(InputError, match="h100_sxm"):
        gpu_spec("h900")
    with pytest.raises(InputError, match=r"local config\.json"):
        architecture("nobody/nothing")
    assert {"h100_sxm", "h200_sxm", "a100_sxm", "l40s"} <= set(KNOWN_SKUS)
    assert LLAMA_8B in KNOWN_MODELS


def test_config_json_gives_the_bundled_architecture() -> None:
    config = {
        "num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14336,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
        "max_position_embeddings": 131072, "tie_word_embeddings": False,
    }  # fmt: skip
    assert architecture_from_config(LLAMA_8B, config) == architecture(LLAMA_8B)
    with pytest.raises(InputError, match="hidden_size"):
        architecture_from_config("x", {**config, "hidden_size": "4096"})
    with pytest.raises(InputError, match="num_experts_per_tok"):
        architecture_from_config("x", {**config, "num_experts": 8})
    with pytest.raises(InputError, match="qk_rope_head_dim"):
        architecture_from_config("x", {**config, "kv_lora_rank": 512})
    with pytest.raises(UnsupportedError, match="mamba"):
        architecture_from_config("x", {**config, "mamba_d_state": 128})


def test_config_json_of_a_latent_mixture_of_experts() -> None:
    config = {
        "num_hidden_layers": 61, "hidden_size": 7168, "intermediate_size": 18432,
        "num_attention_heads": 128, "num_key_value_heads": 128, "vocab_size": 129280,
        "max_position_embeddings": 163840, "tie_word_embeddings": False,
        "n_routed_experts": 256, "num_experts_per_tok": 8, "moe_intermediate_size": 2048,
        "n_shared_experts": 1, "first_k_dense_replace": 3, "q_lora_rank": 1536,
        "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128,
    }  # fmt: skip
    name = "deepseek-ai/DeepSeek-R1"
    assert architecture_from_config(name, config) == architecture(name)


def test_latent_attention_keeps_one_compressed_entry() -> None:
    deepseek = architecture("deepseek-ai/DeepSeek-V3")
    assert deepseek.kv_bytes_per_token(Dtype.BF16) == 61 * (512 + 64) * 2
    assert deepseek.kv_bytes_per_token(Dtype.FP8) == 61 * (512 + 64)


@pytest.mark.parametrize("sku", KNOWN_SKUS)
def test_decode_never_beats_the_weight_read_bound(
    sku: str, make_engine_spec: Callable[..., EngineSpec]
) -> None:
    engine = make_engine_spec(sku=sku)
    step_s = roofline(engine).mixed_step_fs(1, 1, []) / 1e15
    weights = (engine.model.weight_elements - engine.model.vocab * engine.model.hidden) * 2
    assert step_s > weights / (engine.gpu.memory_tbytes_per_s * 1e12)
    launches_s = 3e-3  # 32 layers of kernels and the host; they dominate on fast memory
    assert step_s < 1.6 * weights / (engine.gpu.memory_tbytes_per_s * 1e12) + launches_s


@pytest.mark.parametrize("sku", KNOWN_SKUS)
def test_prefill_never_beats_the_compute_bound(
    sku: str, make_engine_spec: Callable[..., EngineSpec]
) -> None:
    engine = make_engine_spec(sku=sku)
    step_s = roofline(engine).mixed_step_fs(0, 0, [PrefillChunk(4096, 0)]) / 1e15
    embeddings = 2 * engine.model.vocab * engine.model.hidden
    flops = 2 * (engine.model.weight_elements - embeddings) * 4096
    assert flops / (engine.gpu.bf16_tflops * 1e12) < step_s
    assert step_s < 2.5 * flops / (engine.gpu.bf16_tflops * 1e12)


def test_step_without_chunks_equals_the_decode_line(
    make_engine_spec: Callable[..., EngineSpec],
) -> None:
    timer = roofline(make_engine_spec(tp=2))
    for requests, context in ((1, 10), (7, 12_345), (256, 1_000_000)):
        cost = timer.decode_cost(requests)
        line = cost.base_fs + cost.slope_fs * context
        assert timer.mixed_step_fs(requests, context, []) == line


def test_a_fused_step_costs_less_than_its_parts_and_more_than_each(
    make_engine_spec: Callable[..., EngineSpec],
) -> None:
    timer = roofline(make_engine_spec())
    chunk = [PrefillChunk(512, 1024)]
    fused = timer.mixed_step_fs(64, 64_000, chunk)
    decode, prefill = timer.mixed_step_fs(64, 64_000, []), timer.mixed_step_fs(0, 0, chunk)
    assert max(decode, prefill) < fused < decode + prefill


def test_more_gpus_are_faster_but_not_linearly(
    make_engine_spec: Callable[..., EngineSpec],
) -> None:
    steps = [
        roofline(make_engine_spec("meta-llama/Llama-3.1-70B", tp=tp)).mixed_step_fs(32, 64_000, [])
        for tp in (2, 4, 8)
    ]
    assert steps[0] > steps[1] > steps[2]
    assert steps[0] / steps[2] < 4


def test_tensor_parallel_size_must_divide_the_heads(
    make_engine_spec: Callable[..., EngineSpec],
) -> None:
    with pytest.raises(InputError, match="must divide 32 heads"):
        roofline(make_engine_spec(tp=3))


def test_fp8_is_faster_and_evidence_is_told(make_engine_spec: Callable[..., EngineSpec]) -> None:
    engine = make_engine_spec()
    fp8 = dataclasses.replace(engine, weight_dtype=Dtype.FP8)
    assert roofline(fp8).mixed_step_fs(1, 1, []) < roofline(engine).mixed_step_fs(1, 1, [])
    assert roofline(engine).evidence is Evidence.CALIBRATED
    assert roofline(make_engine_spec(sku="l40s")).evidence is Evidence.ESTIMATED


def test_kv_capacity_and_the_model_that_does_not_fit() -> None:
    llama_70b, h200 = architecture("meta-llama/Llama-3.1-70B"), gpu_spec("h200_sxm")
    blocks = kv_blocks_for(MemoryRequest(model=llama_70b, gpu=h200, tp=4))
    room_bytes = blocks * 16 * 327_680 / 4
    assert 80 < room_bytes / 2**30 < 0.9 * 141 - 131.4 / 4
    with pytest.raises(InfeasibleError, match=r"\d+\.\d GiB too little on each GPU") as caught:
        kv_blocks_for(MemoryRequest(model=llama_70b, gpu=h200, tp=1))
    assert "GPU memory 141 GiB" in caught.value.binding_constraint


DGDR_SKUS = (
    "gb200_sxm", "b200_sxm", "h200_sxm", "h100_sxm", "h100_pcie", "a100_sxm", "a100_pcie", "l40s",
    "l40", "l4", "a30", "v100_sxm", "v100_pcie", "t4", "mi200", "mi300",
)  # fmt: skip


@pytest.mark.parametrize("sku", DGDR_SKUS)
def test_every_sku_of_the_dgdr_enum_has_facts_and_an_error_band(sku: str) -> None:
    gpu = gpu_spec(sku)
    assert gpu.sku == sku
    assert 0.1 <= gpu.error_ratio <= 0.5
    assert (gpu.evidence is Evidence.CALIBRATED) == (
        sku in ("a100_sxm", "b200_sxm", "h100_sxm", "h200_sxm")
    )
    if gpu.evidence is Evidence.ESTIMATED:
        assert gpu.error_ratio >= 0.4, "a borrowed coefficient is not worth more"
    kv_blocks_for(MemoryRequest(model=architecture("Qwen/Qwen3-0.6B"), gpu=gpu, tp=1))


def test_an_alias_has_the_facts_of_its_sku_under_its_own_name() -> None:
    assert gpu_spec("gb200") == dataclasses.replace(gpu_spec("gb200_sxm"), sku="gb200")


@pytest.mark.parametrize("sku", ["a100_sxm", "a100_pcie", "a30", "v100_sxm", "v100_pcie", "t4"])
@pytest.mark.parametrize("field", ["weight_dtype", "kv_dtype"])
def test_gpus_without_fp8_refuse_it(
    sku: str, field: str, make_engine_spec: Callable[..., EngineSpec]
) -> None:
    engine = dataclasses.replace(make_engine_spec(sku=sku), **{field: Dtype.FP8})
    with pytest.raises(UnsupportedError, match="no 8-bit floating point"):
        roofline(engine)


def test_faster_gpus_have_faster_steps(make_engine_spec: Callable[..., EngineSpec]) -> None:
    order = ("t4", "l4", "a30", "a100_sxm", "h100_sxm", "h200_sxm", "b200_sxm")
    steps = [roofline(make_engine_spec(sku=s)).mixed_step_fs(8, 8_000, []) for s in order]
    assert steps == sorted(steps, reverse=True)
