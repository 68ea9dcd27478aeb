"""What the command line of a backend can say about an engine, checked before it is written.

A plan that a command line would change without a word is refused: what was simulated would
not be what is deployed.
"""

from __future__ import annotations

from collections.abc import Iterator

from contracts.engine import (
    PreemptionOrder,
    QueuePolicy,
    SglangScheduling,
    VllmScheduling,
)
from contracts.errors import UnsupportedError
from contracts.model import Dtype
from contracts.plan import EngineSpec, Role
from dgdr.enums import ServingBackend

_POLICIES = {
    ServingBackend.VLLM: (QueuePolicy.FCFS, QueuePolicy.PRIORITY),
    ServingBackend.SGLANG: tuple(QueuePolicy),
    ServingBackend.TRTLLM: (QueuePolicy.FCFS,),
}


def check_expressible(backend: ServingBackend, role: Role, engine: EngineSpec) -> None:
    """Refuse an engine that the backend has no options for.

    Raises:
        UnsupportedError: names everything that cannot be said.
    """
    found = [*_parallel(backend, engine), *_scheduling(backend, engine), *_rest(backend, engine)]
    if found:
        raise UnsupportedError(
            f"plan.{role.value}.engine: {backend.value} cannot be told: {'; '.join(found)}"
        )


def _parallel(backend: ServingBackend, engine: EngineSpec) -> Iterator[str]:
    stage = engine.tp * engine.dp
    if engine.ep not in (1, stage):
        yield f"experts over {engine.ep} of {stage} GPUs (1 or all of a pipeline stage)"
    if engine.ep > 1 and not engine.model.experts:
        yield f"expert parallelism {engine.ep} of a model without experts"
    if backend is ServingBackend.TRTLLM and engine.dp > 1 and engine.tp > 1:
        # Attention data parallelism makes every GPU of the replica a rank of its own.
        yield f"attention ranks of {engine.tp} GPUs each (attention DP needs tp 1)"


def _scheduling(backend: ServingBackend, engine: EngineSpec) -> Iterator[str]:
    scheduling = engine.scheduling
    queue = getattr(scheduling, "queue", QueuePolicy.FCFS)
    if queue not in _POLICIES[backend]:
        yield f"queue policy {queue.value}"
    if isinstance(scheduling, VllmScheduling) and scheduling.preemption is PreemptionOrder.FIFO:
        yield "preemption of the oldest request first"
    default = SglangScheduling().clip_max_new_tokens
    if isinstance(scheduling, SglangScheduling) and scheduling.clip_max_new_tokens != default:
        yield f"clip_max_new_tokens {scheduling.clip_max_new_tokens} (it is always {default})"


def _rest(backend: ServingBackend, engine: EngineSpec) -> Iterator[str]:
    if engine.speculation is not None:
        yield "speculation (a plan does not name the draft model)"
    if engine.kv_dtype is Dtype.FP4:
        yield "a KV cache of 4 bits"
    if backend is ServingBackend.TRTLLM and engine.limits.max_adapters > 1:
        yield "several LoRA adapters at once"
