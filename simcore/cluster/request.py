"""A request on its way through the cluster."""

from __future__ import annotations

from contracts.plan import Role
from contracts.workload import RequestSpec
from simcore.cluster.worker import Worker
from simcore.engine import Submission


class LiveRequest:
    """Mutable state of a request that has arrived and not ended.

    It is in exactly one place: with ``worker`` (its engine, or waiting there for an
    adapter), between workers (``source`` is set), or in the pending queue of a pool.

    Attributes:
        row: its row in the recorder.
        generated: output tokens delivered by engines it has left.
        worker: the worker that has it, ``None`` between workers.
        source: prefill worker that keeps its KV blocks until they have been sent.
        target: decode worker with blocks reserved for it.
        recompute: its KV cache was lost on the way and is computed by the decode worker.
        retries: how often a worker was lost under it.
    """

    __slots__ = (
        "adapter", "generated", "isl", "osl", "recompute", "request_id", "retries", "row",
        "source", "spec", "target", "worker",
    )  # fmt: skip

    def __init__(self, spec: RequestSpec, row: int) -> None:
        self.spec = spec
        self.request_id = spec.request_id
        self.isl = spec.isl
        self.osl = spec.osl
        self.adapter = spec.adapter
        self.row = row
        self.generated = 0
        self.retries = 0
        self.recompute = False
        self.worker: Worker | None = None
        self.source: Worker | None = None
        self.target: Worker | None = None

    @property
    def prompt_tokens(self) -> int:
        """Tokens whose KV cache a decode worker needs: the prompt and what was delivered."""
        return self.isl + self.generated


def submission(request: LiveRequest, role: Role) -> Submission:
    """What an engine in this role is told about a request.

    A prefill engine computes the prompt and what was delivered before; a decode engine
    gets all of that but the newest token as KV cache, unless the cache was lost.
    """
    spec = request.spec
    if role is Role.PREFILL:
        return Submission(
            request_id=request.request_id,
            isl=request.prompt_tokens,
            osl=1,
            text=spec.text,
            priority=spec.priority,
            adapter=spec.adapter,
            hold=True,
        )
    arrives = role is Role.DECODE and not request.recompute
    return Submission(
        request.request_id,
        request.isl,
        request.osl,
        request.generated,
        request.prompt_tokens - 1 if arrives else 0,
        spec.text,
        spec.priority,
        spec.adapter,
    )
