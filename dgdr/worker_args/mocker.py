"""Options of ``python3 -m dynamo.mocker``; its performance model knows the parallel sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from contracts.engine import Backend, QueuePolicy
from contracts.errors import InputError
from contracts.plan import Role
from contracts.settings import EngineSettings
from dgdr.worker_args import parse
from dgdr.worker_args.parse import Option

_ROLES = {"agg": Role.AGG, "prefill": Role.PREFILL, "decode": Role.DECODE}
_BACKENDS = {each.value: each for each in Backend}
_QUEUES = {"fifo": QueuePolicy.FCFS, "fcfs": QueuePolicy.FCFS, "lpm": QueuePolicy.LONGEST_PREFIX}
_BLOCK_TOKENS = {Backend.VLLM: 16, Backend.SGLANG: 1, Backend.TRTLLM: 32}
_SIZES = {
    "perf-model": Option("sized"),
    "backend": Option("engine", parse.one_of(**_BACKENDS)),
    "backend-version": Option(convert=str),
    "system": Option("gpu_sku", str),
    "tp-size": Option("tp", parse.tokens),
    "attention-dp-size": Option("dp", parse.tokens),
    "moe-tp-size": Option("sliced", parse.tokens),
    "moe-ep-size": Option("ep", parse.tokens),
}
OPTIONS = parse.Options(
    {
        # Dynamo 1.2 calls them aic, 1.6 ais.
        **{f"--{name}-{key}": option for name in ("ais", "aic") for key, option in _SIZES.items()},
        "--model-path": Option("model", str),
        "--planner-profile-data": Option("profile_dir", str),
        "--engine-type": Option("backend", parse.one_of(**_BACKENDS)),
        "--speedup-ratio": Option("speed", parse.positive),
        "--disaggregation-mode": Option("role", parse.one_of(**_ROLES)),
        "--num-gpu-blocks-override": Option("blocks", parse.tokens),
        "--block-size": Option("block_size_tokens", parse.tokens),
        "--max-num-seqs": Option("max_num_seqs", parse.tokens),
        "--max-num-batched-tokens": Option("max_num_batched_tokens", parse.tokens),
        "--max-model-len": Option("max_model_len", parse.tokens),
        "--data-parallel-size": Option("dp", parse.tokens),
        "--enable-chunked-prefill": Option("chunked_prefill"),
        "--no-enable-chunked-prefill": Option("chunked_prefill", value=False),
        "--enable-prefix-caching": Option("prefix_caching"),
        "--no-enable-prefix-caching": Option("prefix_caching", value=False),
        "--kv-cache-dtype": Option("kv_dtype", parse.kv_cache),
        "--sglang-schedule-policy": Option("queue", parse.one_of(**_QUEUES)),
        "--sglang-chunked-prefill-size": Option("chunk", parse.tokens),
        "--sglang-max-prefill-tokens": Option("max_prefill_tokens", parse.tokens),
        "--sglang-schedule-conservativeness": Option("conservativeness", parse.positive),
    },
    values=(
        "--model-name", "--endpoint", "--startup-time", "--bootstrap-ports", "--stagger-delay",
        "--zmq-kv-events-ports", "--zmq-replay-ports", "--discovery-backend", "--request-plane",
        "--event-plane", "--trtllm-capacity-scheduler-policy",
    ),
    refused={
        "--decode-speedup-ratio": "only one speed-up for all steps is modelled",
        "--extra-engine-args": "a file in the container cannot be read here",
        "--num-workers": "one worker for each pod; give the component more replicas instead",
        "--kv-transfer-bandwidth": "transfers take the bandwidth of the plan's link",
    },
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class MockerSettings:
    """What the command line of a mocker says.

    Attributes:
        engine: the engine that it stands for.
        speed: simulated seconds in a second of wall time.
        sized: the parallel sizes of ``engine`` were given; else they are unknown.
        gpu_sku: the GPU that it stands for, if it was given.
        profile_dir: folder with the curves that its step times come from, if it was given.
    """

    engine: EngineSettings
    speed: float = 1.0
    sized: bool = False
    gpu_sku: str | None = None
    profile_dir: str | None = None


def read_mocker(args: Sequence[str]) -> MockerSettings:
    """Settings of the engine that a mocker stands for.

    Raises:
        InputError: an option that is unknown, or a value that is refused.
    """
    found: dict[str, Any] = OPTIONS.read(args)
    if "model" not in found:
        raise InputError("the mocker needs a model", path="--model-path")
    speed = float(found.pop("speed", 1.0))
    # --engine-type knows no TensorRT-LLM; the performance model does.
    backend = found.pop("backend", Backend.VLLM)
    backend = found.pop("engine", backend)
    block = found.setdefault("block_size_tokens", _BLOCK_TOKENS[backend])
    if backend is Backend.SGLANG and "chunk" in found:
        found["max_num_batched_tokens"] = found["chunk"]
    found.pop("chunk", None)  # an option of SGLang
    blocks = found.pop("blocks", None)
    rest = {key: found.pop(key) for key in ("sized", "gpu_sku", "profile_dir") if key in found}
    found.pop("sliced", None)  # follows from the other sizes
    engine = EngineSettings(
        backend=backend,
        kv_tokens=None if blocks is None else blocks * block,
        expert_parallel=found.pop("ep", 1) > 1,
        **found,
    )
    return MockerSettings(engine=engine, speed=speed, **rest)
