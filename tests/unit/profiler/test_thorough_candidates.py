"""Which engines are deployed, and what is left out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from thorough_samples import request, wish

from contracts.errors import InputError
from contracts.model import Dtype
from contracts.plan import Role
from profiler.core.request import PickMode
from profiler.thorough.candidates import engine_candidates
from profiler.thorough.prune import dominated, hopeless
from profiler.thorough.wish import wish_of
from simcore.perf import roofline

DEEPSEEK = "deepseek-ai/DeepSeek-R1"
NODES = "{gpuSku: h200_sxm, numGpusPerNode: 8, totalGpus: 32}"


def labels(found):
    return [candidate.label for candidate in found]


def test_dense_engines_stay_on_one_node_and_within_the_budget():
    found, refused = engine_candidates(wish(hardware="{gpuSku: l40s, totalGpus: 4}"))
    assert labels(found) == ["tp1", "tp2", "tp4"]
    assert [(r.label, r.reason) for r in refused] == [("tp8", "needs 8 GPUs, 4 allowed")]
    assert all(c.engine.gpus == c.shape.gpus for c in found)


def test_small_models_keep_four_heads_on_a_gpu_and_large_ones_must_fit():
    small = wish(model="Qwen/Qwen3-0.6B", hardware="{gpuSku: h200_sxm, totalGpus: 8}")
    found, refused = engine_candidates(small)
    assert labels(found) == ["tp1", "tp2", "tp4"]
    assert "fewer than 4 attention heads" in refused[0].reason
    large = wish(model="meta-llama/Llama-3.1-70B-Instruct")
    found, refused = engine_candidates(large)
    assert "does not fit" in next(r.reason for r in refused if r.label == "tp1")
    long = wish(workload="{isl: 40000, osl: 5000}")
    assert "context is 40960" in engine_candidates(long)[1][0].reason


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        ("vllm", ["tp1-dp16-moeep16", "tp16-moeep16"]),
        ("sglang", ["tp1-dp16-moeep16", "tp16-moeep16", "tp1-dp32-moeep32", "tp32-moeep32"]),
        ("trtllm", ["tp1-dp16-moeep16", "tp16-moeep16", "tp1-dp32-moeep32", "tp32-moeep32"]),
    ],
)
def test_mixtures_of_experts_span_nodes_as_their_backend_can(backend, expected):
    found, _ = engine_candidates(wish(model=DEEPSEEK, backend=backend, hardware=NODES))
    assert [label for label in labels(found) if "16" in label or "32" in label] == expected
    assert all(c.shape.family in ("tep", "dep") for c in found)
    assert all(c.engine.ep == c.shape.moe_ep for c in found)


def test_quantised_experts_are_cut_in_whole_blocks():
    plain = wish(model="Qwen/Qwen3-30B-A3B", hardware=NODES)
    found, _ = engine_candidates(plain)
    assert "tp4-moetp4" in labels(found)
    _, refused = engine_candidates(replace(plain, weight_dtype=Dtype.FP8))
    reasons = {r.label: r.reason for r in refused}
    assert "in blocks of 128" in reasons["tp4-moetp4"]


def test_the_request_decides_the_mode():
    assert wish().mode is PickMode.DEFAULT
    loaded = wish(workload="{isl: 500, osl: 20, requestRate: 2}")
    assert (loaded.mode, loaded.rate_per_s) == (PickMode.LOAD_MATCH, 2.0)
    scaled = wish(features="{planner: {enabled: true}}")
    assert scaled.mode is PickMode.AUTOSCALE
    with pytest.raises(InputError, match="backend"):
        wish_of(request(backend="auto"))


def test_hopeless_engines_are_not_deployed_but_one_always_is():
    plain = wish(sla="{ttft: 20, itl: 7}")
    found, _ = engine_candidates(plain)
    out = hopeless(found, plain, Role.DECODE, roofline)
    assert set(out) == {"tp1"}
    assert "times the target" in out["tp1"]
    impossible = replace(plain, sla=replace(plain.sla, ttft_ms=0.01, itl_ms=0.01))
    for role in Role:
        assert len(hopeless(found, impossible, role, roofline)) == len(found) - 1


def test_larger_sizes_are_left_out_once_throughput_falls_within_the_target():
    plain = wish()
    one, two, four = engine_candidates(plain)[0]
    assert dominated(four, [(one, 100.0, True), (two, 90.0, True)], plain) is not None
    assert dominated(four, [(one, 100.0, True), (two, 110.0, True)], plain) is None
    assert dominated(four, [(one, 100.0, False), (two, 90.0, True)], plain) is None
    quick = replace(plain, latency_first=True)
    assert dominated(four, [(one, 100.0, True), (two, 90.0, True)], quick) is None
