"""Options of ``python3 -m dynamo.vllm``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contracts.engine import Backend, QueuePolicy
from contracts.errors import InputError
from contracts.plan import Role
from contracts.settings import EngineSettings
from dgdr.worker_args import parse
from dgdr.worker_args.parse import Option

ROLES = {"agg": Role.AGG, "aggregated": Role.AGG, "prefill": Role.PREFILL, "decode": Role.DECODE}

_SIZES = {
    "--tensor-parallel-size": "tp",
    "-tp": "tp",
    "--pipeline-parallel-size": "pp",
    "-pp": "pp",
    "--data-parallel-size": "dp",
    "-dp": "dp",
    "--max-num-seqs": "max_num_seqs",
    "--max-num-batched-tokens": "max_num_batched_tokens",
    "--max-model-len": "max_model_len",
    "--block-size": "block_size_tokens",
    "--num-gpu-blocks-override": "blocks",
    "--max-loras": "adapters",
}
_KNOWN = {
    **{name: Option(key, parse.tokens) for name, key in _SIZES.items()},
    "--model": Option("model", str),
    "--enable-expert-parallel": Option("expert_parallel"),
    "-ep": Option("expert_parallel"),
    "--gpu-memory-utilization": Option("memory_ratio", parse.ratio),
    "--enable-chunked-prefill": Option("chunked_prefill"),
    "--no-enable-chunked-prefill": Option("chunked_prefill", value=False),
    "--enable-prefix-caching": Option("prefix_caching"),
    "--no-enable-prefix-caching": Option("prefix_caching", value=False),
    "--async-scheduling": Option("overlap"),
    "--no-async-scheduling": Option("overlap", value=False),
    "--scheduling-policy": Option(
        "queue", parse.one_of(fcfs=QueuePolicy.FCFS, priority=QueuePolicy.PRIORITY)
    ),
    "--kv-cache-dtype": Option("kv_dtype", parse.kv_cache),
    "--dtype": Option("plain_dtype", parse.sixteen_bits),
    "--quantization": Option("weight_dtype", parse.weights),
    "-q": Option("weight_dtype", parse.weights),
    "--speculative-config": Option("speculation", parse.as_json),
    "--disaggregation-mode": Option("role", parse.one_of(**ROLES)),
    "--is-prefill-worker": Option("role", value=Role.PREFILL),
    "--is-decode-worker": Option("role", value=Role.DECODE),
}
OPTIONS = parse.Options(
    _KNOWN,
    flags=(
        "--trust-remote-code", "--enable-auto-tool-choice", "--disable-log-requests",
        "--no-enable-log-requests", "--enable-log-requests", "--disable-log-stats",
        "--disable-uvicorn-access-log", "--enable-lora", "--enable-multimodal",
    ),
    values=(
        "--served-model-name", "--host", "--port", "--seed", "--tokenizer", "--tokenizer-mode",
        "--download-dir", "--load-format", "--revision", "--chat-template", "--tool-call-parser",
        "--reasoning-parser", "--dyn-tool-call-parser", "--dyn-reasoning-parser", "--connector",
        "--kv-transfer-config", "--kv-events-config", "--uvicorn-log-level", "--api-key",
        "--generation-config", "--distributed-executor-backend", "--max-log-len",
        "--max-lora-rank", "--data-parallel-rank", "--data-parallel-address",
        "--data-parallel-rpc-port", "--data-parallel-size-local",
    ),
    refused={
        "--enforce-eager": "steps without CUDA graphs are not modelled",
        "--cpu-offload-gb": "weights in host memory are not modelled",
        "--swap-space": "KV blocks in host memory are not modelled",
        "--kv-offloading-size": "KV blocks in host memory are not modelled",
        "--max-num-partial-prefills": "only one prompt is cut at a time",
        "--max-long-partial-prefills": "only one prompt is cut at a time",
        "--long-prefill-token-threshold": "only one prompt is cut at a time",
        "--decode-context-parallel-size": "context parallelism is not modelled",
        "--prefill-context-parallel-size": "context parallelism is not modelled",
        "--enable-dbo": "overlapping half batches are not modelled",
        "--enable-eplb": "the experts' load is a fixed skew",
        "--compilation-config": "compiled kernels other than the default are not modelled",
        "--attention-backend": "attention kernels other than the default are not modelled",
        "--all2all-backend": "dispatch kernels other than the default are not modelled",
        "--kv-sharing-fast-prefill": "shared KV layers are not modelled",
    },
)  # fmt: skip


def read_vllm(args: Sequence[str]) -> EngineSettings:
    """See :func:`dgdr.worker_args.read_worker_args`."""
    found = OPTIONS.read(args)
    blocks = found.pop("blocks", None)
    if blocks is not None:
        found["kv_tokens"] = blocks * found.get("block_size_tokens", 16)
    plain = found.pop("plain_dtype", None)
    found.setdefault("weight_dtype", plain)
    found["speculative_tokens"] = _speculative_tokens(found.pop("speculation", {}))
    return EngineSettings(backend=Backend.VLLM, **found)


def _speculative_tokens(config: dict[str, Any]) -> int:
    count = config.get("num_speculative_tokens", 0)
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise InputError(
            "must be a whole number",
            path="--speculative-config.num_speculative_tokens",
            value=repr(count),
        )
    return count
