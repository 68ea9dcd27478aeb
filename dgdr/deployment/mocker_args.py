"""Command-line arguments of ``python3 -m dynamo.mocker``: the same worker without a GPU."""

from __future__ import annotations

from contracts.engine import QueuePolicy, SglangScheduling
from contracts.plan import EngineSpec
from dgdr.deployment.engine_args import WorkerArgs
from dgdr.enums import ServingBackend

MOCKER_SPEEDUP_RATIO = 1.0
# Dynamo renamed the options of its performance model in this release.
_AIS_SINCE = (1, 6, 0)
_CURRENT = "current"

Version = tuple[int, int, int]


def mocker_args(
    worker: WorkerArgs, *, profile_dir: str | None = None, version: Version | None = None
) -> tuple[str, ...]:
    """Arguments of a mocker worker.

    Args:
        worker: model, role and engine that the mocker stands for.
        profile_dir: measured curves in the container; None times steps by Dynamo's
            performance model instead, which knows the GPU and the parallel sizes.
        version: release of the image; None is a current one.
    """
    limits = worker.engine.limits
    engine_type = (
        () if worker.backend is ServingBackend.TRTLLM else ("--engine-type", worker.backend.value)
    )
    times = (
        _performance_model(worker, version)
        if profile_dir is None
        else ("--planner-profile-data", profile_dir)
    )
    return (
        "--model-path",
        worker.model_path,
        "--model-name",
        worker.served_name,
        *engine_type,
        "--speedup-ratio",
        str(MOCKER_SPEEDUP_RATIO),
        "--disaggregation-mode",
        worker.role.value,
        "--num-gpu-blocks-override",
        str(limits.kv_blocks_total),
        "--block-size",
        str(limits.block_size_tokens),
        "--max-num-seqs",
        str(limits.max_num_seqs),
        "--max-num-batched-tokens",
        str(limits.max_num_batched_tokens),
        *_scheduler(worker.engine),
        *times,
    )


def _scheduler(engine: EngineSpec) -> tuple[str, ...]:
    """What differs from the mocker's defaults; limits are of one attention rank."""
    limits, scheduling, default = engine.limits, engine.scheduling, SglangScheduling()
    args: list[str] = []
    if engine.dp > 1:
        args += ["--data-parallel-size", str(engine.dp)]
    if not limits.chunked_prefill:
        args.append("--no-enable-chunked-prefill")
    if not limits.prefix_caching:
        args.append("--no-enable-prefix-caching")
    if not isinstance(scheduling, SglangScheduling):
        return tuple(args)
    if scheduling.queue is QueuePolicy.LONGEST_PREFIX:
        args += ["--sglang-schedule-policy", scheduling.queue.value]
    for name, found, usual in (
        ("chunked-prefill-size", scheduling.chunked_prefill_tokens, default.chunked_prefill_tokens),
        ("max-prefill-tokens", scheduling.max_prefill_tokens, default.max_prefill_tokens),
        ("schedule-conservativeness", scheduling.conservativeness, default.conservativeness),
    ):
        if found != usual:
            args += [f"--sglang-{name}", str(found)]
    return tuple(args)


def _performance_model(worker: WorkerArgs, version: Version | None) -> tuple[str, ...]:
    """GPU and parallel sizes; pipeline stages have no option there."""
    engine = worker.engine
    recent = version is None or version >= _AIS_SINCE
    name = "--ais" if recent else "--aic"
    return (
        f"{name}-perf-model",
        f"{name}-backend",
        worker.backend.value,
        *((f"{name}-backend-version", _CURRENT) if recent else ()),
        f"{name}-system",
        engine.gpu.sku,
        f"{name}-tp-size",
        str(engine.tp),
        *_experts(engine, name),
        f"{name}-attention-dp-size",
        str(engine.dp),
    )


def _experts(engine: EngineSpec, name: str) -> tuple[str, ...]:
    """Both sizes of the experts; their product is that of the attention's sizes."""
    if not engine.model.experts:
        return ()
    sliced = engine.tp * engine.dp // engine.ep
    return (f"{name}-moe-tp-size", str(sliced), f"{name}-moe-ep-size", str(engine.ep))
