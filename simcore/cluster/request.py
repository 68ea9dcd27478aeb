"""A request on its way through the cluster."""

from __future__ import annotations


class LiveRequest:
    """Mutable state of a request that has arrived and not ended.

    Attributes:
        row: its row in the recorder.
        generated: output tokens delivered by engines it has left.
        worker: id of the worker that has it, ``None`` between workers.
        retries: how often a worker was lost under it.
    """

    __slots__ = (
        "generated", "isl", "osl", "request_id", "retries", "row",
        "worker",
    )  # fmt: skip

    def __init__(self, request_id: int, isl: int, osl: int, row: int) -> None:
        self.request_id = request_id
        self.isl = isl
        self.osl = osl
        self.row = row
        self.generated = 0
        self.retries = 0
        self.worker: str | None = None
