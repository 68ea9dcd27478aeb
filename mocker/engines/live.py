"""A request in flight as the driver sees it."""

from __future__ import annotations

from contracts.records import RequestStatus
from mocker.engines.port import Outcome, Submitted, TokenSink


class LiveAnswer:
    """Progress of one request.

    Attributes:
        admitted_ns: when an engine first began to work on it, -1 before.
        cached: prompt tokens that were cached then.
        token_ns: simulated instants of all tokens; ``None`` when nobody asked.
        waiting: news that the sink has not been told yet.
        status: ``None`` until it has ended.
    """

    __slots__ = (
        "admitted_ns", "arrival_ns", "cached", "first_ns", "generated", "last_ns", "reason",
        "request", "sink", "status", "token_ns", "waiting",
    )  # fmt: skip

    def __init__(self, request: Submitted, sink: TokenSink, arrival_ns: int) -> None:
        self.request = request
        self.sink = sink
        self.arrival_ns = arrival_ns
        self.admitted_ns = -1
        self.first_ns = -1
        self.last_ns = -1
        self.generated = 0
        self.cached = 0
        self.token_ns: list[int] | None = [] if request.timestamps else None
        self.waiting = False
        self.status: RequestStatus | None = None
        self.reason = ""

    def tell(self) -> None:
        """Pass the news on."""
        self.waiting = False
        if self.status is None:
            self.sink.on_tokens(self.generated)
        else:
            self.sink.on_end(
                Outcome(
                    status=self.status,
                    reason=self.reason,
                    generated=self.generated,
                    cached=self.cached,
                    arrival_ns=self.arrival_ns,
                    token_ns=self.token_ns or (),
                )
            )
