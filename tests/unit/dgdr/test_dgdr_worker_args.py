"""Command lines of workers: what is honoured, ignored and refused, and the way back."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from contracts.engine import (
    Backend,
    CapacityPolicy,
    EngineLimits,
    QueuePolicy,
    SglangScheduling,
    TrtllmScheduling,
    VllmScheduling,
)
from contracts.errors import InputError, UnsupportedError
from contracts.model import Dtype
from contracts.plan import EngineSpec, Role
from dgdr.deployment.engine_args import WorkerArgs, engine_args
from dgdr.enums import ServingBackend
from dgdr.worker_args import read_worker_args
from simcore.perf import architecture, backend_defaults, engine_from_settings, gpu_spec

VLLM, SGLANG, TRTLLM = ServingBackend.VLLM, ServingBackend.SGLANG, ServingBackend.TRTLLM
MOE = architecture("Qwen/Qwen3-235B-A22B")
H200 = gpu_spec("h200_sxm")


def engine(backend: ServingBackend, **changes: object) -> EngineSpec:
    scheduling = {
        VLLM: VllmScheduling(queue=QueuePolicy.PRIORITY, async_scheduling=False),
        SGLANG: SglangScheduling(
            queue=QueuePolicy.LONGEST_PREFIX, conservativeness=0.3, mixed_chunk=True,
            chunked_prefill_tokens=4096, max_prefill_tokens=9000, overlap=False,
        ),
        TRTLLM: TrtllmScheduling(capacity=CapacityPolicy.MAX_UTILIZATION),
    }[backend]  # fmt: skip
    limits = EngineLimits(
        max_num_seqs=64, max_num_batched_tokens=4096, block_size_tokens=32,
        kv_blocks_total=5000, max_model_len=40_960, prefix_caching=False,
    )  # fmt: skip
    spec = EngineSpec(
        model=MOE, gpu=H200, tp=4, pp=2, dp=1, ep=4, weight_dtype=Dtype.BF16,
        kv_dtype=Dtype.FP8, limits=limits, scheduling=scheduling,
    )  # fmt: skip
    return replace(spec, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", [VLLM, SGLANG, TRTLLM])
@pytest.mark.parametrize("sizes", [{}, {"tp": 2, "dp": 4, "ep": 8}, {"tp": 8, "pp": 1, "ep": 1}])
def test_what_is_written_is_read_back(backend: ServingBackend, sizes: dict[str, int]) -> None:
    if backend is TRTLLM and "dp" in sizes:
        sizes = {"tp": 1, "dp": 8, "ep": 8}
    spec = engine(backend, **sizes)
    worker = WorkerArgs(
        backend=backend, role=Role.AGG, engine=spec, model_path="m", served_name="m"
    )
    settings = read_worker_args(backend, engine_args(worker))
    assert settings.model == "m"
    # Arguments name neither the context length nor the blocks that fit.
    settings = replace(settings, kv_tokens=5000 * 32, max_model_len=40_960)
    assert engine_from_settings(settings, model=MOE, gpu=H200) == spec


@pytest.mark.parametrize("role", [Role.PREFILL, Role.DECODE])
@pytest.mark.parametrize("backend", [VLLM, SGLANG, TRTLLM])
def test_roles_are_read_back(backend: ServingBackend, role: Role) -> None:
    worker = WorkerArgs(
        backend=backend, role=role, engine=engine(backend), model_path="m", served_name="m"
    )  # fmt: skip
    settings = read_worker_args(backend, engine_args(worker))
    assert settings.role is role
    assert settings.overlap is (backend is TRTLLM and role is Role.DECODE)


def test_spellings_and_units_of_vllm() -> None:
    args = ["--model=x", "-tp", "2", "--max-model-len", "32k", "--num_gpu_blocks_override", "100",
            "--block-size=64", "--quantization", "fp8", "--async-scheduling"]  # fmt: skip
    settings = read_worker_args(VLLM, args)
    assert (settings.model, settings.tp, settings.max_model_len) == ("x", 2, 32_000)
    assert settings.kv_tokens == 6400
    assert settings.weight_dtype is Dtype.FP8
    assert settings.overlap
    last = read_worker_args(VLLM, [*args, "--max-model-len", "8K"])
    assert last.max_model_len == 8192, "the last one counts"


def test_sglang_counts_all_gpus_and_all_ranks() -> None:
    args = ["--tp", "8", "--dp", "4", "--enable-dp-attention", "--max-running-requests", "64",
            "--chunked-prefill-size", "16384", "--ep-size", "8"]  # fmt: skip
    settings = read_worker_args(SGLANG, args)
    assert (settings.tp, settings.dp, settings.expert_parallel) == (2, 4, True)
    assert (settings.max_num_seqs, settings.max_num_batched_tokens) == (16, 4096)
    assert read_worker_args(SGLANG, ["--chunked-prefill-size", "-1"]).chunked_prefill is False


def test_trtllm_options_as_json() -> None:
    config = {
        "enable_attention_dp": True,
        "kv_cache_config": {"free_gpu_memory_fraction": 0.7, "dtype": "fp8"},
        "scheduler_config": {"capacity_scheduler_policy": "MAX_UTILIZATION"},
    }
    args = ["--tensor-parallel-size", "4", "--override-engine-args", json.dumps(config)]
    settings = read_worker_args(TRTLLM, args)
    assert (settings.tp, settings.dp) == (1, 4)
    assert settings.memory_ratio == 0.7
    assert settings.kv_dtype is Dtype.FP8
    assert settings.capacity is CapacityPolicy.MAX_UTILIZATION


@pytest.mark.parametrize(
    ("backend", "args", "name"),
    [
        (VLLM, ["--enforce-eager"], "--enforce-eager"),
        (VLLM, ["--cpu-offload-gb", "10"], "--cpu-offload-gb"),
        (VLLM, ["--quantization", "awq"], "awq"),
        (SGLANG, ["--disable-cuda-graph"], "--disable-cuda-graph"),
        (SGLANG, ["--schedule-policy", "random"], "random"),
        (SGLANG, ["--dp", "2", "--tp", "2"], "--data-parallel-size"),
        (SGLANG, ["--tp", "8", "--ep", "4"], "--expert-parallel-size"),
        (TRTLLM, ["--extra-engine-args", "f.yaml"], "--extra-engine-args"),
    ],
)
def test_what_is_not_modelled_is_refused_by_name(
    backend: ServingBackend, args: list[str], name: str
) -> None:
    with pytest.raises(UnsupportedError, match=name):
        read_worker_args(backend, args)


@pytest.mark.parametrize(
    ("backend", "args", "path"),
    [
        (VLLM, ["--speed", "9"], "--speed"),
        (VLLM, ["--max-num-seqs"], "--max-num-seqs"),
        (VLLM, ["--max-num-seqs", "0"], "--max-num-seqs"),
        (VLLM, ["--max-num-seqs", "many"], "--max-num-seqs"),
        (VLLM, ["--gpu-memory-utilization", "1.2"], "--gpu-memory-utilization"),
        (VLLM, ["--enable-prefix-caching=yes"], "--enable-prefix-caching"),
        (VLLM, ["--speculative-config", "{"], "--speculative-config"),
        (VLLM, ["--speculative-config", '{"num_speculative_tokens": "2"}'], "num_speculative"),
        (VLLM, ["model"], "model"),
        (SGLANG, ["--schedule-policy", "best"], "--schedule-policy"),
        (SGLANG, ["--tp", "4", "--dp", "3", "--enable-dp-attention"], "--data-parallel-size"),
        (TRTLLM, ["--override-engine-args", '{"a": {"b": 1}}'], r"--override-engine-args\.a\.b"),
        (TRTLLM, ["--trtllm.enable_chunked_prefill", "maybe"], "enable_chunked_prefill"),
    ],
)
def test_bad_options_are_named(backend: ServingBackend, args: list[str], path: str) -> None:
    with pytest.raises(InputError, match=path):
        read_worker_args(backend, args)


def test_silence_means_the_documented_defaults() -> None:
    model = architecture("Qwen/Qwen3-8B")
    bare = {
        backend: engine_from_settings(read_worker_args(backend, []), model=model, gpu=H200)
        for backend in (VLLM, SGLANG, TRTLLM)
    }
    limits = {backend: spec.limits for backend, spec in bare.items()}
    assert [limits[b].block_size_tokens for b in (VLLM, SGLANG, TRTLLM)] == [16, 1, 32]
    assert [limits[b].max_num_batched_tokens for b in (VLLM, SGLANG, TRTLLM)] == [8192] * 3
    assert [limits[b].chunked_prefill for b in (VLLM, SGLANG, TRTLLM)] == [True, True, False]
    assert all(one.prefix_caching and one.max_model_len == 40_960 for one in limits.values())
    assert bare[VLLM].scheduling == VllmScheduling()
    assert bare[SGLANG].scheduling == SglangScheduling()
    assert bare[TRTLLM].scheduling == TrtllmScheduling()
    small = gpu_spec("a100_sxm")
    assert backend_defaults(Backend.VLLM, small).max_num_batched_tokens == 2048
    assert backend_defaults(Backend.SGLANG, gpu_spec("l4")).max_num_batched_tokens == 2048


def test_memory_setting_decides_on_the_kv_cache() -> None:
    model = architecture("Qwen/Qwen3-32B")
    for backend, name in (
        (VLLM, "--gpu-memory-utilization"),
        (SGLANG, "--mem-fraction-static"),
        (TRTLLM, "--free-gpu-memory-fraction"),
    ):
        blocks = [
            engine_from_settings(
                read_worker_args(backend, [name, ratio]), model=model, gpu=H200
            ).limits.kv_blocks_total
            for ratio in ("0.6", "0.8")
        ]
        assert 0 < blocks[0] < blocks[1]


def test_speculation_needs_acceptance_ratios() -> None:
    settings = read_worker_args(VLLM, ["--speculative-config", '{"num_speculative_tokens": 2}'])
    model = architecture("Qwen/Qwen3-8B")
    with pytest.raises(InputError, match="acceptance"):
        engine_from_settings(settings, model=model, gpu=H200)
    spec = engine_from_settings(settings, model=model, gpu=H200, acceptance_ratios=(0.8, 0.6, 0.1))
    assert spec.speculation is not None
    assert spec.speculation.tokens_per_step == pytest.approx(1 + 0.8 + 0.48)
