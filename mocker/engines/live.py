"""Requests in flight as the driver sees them."""

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
        cohort: those with whom it gets its tokens; while it has one, ``generated`` and
            ``last_ns`` are those of the instant at which they found together.
    """

    __slots__ = (
        "admitted_ns", "arrival_ns", "cached", "cohort", "first_ns", "generated", "last_ns",
        "reason", "request", "sink", "status", "token_ns", "waiting",
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
        self.cohort: Cohort | None = None

    def tell(self) -> None:
        """Pass on what is new."""
        if self.status is None:
            self.waiting = False
            self.sink.on_tokens(self.generated)
        else:
            self.tell_end(self.status)

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


class Cohort:
    """The requests that a worker decodes, as long as none joins or leaves.

    Attributes:
        changes: as of :meth:`simcore.engine.Engine.decode_mark`.
        step: decode steps made when they were last heard of.
        at_ns: the instant of their latest token.
        tokens: of each of them since they found together.
        told: so many of those have all sinks been told of.
        waiting: news that the sinks have not been told yet.
    """

    __slots__ = (
        "_over", "at_ns", "changes", "lives", "step", "tokens", "told", "waiting", "worker_id",
    )  # fmt: skip

    def __init__(
        self, worker_id: str, mark: tuple[int, int], at_ns: int, lives: list[LiveAnswer]
    ) -> None:
        self.worker_id = worker_id
        self.changes, self.step = mark
        self.at_ns = at_ns
        self.lives = lives
        self.tokens = self.told = 0
        self.waiting = self._over = False
        for live in lives:
            live.cohort = self

    def tell(self) -> None:
        """Pass on what is new, unless each of them has to be told alone meanwhile."""
        self.waiting = False
        if self._over:
            return
        tokens = self.tokens
        for live in self.lives:
            live.sink.on_tokens(live.generated + tokens)
            if self._over:
                return
        self.told = tokens

    def dissolve(self) -> None:
        """Let each have its own numbers again."""
        self._over = True
        tokens, at_ns = self.tokens, self.at_ns
        for live in self.lives:
            live.generated += tokens
            live.last_ns = at_ns
            live.cohort = None


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
