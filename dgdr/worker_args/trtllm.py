"""Options of ``python3 -m dynamo.trtllm``, with its dotted and JSON engine options."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from contracts.engine import Backend, CapacityPolicy
from contracts.errors import InputError, UnsupportedError
from contracts.settings import EngineSettings
from dgdr.worker_args import parse
from dgdr.worker_args.parse import Option
from dgdr.worker_args.vllm import ROLES

_CAPACITY = parse.one_of(
    guaranteed_no_evict=CapacityPolicy.GUARANTEED_NO_EVICT,
    max_utilization=CapacityPolicy.MAX_UTILIZATION,
)
_ENGINE = {
    "tensor_parallel_size": Option("gpus", parse.tokens),
    "pipeline_parallel_size": Option("pp", parse.tokens),
    "moe_expert_parallel_size": Option("ep", parse.tokens),
    "enable_attention_dp": Option("attention_dp", parse.boolean),
    "max_batch_size": Option("max_num_seqs", parse.tokens),
    "max_num_tokens": Option("max_num_batched_tokens", parse.tokens),
    "max_seq_len": Option("max_model_len", parse.tokens),
    "enable_chunked_prefill": Option("chunked_prefill", parse.boolean),
    "disable_overlap_scheduler": Option("no_overlap", parse.boolean),
    "kv_cache_config.free_gpu_memory_fraction": Option("memory_ratio", parse.ratio),
    "kv_cache_config.tokens_per_block": Option("block_size_tokens", parse.tokens),
    "kv_cache_config.dtype": Option("kv_dtype", parse.kv_cache),
    "kv_cache_config.enable_block_reuse": Option("prefix_caching", parse.boolean),
    "kv_cache_config.max_tokens": Option("kv_tokens", parse.tokens),
    "scheduler_config.capacity_scheduler_policy": Option("capacity", _CAPACITY),
    "speculative_config.num_nextn_predict_layers": Option("speculative_tokens", parse.tokens),
    "speculative_config.max_draft_len": Option("speculative_tokens", parse.tokens),
    "speculative_config.decoding_type": Option(convert=str),
    "cuda_graph_config.max_batch_size": Option(convert=str),
    "cuda_graph_config.enable_padding": Option(convert=str),
    "cuda_graph_config.batch_sizes": Option(convert=str),
    "cache_transceiver_config.backend": Option(convert=str),
    "cache_transceiver_config.max_tokens_in_buffer": Option(convert=str),
    "print_iter_log": Option(convert=str),
    "trust_remote_code": Option(convert=str),
    "backend": Option(convert=str),
}
_REFUSED = {
    "--max-beam-width": "beam search is not modelled",
    "--extra-engine-args": "a file in the container cannot be read here; put its content into "
    "--override-engine-args",
}
OPTIONS = parse.Options(
    {
        **{f"--trtllm.{path}": option for path, option in _ENGINE.items()},
        "--tensor-parallel-size": _ENGINE["tensor_parallel_size"],
        "--pipeline-parallel-size": _ENGINE["pipeline_parallel_size"],
        "--expert-parallel-size": _ENGINE["moe_expert_parallel_size"],
        "--enable-attention-dp": Option("attention_dp"),
        "--max-batch-size": _ENGINE["max_batch_size"],
        "--max-num-tokens": _ENGINE["max_num_tokens"],
        "--max-seq-len": _ENGINE["max_seq_len"],
        "--kv-block-size": _ENGINE["kv_cache_config.tokens_per_block"],
        "--free-gpu-memory-fraction": _ENGINE["kv_cache_config.free_gpu_memory_fraction"],
        "--model-path": Option("model", str),
        "--model": Option("model", str),
        "--disaggregation-mode": Option(
            "role", parse.one_of(**ROLES, prefill_and_decode=ROLES["agg"])
        ),
        "--override-engine-args": Option("engine", parse.as_json),
    },
    flags=("--publish-events-and-metrics", "--trust-remote-code"),
    values=(
        "--served-model-name", "--tokenizer", "--modality", "--dyn-tool-call-parser",
        "--dyn-reasoning-parser", "--reasoning-parser", "--disaggregation-strategy",
        "--encode-endpoint", "--endpoint", "--host", "--port", "--seed",
    ),
    refused=_REFUSED,
)  # fmt: skip


def read_trtllm(args: Sequence[str]) -> EngineSettings:
    """See :func:`dgdr.worker_args.read_worker_args`.

    With attention data parallelism every GPU of the replica is a rank of its own.
    """
    found = OPTIONS.read(args)
    found |= _engine_options(found.pop("engine", {}))
    gpus = found.pop("gpus", 1)
    ep = found.pop("ep", 1)
    if ep not in (1, gpus):
        raise UnsupportedError(f"--expert-parallel-size: only 1 or all {gpus} GPUs are modelled")
    found["expert_parallel"] = ep > 1
    found["tp"], found["dp"] = (1, gpus) if found.pop("attention_dp", False) else (gpus, 1)
    found["overlap"] = not found.pop("no_overlap", False)
    return EngineSettings(backend=Backend.TRTLLM, **found)


def _engine_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same options in the JSON object of ``--override-engine-args``."""
    flat = [
        word
        for path, value in _paths(config, "")
        for word in (f"--trtllm.{path}", value if isinstance(value, str) else json.dumps(value))
    ]
    try:
        return OPTIONS.read(flat)
    except InputError as error:
        path = (error.path or "").removeprefix("--trtllm.")
        raise InputError(
            error.message,
            path=f"--override-engine-args.{path}",
            value=error.value,
            allowed=error.allowed,
        ) from error


def _paths(config: Mapping[str, Any], above: str) -> list[tuple[str, Any]]:
    found = []
    for key, value in config.items():
        if isinstance(value, dict):
            found += _paths(value, f"{above}{key}.")
        else:
            found.append((f"{above}{key}", value))
    return found
