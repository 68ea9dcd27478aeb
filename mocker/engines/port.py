"""The port between the HTTP surface and whatever produces tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from contracts.records import RequestStatus
from contracts.workload import PromptText
from mocker.metrics.server import ServerMetrics


class Submitted(NamedTuple):
    """What a client sends, reduced to what engines need.

    Attributes:
        isl: prompt tokens.
        osl: tokens to generate.
        stream: the sink wants to hear of every step.
        text: what the prompt shares with others.
        reason: why the answer will end, ``length`` or ``stop``.
        max_tokens: as asked for, for the metrics.
        timestamps: the outcome shall say when each token was due.
    """

    isl: int
    osl: int
    client_id: str | None = None
    stream: bool = True
    text: PromptText | None = None
    priority: int = 0
    adapter: str = ""
    session: int = -1
    reason: str = "length"
    max_tokens: int | None = None
    timestamps: bool = False


class Outcome(NamedTuple):
    """How a request ended.

    Attributes:
        reason: empty when it completed.
        generated: output tokens, all of them visible.
        cached: prompt tokens that were in the prefix cache.
        token_ns: simulated instants of the tokens.
        arrival_ns: simulated instant of the arrival.
    """

    status: RequestStatus
    reason: str
    generated: int
    cached: int = 0
    arrival_ns: int = 0
    token_ns: Sequence[int] = ()


class TokenSink(Protocol):
    """Receives what happens to one request; nothing is said after the end."""

    def on_tokens(self, generated: int) -> None:
        """``generated`` output tokens are visible in all."""
        ...

    def on_end(self, outcome: Outcome) -> None:
        """Nothing more will come."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What is served.

    Attributes:
        context_tokens: longest prompt plus output.
        block_size_tokens: of the KV cache.
        prefix_caching: prompts are worth comparing.
        created_s: seconds since 1970.
    """

    model_id: str
    context_tokens: int
    block_size_tokens: int
    prefix_caching: bool
    created_s: int


class TokenSource(Protocol):
    """Answers requests; everything happens in one event loop."""

    metrics: ServerMetrics

    @property
    def card(self) -> ModelCard:
        """What is served."""
        ...

    def submit(self, request: Submitted, sink: TokenSink) -> int:
        """Take a request; returns its id. The sink hears of it later, never in this call."""
        ...

    def refusal(self, isl: int, osl: int) -> str | None:
        """Why a request of this size can never be served, ``None`` when it can."""
        ...

    def cancel(self, request_id: int) -> None:
        """The client has gone; unknown ids are ignored."""
        ...
