"""What the words of the measured data mean: GPUs, number types, lengths, metrics."""

from __future__ import annotations

import re
from enum import StrEnum

from contracts.hardware import GpuSpec
from contracts.model import Dtype, ModelArchitecture
from simcore.perf import gpu_spec

GPUS = {
    "A100-SXM4-80GB": "a100_sxm",
    "H100-SXM5-80GB": "h100_sxm",
    "H200-SXM-141GB": "h200_sxm",
    "L40S": "l40s",
    "B200-SXM-180GB": "b200_sxm",
    "B300-SXM-270GB": "b300_sxm",
    "GB200-NVL72": "gb200_sxm",
}
_SIXTEEN_BITS = ("bf16", "fp16", "fp16/bf16", "unstated(bf16 by model id)")
# Names that say nothing about numbers, of models that are published in 8 bits.
_EIGHT_BIT_MODELS = ("deepseek-ai/DeepSeek-", "MiniMaxAI/")
BACKENDS = ("vllm", "sglang", "trtllm")
# Figures in order of preference; the statistic is compared with the same one.
LATENCIES = {
    "ttft_ms": ("ttft_p50", "ttft_mean", "ttft_mean_or_median", "ttft_bs1"),
    "itl_ms": ("tpot_p50", "tpot_mean", "tpot_mean_or_median", "itl_p50", "itl_mean"),
    "e2e_ms": ("e2e_p50", "e2e_mean", "batch_e2e_latency"),
    "tokens_per_s": ("output_throughput",),
}
_PROMPTS = re.compile(r"\bn=(\d+)|--num-prompts (\d+)|num_requests=(\d+)|(\d+) prompts")
_OPTION = re.compile(r"(max[_-]num[_-]batched[_-]tokens|max[_-]num[_-]seqs|max_model_len)[= ](\d+)")


class Spread(StrEnum):
    """How the lengths of a benchmark's requests are spread."""

    FIXED = "fixed"
    UPPER_FIFTH = "uniform0.8-1.0"
    UNIFORM = "uniform"
    CHAT = "sharegpt"


def weight_dtype(precision: str, model: ModelArchitecture, gpu: GpuSpec) -> Dtype | None:
    """Type of the weights, experts aside; ``None`` for one that cannot be replayed."""
    if model.expert_dtype is not None:
        return Dtype.BF16
    if precision in _SIXTEEN_BITS:
        return Dtype.BF16
    if precision == "unstated":
        precision = "fp8" if model.model_id.startswith(_EIGHT_BIT_MODELS) else "bf16"
    if precision == "bf16":
        return Dtype.BF16
    if precision == "fp8" and gpu.fp8_tflops:
        return Dtype.FP8
    if precision == "fp4" and gpu.fp4_tflops:
        return Dtype.FP4
    return None


def spread(text: str) -> Spread:
    """Spread of lengths; lengths that are nearly fixed count as fixed."""
    return Spread(text) if text in list(Spread) else Spread.FIXED


def overlaps(backend: str, version: str, options: str) -> bool:
    """Whether this engine version prepares the next step while the GPU works.

    vLLM does so by default since 0.14 and on request before; TensorRT-LLM since its
    PyTorch engine (1.0); SGLang in all versions of the data. Offline benchmarks without a
    version are of 2024.
    """
    found = release(version)
    if backend == "vllm":
        return "--async-scheduling" in options or (found is not None and found >= (0, 14))
    if backend == "trtllm":
        return found is None or found >= (0, 18)
    return True


def release(version: str) -> tuple[int, int] | None:
    """Major and minor number of an engine; ``None`` where a source states none."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else None


def prompts(workload: str) -> int | None:
    """Requests of the whole benchmark where its description names them."""
    found = _PROMPTS.search(workload)
    return int(next(filter(None, found.groups()))) if found else None


def options(text: str) -> dict[str, int]:
    """Engine limits in a list of options or a command line, by their vLLM names."""
    return {name.replace("-", "_"): int(value) for name, value in _OPTION.findall(text)}


def gpu_of(text: str) -> GpuSpec | None:
    """Bundled facts of a GPU of the data."""
    name = GPUS.get(text)
    return gpu_spec(name) if name else None
