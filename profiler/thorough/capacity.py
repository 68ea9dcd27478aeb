"""KV capacity of a running engine: from its log, from metrics, else as planned.

Log patterns of section 8.5 of the DGDR reference; metric names of vLLM, SGLang and the Dynamo
frontend as their documentation gives them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from contracts.engine import Backend
from contracts.plan import EngineSpec
from profiler.thorough.candidates import kv_tokens_of

_VLLM = re.compile(r"Maximum concurrency for ([\d,.]+) tokens per request: ([\d,.]+) ?x")
_SGLANG = re.compile(r"KV Cache is allocated.*?#tokens: (\d+)")
_TRTLLM = re.compile(r"paged KV cache \((\d+)\)")


def kv_capacity(engine: EngineSpec, log: str, metrics: Iterable[str]) -> tuple[int, str]:
    """KV tokens of a replica and their source, ``log``, ``metrics`` or ``planned``.

    Args:
        engine: what was deployed.
        log: of the worker.
        metrics: texts of ``/metrics`` of the frontend or the worker.
    """
    found = from_log(engine.backend, log, engine.dp)
    if found:
        return found, "log"
    for text in metrics:
        found = from_metrics(text, engine.dp)
        if found:
            return found, "metrics"
    return kv_tokens_of(engine), "planned"


def from_log(backend: Backend, text: str, dp: int) -> int | None:
    """What an engine says at its start, ``None`` when it does not."""
    if backend is Backend.VLLM:
        said = _VLLM.search(text)
        return None if said is None else int(_number(said[1]) * _number(said[2])) * dp
    if backend is Backend.SGLANG:
        said = _SGLANG.search(text)
        return None if said is None else int(said[1]) * dp
    all_said = _TRTLLM.findall(text)
    return int(all_said[-1]) if all_said else None


def from_metrics(text: str, dp: int) -> int | None:
    """What an engine or the frontend exports, ``None`` when neither does."""
    samples: dict[str, list[Sample]] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples.setdefault(sample.name, []).append(sample)
    except ValueError:
        return None
    info = [
        int(s.labels["num_gpu_blocks"]) * int(s.labels["block_size"])
        for s in samples.get("vllm:cache_config_info", ())
        if s.labels.get("num_gpu_blocks", "").isdigit() and s.labels.get("block_size", "").isdigit()
    ]
    if info:
        return sum(info) if len(info) > 1 else info[0] * dp
    tokens = [int(s.value) for s in samples.get("sglang:max_total_num_tokens", ())]
    if tokens and tokens[0] > 0:
        return tokens[0] * dp
    blocks = samples.get("dynamo_frontend_model_total_kv_blocks", ())
    sizes = samples.get("dynamo_frontend_model_kv_cache_block_size", ())
    if blocks and sizes and blocks[0].value > 0:
        return int(blocks[0].value * sizes[0].value)
    return None


def _number(text: str) -> float:
    return float(text.replace(",", ""))
