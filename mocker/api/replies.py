"""Replies in the making: choices hear of their tokens and pass them to the client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from contracts.records import RequestStatus
from mocker.api.errors import ApiError
from mocker.api.frames import FrameEncoder
from mocker.api.http_faults import StreamFault
from mocker.api.wording import Wording
from mocker.engines.port import Outcome, TokenSource
from mocker.metrics.server import Delivered
from mocker.serving.asgi import BodyPort, Offer


def _nobody() -> None:
    """Nobody wants to know."""


def _nothing(_: int) -> bytes:
    return b""


class Choice:
    """One answer: a request at the source; hears of its tokens.

    Attributes:
        sent: tokens that have been written.
        shown: tokens that will ever be.
        outcome: ``None`` until it has ended.
        offer: takes the next token at once; ``None`` when the reply has to see to it.
        part: makes what is offered, of the number of tokens before.
        delivered: tokens of the server by how they were written.
    """

    __slots__ = (
        "delivered", "encoder", "generated", "offer", "outcome", "part", "reply", "request_id",
        "sent", "shown", "wording",
    )  # fmt: skip

    def __init__(self, reply: Reply, wording: Wording, delivered: Delivered) -> None:
        self.reply = reply
        self.delivered = delivered
        self.wording = wording
        self.shown = wording.shown
        self.encoder: FrameEncoder | None = None
        self.request_id: int | None = None
        self.generated = 0
        self.sent = 0
        self.outcome: Outcome | None = None
        self.offer: Offer | None = None
        self.part: Callable[[int], bytes] = _nothing

    def hasten(self, port: BodyPort) -> None:
        """Let plain tokens go the short way."""
        if self.encoder is not None and self.encoder.pressed:
            self.part, self.offer = self.encoder.part, port.offer()

    def on_tokens(self, generated: int) -> None:
        """Tokens so far; see :class:`mocker.engines.port.TokenSink`.

        One more token of a plain stream is what happens nearly always: it takes the short way.
        """
        self.generated = generated
        offer, sent = self.offer, self.sent
        if offer is not None and generated - sent == 1 and offer(self.part(sent)):
            self.sent = generated
            self.delivered.single += 1
        else:
            self.reply.news(self)

    def on_end(self, outcome: Outcome) -> None:
        """The request has ended."""
        self.offer = None
        self.generated = outcome.generated
        self.outcome = outcome
        self.reply.ended(self)


class Reply:
    """All choices of one request; ends once."""

    def __init__(self, source: TokenSource, wordings: list[Wording]) -> None:
        self._source = source
        self._delivered = source.metrics.delivered
        self.choices = [Choice(self, wording, self._delivered) for wording in wordings]
        self._open = len(wordings)
        self._woken = False
        self._waiter: asyncio.Future[None] | None = None
        self._then: Callable[[], None] = _nobody
        self.gone = False

    @property
    def complete(self) -> bool:
        """Every choice has ended."""
        return self._open == 0

    @property
    def failure(self) -> ApiError | None:
        """Why a choice failed, ``None`` when none did."""
        for choice in self.choices:
            outcome = choice.outcome
            if outcome is None or outcome.status is RequestStatus.COMPLETED:
                continue
            if outcome.status is RequestStatus.REJECTED:
                return ApiError(400, outcome.reason, code="context_length_exceeded")
            return ApiError(503, outcome.reason or "the request was cancelled", code="worker_lost")
        return None

    @property
    def generated(self) -> int:
        """Tokens of all choices."""
        return sum(choice.generated for choice in self.choices)

    @property
    def cached(self) -> int:
        """Prompt tokens that were cached, of all choices."""
        return sum(choice.outcome.cached for choice in self.choices if choice.outcome)

    def news(self, choice: Choice) -> None:
        """There are tokens; nobody waits for single ones here."""

    def ended(self, choice: Choice) -> None:
        """A choice has ended."""
        outcome = choice.outcome
        self._open -= 1
        if self._open == 0 or outcome is None or outcome.status is not RequestStatus.COMPLETED:
            self.wake()

    async def wait(self) -> None:
        """Until all choices have ended, one has failed, or the client has gone."""
        if not self._woken:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def then(self, call: Callable[[], None]) -> None:
        """Call somebody, once, when :meth:`wait` would return."""
        self._then = call

    def wake(self) -> None:
        """Let :meth:`wait` return."""
        if self._woken:
            return
        self._woken = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        then, self._then = self._then, _nobody
        then()

    def lost(self) -> None:
        """The client has gone: free what it holds."""
        self.gone = True
        self.close()
        self.wake()

    def close(self) -> None:
        """Cancel whatever has not ended."""
        for choice in self.choices:
            if choice.outcome is None and choice.request_id is not None:
                self._source.cancel(choice.request_id)

    def forget(self) -> None:
        """Nobody asks any more: let go of the choices, which know their reply.

        Without the circle the memory of a request is free at once, and the collector rests.
        """
        self.choices = []
        self._then = _nobody


class StreamReply(Reply):
    """Writes tokens as they come, or as fast as the client reads.

    Attributes:
        fault: how the stream shall break, if it shall.
        broken: it has broken.
    """

    def __init__(self, source: TokenSource, wordings: list[Wording]) -> None:
        super().__init__(source, wordings)
        self.fault: StreamFault | None = None
        self.broken = False
        self.closing: Callable[[], bytes] = bytes
        self._waiting: list[Choice] = []
        self._port: BodyPort | None = None
        self._wake = asyncio.Event()
        self._held_back = self._pulling = self._over = False

    @property
    def counts_as(self) -> str:
        """How the stream is counted once it has ended."""
        return "error" if self.gone or self.broken or self.failure else "success"

    def attach(self, port: BodyPort) -> None:
        """Write to a port from now on."""
        self._port = port
        port.attach(self.push, self.lost)
        if self.fault is None:
            for choice in self.choices:
                choice.hasten(port)
        self.push()

    def news(self, choice: Choice) -> None:
        """Write, unless the client is slow or has nothing to read from yet."""
        port = self._port
        if port is not None and port.writable and not self._waiting and self.fault is None:
            first, upto, encoder = choice.sent, choice.generated, choice.encoder
            if upto > choice.shown:
                upto = choice.shown
            if upto > first and encoder is not None:
                choice.sent = upto
                self._delivered.count(upto - first)
                port.write(encoder.tokens(first, upto))
            return
        if choice not in self._waiting:
            self._waiting.append(choice)
        self.push()

    def ended(self, choice: Choice) -> None:
        """Write what is left of the choice."""
        self._open -= 1
        if choice not in self._waiting:
            self._waiting.append(choice)
        self.push()

    def push(self) -> None:
        """Write everything that is new, in one go."""
        port = self._port
        if self._pulling:
            return  # an injected fault has cancelled the request; the one who pulls goes on
        if port is None:
            self._wake.set()
        elif not port.writable:
            if not self._held_back:
                self._held_back = True
                self._source.metrics.slow_readers += 1
        elif part := self.pull():
            self._held_back = False
            if self._finished() and not self.gone:
                # The last frames and the end of the body are one write.
                self.finish(part)
            else:
                port.write(part)
        if self._finished():
            self.wake()

    def finish(self, part: bytes) -> None:
        """Write the last part, once; from now on the connection is the next request's."""
        port, self._port = self._port, None
        for choice in self.choices:
            choice.offer = None
        if port is not None:
            port.close(part)

    async def parts(self) -> bytes:
        """What is new, for servers without a port; empty at the end."""
        while True:
            part = self.pull()
            if part or self._finished() or self.gone:
                return part
            await self._wake.wait()
            self._wake.clear()

    def lost(self) -> None:
        """The client has gone."""
        super().lost()
        self._wake.set()

    def pull(self) -> bytes:
        """Frames of all that is new."""
        if self._over:
            return b""
        self._pulling = True
        try:
            return self._frames()
        finally:
            self._pulling = False

    def _frames(self) -> bytes:
        frames: list[bytes] = []
        waiting, self._waiting = self._waiting, []
        for choice in waiting:
            encoder = choice.encoder
            if encoder is None or self.gone:
                continue
            upto = min(choice.generated, choice.shown)
            if self.fault is not None:
                upto = min(upto, self.fault.after_tokens)
            if upto > choice.sent:
                frames.append(encoder.tokens(choice.sent, upto))
                self._delivered.count(upto - choice.sent)
                choice.sent = upto
            outcome = choice.outcome
            if self.fault is not None and choice.sent >= self.fault.after_tokens:
                frames.append(self._break(self.fault))
                return b"".join(frames)
            if outcome is not None and outcome.status is RequestStatus.COMPLETED:
                frames.append(encoder.finish(choice.generated))
        failure = self.failure
        if failure is not None and not self.gone:
            self._over = True
            frames.append(b"data: " + failure.encode() + b"\n\n")
        elif self._open == 0 and waiting and not self.gone:
            self._over = True
            frames.append(self.closing())
        return b"".join(frames)

    def _break(self, fault: StreamFault) -> bytes:
        """Let the stream break as ordered; a stalled one stays open until the client goes."""
        self.broken = True
        if fault.kind == "stream_stall":
            self.close()
            return b""
        if fault.kind == "stream_reset":
            self.lost()
            if self._port is not None:
                self._port.abort()
            return b""
        self._over = True
        self.close()
        return b"data: " + ApiError(500, "an injected fault", code="injected").encode() + b"\n\n"

    def _finished(self) -> bool:
        if self.fault is not None and self.fault.kind == "stream_stall":
            return self.gone
        return self._over or self.failure is not None or (self._open == 0 and not self._waiting)
