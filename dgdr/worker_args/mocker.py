"""Options of ``python3 -m dynamo.mocker``, which say nothing about parallel sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contracts.engine import Backend
from contracts.errors import InputError
from contracts.plan import Role
from contracts.settings import EngineSettings
from dgdr.worker_args import parse
from dgdr.worker_args.parse import Option

_ROLES = {"agg": Role.AGG, "prefill": Role.PREFILL, "decode": Role.DECODE}
_BLOCK_TOKENS = {Backend.VLLM: 16, Backend.SGLANG: 1, Backend.TRTLLM: 32}
_OPTIONS = parse.Options(
    {
        "--model-path": Option("model", str),
        "--engine-type": Option("backend", parse.one_of(vllm=Backend.VLLM, sglang=Backend.SGLANG)),
        "--speedup-ratio": Option("speed", parse.positive),
        "--disaggregation-mode": Option("role", parse.one_of(**_ROLES)),
        "--num-gpu-blocks-override": Option("blocks", parse.tokens),
        "--block-size": Option("block_size_tokens", parse.tokens),
        "--max-num-seqs": Option("max_num_seqs", parse.tokens),
        "--max-num-batched-tokens": Option("max_num_batched_tokens", parse.tokens),
    },
    values=("--model-name",),
)


def read_mocker(args: Sequence[str]) -> tuple[EngineSettings, float]:
    """Settings of the engine that a mocker stands for, and its speed-up.

    Raises:
        InputError: an option that is unknown, or a value that is refused.
    """
    found: dict[str, Any] = _OPTIONS.read(args)
    if "model" not in found:
        raise InputError("the mocker needs a model", path="--model-path")
    speed = float(found.pop("speed", 1.0))
    backend = found.pop("backend", Backend.VLLM)
    block = found.setdefault("block_size_tokens", _BLOCK_TOKENS[backend])
    blocks = found.pop("blocks", None)
    tokens = None if blocks is None else blocks * block
    return EngineSettings(backend=backend, kv_tokens=tokens, **found), speed
