"""Which layouts are tried for which models, and why others are refused."""

from __future__ import annotations

import pytest
from search_samples import Toy, request

from contracts.engine import Backend
from contracts.model import Dtype
from contracts.plan import Role
from profiler.core.candidates import enumerate_candidates, in_precision
from profiler.core.request import EngineChoice, Precision, Topology
from profiler.core.shapes import layouts, refusal, serves
from simcore.perf import architecture, gpu_spec

FP8 = Precision(weights=Dtype.FP8)
DENSE, GQA, MLA = "meta-llama/Llama-3.1-8B", "Qwen/Qwen3-235B-A22B", "deepseek-ai/DeepSeek-R1"


def shapes(model: str, backend: Backend = Backend.SGLANG, **changes) -> set[str]:
    wish = request(model=architecture(model), total_gpus=32, **changes)
    found = layouts(wish, backend, Precision(), 8192)
    return {choice.shape for choice in found if refusal(wish, choice) is None}


def reasons(model: str, **changes) -> dict[str, str]:
    wish = request(model=architecture(model), total_gpus=32, **changes)
    found = layouts(wish, Backend.SGLANG, wish.precision, 8192)
    return {choice.shape: why for choice in found if (why := refusal(wish, choice))}


def test_dense_models_stay_on_one_node() -> None:
    assert shapes(DENSE) == {"tp1", "tp2", "tp4", "tp8"}


def test_experts_are_sliced_or_spread_with_grouped_queries() -> None:
    found = shapes(GQA)
    assert {"tp8-moetp8", "tp8-moeep8", "tp1-dp8-moeep8", "tp1-dp32-moeep32"} <= found
    assert "tp4-dp2-moeep8" in found
    assert "tp8-pp2-moeep8" in found


def test_latent_attention_has_no_sliced_experts() -> None:
    found = shapes(MLA)
    assert not [shape for shape in found if "moetp" in shape]
    assert {"tp8-moeep8", "tp1-dp8-moeep8", "tp1-dp32-moeep32"} <= found


def test_backends_differ_in_their_largest_replica_and_mixed_layouts() -> None:
    assert not [shape for shape in shapes(MLA, Backend.VLLM) if "dp32" in shape]
    trtllm = shapes(MLA, Backend.TRTLLM)
    assert "tp1-dp16-moeep16" in trtllm
    assert "tp4-dp2-moeep8" not in trtllm


def test_pipeline_stages_are_for_slow_links_and_several_nodes() -> None:
    assert "tp2-pp2" not in shapes(DENSE)
    assert "tp2-pp2" in shapes(DENSE, gpu=gpu_spec("l40s"))
    assert "slow links" in reasons(DENSE)["tp2-pp2"]
    stage = EngineChoice(tp=8, pp=2, max_num_batched_tokens=8192)
    assert serves(stage, Role.AGG)
    assert not serves(stage, Role.DECODE)


@pytest.mark.parametrize(
    ("model", "changes", "shape", "reason"),
    [
        (DENSE, {"gpus_per_node": 16}, "tp16", "fewer than 4 attention heads"),
        ("Qwen/Qwen2.5-7B-Instruct", {}, "tp8", "28 heads and 4 KV heads do not divide by 8"),
        ("zai-org/GLM-4.6", {}, "tp1-dp32-moeep32", None),
        ("zai-org/GLM-4.5-Air", {"isl": 140_000}, "tp8-moeep8", "context is 131072 tokens"),
        ("MiniMaxAI/MiniMax-M2", {"precision": FP8}, "tp8-moetp8-fp8",
         "an expert of width 1536 over 8 GPUs breaks fp8 blocks of 128"),
    ],
)  # fmt: skip
def test_rules(model, changes, shape, reason) -> None:
    found = reasons(model, **changes)
    assert (reason is None and shape not in found) or reason in found[shape]


def test_labels_are_injective_and_name_all_parallel_sizes() -> None:
    wish = request(
        model=architecture(GQA), total_gpus=32, variants=(Precision(kv=Dtype.FP8), FP8),
        step_tokens={Backend.VLLM: (8192, 2048), Backend.SGLANG: (16_384, 2048)},
    )  # fmt: skip
    found = enumerate_candidates(wish, Toy())
    labels = [candidate.label for candidate in found.candidates]
    assert len(set(labels)) == len(labels) > 300
    assert "agg-vllm-tp8-moeep8-kvfp8-chunk2048" in labels
    assert "disagg-sglang-prefill-tp4-moetp4-decode-tp1-dp8-moeep8" in labels
    assert all(sum(e.gpus for e in c.engines.values()) <= 32 for c in found.candidates)


def test_every_rejection_keeps_its_reason() -> None:
    found = enumerate_candidates(request(isl=19_950), Toy())
    assert {r.reason for r in found.rejections if r.label == "vllm-tp1-chunk8192"} == {
        "KV cache holds 20000 tokens, one request needs 20050"
    }
    found = enumerate_candidates(request(), Toy(fits=False))
    assert all(e.tp > 1 for c in found.candidates for e in c.engines.values())
    assert [r for r in found.rejections if r.reason.startswith("3.5 GiB too little")]
    too_many = [r for r in found.rejections if r.topology is Topology.DISAGG]
    assert too_many[0].reason == "needs 10 GPUs, 8 allowed"


def test_topologies_can_be_left_out() -> None:
    found = enumerate_candidates(request(topologies=(Topology.AGG,)), Toy())
    assert {candidate.topology for candidate in found.candidates} == {Topology.AGG}


def test_the_same_layout_in_another_precision() -> None:
    found = enumerate_candidates(request(), Toy()).candidates
    for candidate in (found[0], found[-1]):
        other = in_precision(candidate, FP8)
        assert "fp8" in other.label
        assert in_precision(other, Precision()) == candidate
