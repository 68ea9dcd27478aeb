"""Command-line arguments of the engines, so that a worker runs as it was planned."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from contracts.engine import (
    CapacityPolicy,
    QueuePolicy,
    SglangScheduling,
    TrtllmScheduling,
    VllmScheduling,
)
from contracts.model import Dtype
from contracts.plan import EngineSpec, Role
from dgdr.deployment.expressible import check_expressible
from dgdr.enums import ServingBackend

_KV_ROLES: Mapping[Role, str] = {Role.PREFILL: "kv_producer", Role.DECODE: "kv_consumer"}
# Names of checkpoints that are stored quantised say so; their own method counts then.
_QUANTISED = re.compile(r"fp8|fp4|int8|int4|w8a8|w4a16|awq|gptq", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerArgs:
    """What the arguments of one worker depend on.

    Attributes:
        model_path: a Hugging Face id or a path in the container.
        served_name: name under which clients ask for the model.
    """

    backend: ServingBackend
    role: Role
    engine: EngineSpec
    model_path: str
    served_name: str


def engine_args(worker: WorkerArgs) -> tuple[str, ...]:
    """Arguments of ``python3 -m dynamo.<backend>``; each option stands once.

    ``dgdr.worker_args`` reads them back to the same engine. The checkpoint and the memory
    decide on context length and KV blocks, so no argument names them.

    Raises:
        UnsupportedError: the backend has no option for a part of the plan.
    """
    check_expressible(worker.backend, worker.role, worker.engine)
    if worker.backend is ServingBackend.VLLM:
        return _vllm(worker)
    if worker.backend is ServingBackend.SGLANG:
        return _sglang(worker)
    return _trtllm(worker)


def _vllm(worker: WorkerArgs) -> tuple[str, ...]:
    engine, limits = worker.engine, worker.engine.limits
    args = [
        "--model",
        worker.model_path,
        "--served-model-name",
        worker.served_name,
        "--tensor-parallel-size",
        str(engine.tp),
        "--max-num-seqs",
        str(limits.max_num_seqs),
        "--max-num-batched-tokens",
        str(limits.max_num_batched_tokens),
        "--block-size",
        str(limits.block_size_tokens),
        *_sizes({"--pipeline-parallel-size": engine.pp, "--data-parallel-size": engine.dp}),
    ]
    if engine.ep > 1:
        args.append("--enable-expert-parallel")
    if not limits.chunked_prefill:
        args.append("--no-enable-chunked-prefill")
    if not limits.prefix_caching:
        args.append("--no-enable-prefix-caching")
    if isinstance(engine.scheduling, VllmScheduling):
        if engine.scheduling.queue is not QueuePolicy.FCFS:
            args += ["--scheduling-policy", engine.scheduling.queue.value]
        if not engine.scheduling.async_scheduling:
            args.append("--no-async-scheduling")
    args += _quantisation(engine)
    if engine.kv_dtype is Dtype.FP8:
        args += ["--kv-cache-dtype", "fp8"]
    if limits.max_adapters > 1:
        args += ["--enable-lora", "--max-loras", str(limits.max_adapters)]
    if worker.role in _KV_ROLES:
        transfer = {"kv_connector": "NixlConnector", "kv_role": _KV_ROLES[worker.role]}
        args += [*_disaggregation(worker), "--kv-transfer-config", json.dumps(transfer)]
    return tuple(args)


def _sglang(worker: WorkerArgs) -> tuple[str, ...]:
    engine, limits = worker.engine, worker.engine.limits
    # SGLang counts for all attention ranks together, and turns chunking off with -1.
    chunk = _sglang_chunk(engine) * engine.dp if limits.chunked_prefill else -1
    args = [
        "--model-path",
        worker.model_path,
        "--served-model-name",
        worker.served_name,
        "--tensor-parallel-size",
        str(engine.tp * engine.dp),
        "--max-running-requests",
        str(limits.max_num_seqs * engine.dp),
        "--chunked-prefill-size",
        str(chunk),
        "--page-size",
        str(limits.block_size_tokens),
        *_sizes(
            {
                "--pipeline-parallel-size": engine.pp,
                "--data-parallel-size": engine.dp,
                "--expert-parallel-size": engine.ep,
            }
        ),
    ]
    if engine.dp > 1:
        args.append("--enable-dp-attention")
    if not limits.prefix_caching:
        args.append("--disable-radix-cache")
    if isinstance(engine.scheduling, SglangScheduling):
        args += _sglang_scheduling(engine.scheduling)
    args += _quantisation(engine)
    if engine.kv_dtype is Dtype.FP8:
        args += ["--kv-cache-dtype", "fp8_e4m3"]
    if limits.max_adapters > 1:
        args += ["--enable-lora", "--max-loras-per-batch", str(limits.max_adapters)]
    if worker.role is not Role.AGG:
        args += [*_disaggregation(worker), "--disaggregation-transfer-backend", "nixl"]
    return tuple(args)


def _trtllm(worker: WorkerArgs) -> tuple[str, ...]:
    engine, limits = worker.engine, worker.engine.limits
    disagg = worker.role is not Role.AGG
    options = {
        "kv_cache_config.tokens_per_block": str(limits.block_size_tokens),
        **({"kv_cache_config.dtype": "fp8"} if engine.kv_dtype is Dtype.FP8 else {}),
        "cuda_graph_config.max_batch_size": str(limits.max_num_seqs),
        **({"cache_transceiver_config.backend": "DEFAULT"} if disagg else {}),
        "disable_overlap_scheduler": _flag(_trtllm_waits(worker)),
        "enable_chunked_prefill": _flag(limits.chunked_prefill),
        **_trtllm_scheduling(engine),
    }
    return (
        "--tensor-parallel-size",
        str(engine.tp * engine.dp),
        "--pipeline-parallel-size",
        str(engine.pp),
        "--expert-parallel-size",
        str(engine.ep),
        "--max-batch-size",
        str(limits.max_num_seqs),
        "--max-num-tokens",
        str(limits.max_num_batched_tokens),
        *(part for key, value in options.items() for part in (f"--trtllm.{key}", value)),
        "--model-path",
        worker.model_path,
        "--served-model-name",
        worker.served_name,
        *(_disaggregation(worker) if disagg else ()),
    )


def _sizes(sizes: Mapping[str, int]) -> list[str]:
    """Parallel sizes above one."""
    return [word for name, size in sizes.items() if size > 1 for word in (name, str(size))]


def _quantisation(engine: EngineSpec) -> list[str]:
    """FP8 weights; harmless where the checkpoint stores them so, needed where it does not."""
    if engine.weight_dtype is Dtype.FP8 and not _QUANTISED.search(engine.model.model_id):
        return ["--quantization", "fp8"]
    return []


def _sglang_chunk(engine: EngineSpec) -> int:
    """Prompt tokens of one step of one attention rank."""
    scheduling = engine.scheduling
    if isinstance(scheduling, SglangScheduling):
        return scheduling.chunked_prefill_tokens
    return engine.limits.max_num_batched_tokens


def _sglang_scheduling(scheduling: SglangScheduling) -> list[str]:
    """What differs from the defaults."""
    default = SglangScheduling()
    args = []
    if scheduling.queue is QueuePolicy.PRIORITY:
        args.append("--enable-priority-scheduling")
    elif scheduling.queue is not default.queue:
        args += ["--schedule-policy", scheduling.queue.value]
    if scheduling.conservativeness != default.conservativeness:
        args += ["--schedule-conservativeness", str(scheduling.conservativeness)]
    if scheduling.max_prefill_tokens != default.max_prefill_tokens:
        args += ["--max-prefill-tokens", str(scheduling.max_prefill_tokens)]
    if scheduling.mixed_chunk:
        args.append("--enable-mixed-chunk")
    if not scheduling.overlap:
        args.append("--disable-overlap-schedule")
    return args


def _trtllm_scheduling(engine: EngineSpec) -> dict[str, str]:
    """What differs from the defaults."""
    options = {}
    if engine.dp > 1:
        options["enable_attention_dp"] = "true"
    if not engine.limits.prefix_caching:
        options["kv_cache_config.enable_block_reuse"] = "false"
    scheduling = engine.scheduling
    evicts = CapacityPolicy.MAX_UTILIZATION
    if isinstance(scheduling, TrtllmScheduling) and scheduling.capacity is evicts:
        options["scheduler_config.capacity_scheduler_policy"] = evicts.value
    return options


def _trtllm_waits(worker: WorkerArgs) -> bool:
    """Whether the host waits for each step; a prefill worker always does."""
    scheduling = worker.engine.scheduling
    overlaps = not isinstance(scheduling, TrtllmScheduling) or scheduling.overlap
    return worker.role is Role.PREFILL or not overlaps


def _disaggregation(worker: WorkerArgs) -> tuple[str, str]:
    return ("--disaggregation-mode", worker.role.value)


def _flag(value: bool) -> str:
    return "true" if value else "false"
