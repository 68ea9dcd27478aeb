"""Engine settings of benchmarks that state none in the tables but whose scripts are public.

Read in ai-dynamo/aiconfigurator, generator rules of January to April 2026, and in
SemiAnalysisAI/InferenceX, ``benchmarks/`` of November 2025 to April 2026.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.accuracy.sources import release

# What vLLM takes on GPUs with 70 GiB and more.
VLLM_BUDGET = 8192
_TRTLLM_BUDGETS = {"openai/gpt-oss-120b": 20_000, "meta-llama/Llama-3.1-70B": 16_384}


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedEngine:
    """What a benchmark's scripts say of the scheduler.

    Attributes:
        budget: tokens of one step, with SGLang those of one prompt chunk.
        prefill_tokens: prompt tokens that one step of SGLang may admit.
        mixed: SGLang decodes beside prompt chunks.
    """

    budget: int
    prefill_tokens: int = 16_384
    mixed: bool = False


def stated_engine(
    row: dict[str, str], workload: str, isl: int, concurrency: int
) -> StatedEngine | None:
    """Settings of the engine that a row of the tables was measured on, if they are known."""
    if "gap-analysis" in workload:
        return _generated(row["backend"], isl, concurrency)
    if workload.startswith("InferenceX"):
        return _inference_x(row, isl, concurrency)
    return None


def _generated(backend: str, isl: int, concurrency: int) -> StatedEngine:
    """AIConfigurator's generator: SGLang mixes; a step has room for one prompt and the decodes.

    The rules for vLLM and TensorRT-LLM are batch + ISL + a margin of 500 or 1500, with
    TensorRT-LLM without splitting prompts. Two prompts of up to 1500 tokens would fit into one
    step then; the measured TTFTs are those of one, with both, so the margin is left out.
    """
    if backend == "sglang":
        return StatedEngine(budget=8192, prefill_tokens=isl + 1500, mixed=True)
    return StatedEngine(budget=concurrency + isl)


def _inference_x(row: dict[str, str], isl: int, concurrency: int) -> StatedEngine | None:
    model, backend = row["model"], row["backend"]
    blackwell = row["gpu_sku"].startswith("B")
    if backend == "trtllm":
        needed = -(-(concurrency + isl + 64) // 64) * 64
        return StatedEngine(budget=_TRTLLM_BUDGETS.get(model, needed))
    if backend == "vllm":
        recent = (release(row["backend_version"]) or (0, 0)) >= (0, 19)
        doubled = recent and blackwell and model.startswith("MiniMaxAI/")
        return StatedEngine(budget=2 * isl if doubled else VLLM_BUDGET)
    if row["precision"] == "fp4":
        return StatedEngine(budget=16_384)
    tokens = 8192 if blackwell and row["tp"] == "4" else 32_768
    return StatedEngine(budget=tokens, prefill_tokens=tokens)
