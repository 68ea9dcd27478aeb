"""A request in flight as the driver sees it."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.records import RequestStatus
from mocker.engines.port import Outcome, Submitted, TokenSink
from simcore.observe import RollingRecorder


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

    def tell_end(self, status: RequestStatus) -> None:
        """Pass on how it has ended."""
        self.sink.on_end(
            Outcome(
                status=status,
                reason=self.reason,
                generated=self.generated,
                cached=self.cached,
                arrival_ns=self.arrival_ns,
                token_ns=self.token_ns or (),
            )
        )


class ClientNames:
    """What clients call their requests, as long as the record has those.

    Args:
        most: names that are kept before forgotten requests are looked for.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._names: dict[int, str] = {}

    def add(self, request_id: int, name: str, recorder: RollingRecorder) -> None:
        """Remember a name."""
        names = self._names
        names[request_id] = name
        if len(names) > self._most:
            kept = recorder.request_ids
            self._names = {key: names[key] for key in kept if key in names}

    def of(self, request_ids: Sequence[int]) -> list[str | None]:
        """Names of requests, ``None`` for those without one."""
        return [self._names.get(each) for each in request_ids]
