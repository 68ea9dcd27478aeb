"""Engines of measured points whose settings only the benchmark's scripts tell."""

from __future__ import annotations

import pytest

from harness.accuracy.engines import StatedEngine, stated_engine

GENERATED = "NVIDIA internal gap-analysis, fixed length, closed loop"
INFERENCE_X = "InferenceX-style random, range-ratio 0.8, closed loop"
ROW = {
    "model": "MiniMaxAI/MiniMax-M2.5", "backend": "vllm", "backend_version": "0.19.0",
    "precision": "fp8", "gpu_sku": "B200-SXM-180GB", "tp": "4",
}  # fmt: skip


@pytest.mark.parametrize(
    ("workload", "row", "expected"),
    [
        (GENERATED, {}, StatedEngine(budget=1088)),
        (GENERATED, {"backend": "trtllm"}, StatedEngine(budget=1088)),
        (
            GENERATED,
            {"backend": "sglang"},
            StatedEngine(budget=8192, prefill_tokens=2524, mixed=True),
        ),
        (INFERENCE_X, {}, StatedEngine(budget=2048)),
        (INFERENCE_X, {"backend_version": "0.17.0"}, StatedEngine(budget=8192)),
        (INFERENCE_X, {"backend_version": "0.9.2"}, StatedEngine(budget=8192)),
        (INFERENCE_X, {"backend_version": "unstated"}, StatedEngine(budget=8192)),
        (INFERENCE_X, {"gpu_sku": "H200-SXM-141GB"}, StatedEngine(budget=8192)),
        (INFERENCE_X, {"model": "openai/gpt-oss-120b"}, StatedEngine(budget=8192)),
        (
            INFERENCE_X,
            {"backend": "trtllm", "model": "openai/gpt-oss-120b"},
            StatedEngine(budget=20_000),
        ),
        (
            INFERENCE_X,
            {"backend": "trtllm", "model": "deepseek-ai/DeepSeek-R1"},
            StatedEngine(budget=1152),
        ),
        (INFERENCE_X, {"backend": "sglang", "precision": "fp4"}, StatedEngine(budget=16_384)),
        (
            INFERENCE_X,
            {"backend": "sglang", "tp": "8"},
            StatedEngine(budget=32_768, prefill_tokens=32_768),
        ),
        (INFERENCE_X, {"backend": "sglang"}, StatedEngine(budget=8192, prefill_tokens=8192)),
        ("a lab of its own", {}, None),
    ],
)
def test_settings_are_those_of_the_scripts(
    workload: str, row: dict[str, str], expected: StatedEngine | None
) -> None:
    assert stated_engine({**ROW, **row}, workload, isl=1024, concurrency=64) == expected
