"""Options of ``python3 -m dynamo.sglang``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contracts.engine import Backend, QueuePolicy
from contracts.errors import InputError, UnsupportedError
from contracts.settings import EngineSettings
from dgdr.worker_args import parse
from dgdr.worker_args.parse import Option
from dgdr.worker_args.vllm import ROLES


def _chunk(text: str) -> int | None:
    """Prompt tokens of one step; -1 turns chunking off."""
    return None if text == "-1" else parse.tokens(text)


def _policy(text: str) -> QueuePolicy:
    known = {"fcfs": QueuePolicy.FCFS, "lpm": QueuePolicy.LONGEST_PREFIX}
    if text in ("dfs-weight", "lof", "random", "routing-key"):
        raise UnsupportedError(f"schedule policy {text!r} is not modelled; known: fcfs, lpm")
    if text not in known:
        raise InputError("unknown value", allowed=", ".join(known))
    return known[text]


_SIZES = {
    "--tensor-parallel-size": "gpus", "--tp-size": "gpus", "--tp": "gpus",
    "--pipeline-parallel-size": "pp", "--pp-size": "pp",
    "--data-parallel-size": "dp", "--dp-size": "dp", "--dp": "dp",
    "--expert-parallel-size": "ep", "--ep-size": "ep", "--ep": "ep",
    "--context-length": "max_model_len", "--max-running-requests": "max_num_seqs",
    "--max-total-tokens": "kv_tokens", "--max-prefill-tokens": "max_prefill_tokens",
    "--page-size": "block_size_tokens", "--max-loras-per-batch": "adapters",
    "--speculative-num-steps": "speculative_tokens",
    "--speculative-num-draft-tokens": "draft_tokens",
}  # fmt: skip
_KNOWN = {
    **{name: Option(key, parse.tokens) for name, key in _SIZES.items()},
    "--model-path": Option("model", str),
    "--model": Option("model", str),
    "--enable-dp-attention": Option("dp_attention"),
    "--chunked-prefill-size": Option("chunk", _chunk),
    "--mem-fraction-static": Option("memory_ratio", parse.ratio),
    "--schedule-policy": Option("queue", _policy),
    "--enable-priority-scheduling": Option("by_priority"),
    "--schedule-conservativeness": Option("conservativeness", parse.positive),
    "--disable-radix-cache": Option("prefix_caching", value=False),
    "--disable-overlap-schedule": Option("overlap", value=False),
    "--enable-mixed-chunk": Option("mixed_chunk"),
    "--kv-cache-dtype": Option("kv_dtype", parse.kv_cache),
    "--dtype": Option("plain_dtype", parse.sixteen_bits),
    "--quantization": Option("weight_dtype", parse.weights),
    "--disaggregation-mode": Option("role", parse.one_of(**ROLES)),
}
OPTIONS = parse.Options(
    _KNOWN,
    flags=(
        "--trust-remote-code", "--enable-metrics", "--enable-lora", "--skip-tokenizer-init",
        "--log-requests", "--enable-multimodal",
    ),
    values=(
        "--served-model-name", "--host", "--port", "--random-seed", "--tokenizer-path",
        "--tokenizer-mode", "--load-format", "--download-dir", "--revision", "--chat-template",
        "--tool-call-parser", "--reasoning-parser", "--dyn-tool-call-parser",
        "--dyn-reasoning-parser", "--disaggregation-transfer-backend",
        "--disaggregation-bootstrap-port", "--disaggregation-ib-device", "--log-level",
        "--stream-interval", "--cuda-graph-max-bs", "--cuda-graph-bs", "--dist-init-addr",
        "--nnodes", "--node-rank", "--dist-timeout", "--watchdog-timeout", "--api-key",
        "--kv-events-config", "--speculative-algorithm", "--speculative-algo",
        "--speculative-draft-model-path", "--speculative-eagle-topk", "--max-lora-rank",
    ),
    refused={
        "--disable-cuda-graph": "steps without CUDA graphs are not modelled",
        "--cpu-offload-gb": "weights in host memory are not modelled",
        "--enable-hierarchical-cache": "KV blocks in host memory are not modelled",
        "--enable-two-batch-overlap": "overlapping half batches are not modelled",
        "--enable-eplb": "the experts' load is a fixed skew",
        "--ep-num-redundant-experts": "the experts' load is a fixed skew",
        "--moe-a2a-backend": "dispatch kernels other than the default are not modelled",
        "--deepep-mode": "dispatch kernels other than the default are not modelled",
        "--moe-runner-backend": "expert kernels other than the default are not modelled",
        "--moe-dense-tp-size": "dense layers are split as attention is",
        "--attention-backend": "attention kernels other than the default are not modelled",
        "--num-continuous-decode-steps": "several steps in one launch are not modelled",
        "--enable-torch-compile": "compiled kernels other than the default are not modelled",
        "--enable-nsa-prefill-context-parallel": "context parallelism is not modelled",
    },
)  # fmt: skip


def read_sglang(args: Sequence[str]) -> EngineSettings:
    """See :func:`dgdr.worker_args.read_worker_args`.

    SGLang counts all GPUs of a replica as tensor parallel and its limits for all attention
    ranks together.
    """
    found = OPTIONS.read(args)
    gpus = found.pop("gpus", 1)
    dp = found.get("dp", 1)
    if dp > 1 and not found.pop("dp_attention", False):
        raise UnsupportedError(
            "--data-parallel-size: without --enable-dp-attention these are replicas; "
            "give the component more replicas instead"
        )
    found.pop("dp_attention", None)
    if gpus % dp:
        raise InputError(
            "attention ranks must divide the GPUs",
            path="--data-parallel-size",
            value=str(dp),
            allowed=f"a divisor of {gpus}",
        )
    found["tp"] = gpus // dp
    ep = found.pop("ep", 1)
    if ep not in (1, gpus):
        raise UnsupportedError(f"--expert-parallel-size: only 1 or all {gpus} GPUs are modelled")
    found["expert_parallel"] = ep > 1
    _limits(found, dp)
    plain = found.pop("plain_dtype", None)
    found.setdefault("weight_dtype", plain)
    draft = found.pop("draft_tokens", 1)
    found.setdefault("speculative_tokens", draft - 1)
    if found.pop("by_priority", False):
        found["queue"] = QueuePolicy.PRIORITY
    return EngineSettings(backend=Backend.SGLANG, **found)


def _limits(found: dict[str, Any], dp: int) -> None:
    if "chunk" in found:
        chunk = found.pop("chunk")
        found["chunked_prefill"] = chunk is not None
        if chunk is not None:
            found["max_num_batched_tokens"] = max(1, chunk // dp)
    if "max_num_seqs" in found:
        found["max_num_seqs"] = max(1, found["max_num_seqs"] // dp)
