"""The token path: chat and plain completions as raw ASGI."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from mocker.api.errors import ApiError
from mocker.api.frames import (
    FrameEncoder,
    TokenLabels,
    chunk_head,
    closing,
    usage,
    whole_answer,
)
from mocker.api.http import (
    answer_error,
    answer_json,
    header,
    only_post,
    read_body,
    send_error,
    send_json,
    send_part,
)
from mocker.api.http_faults import FAULT_HEADER
from mocker.api.prompts import PromptReader, SharedText
from mocker.api.replies import Reply, StreamReply
from mocker.api.requests import GenerationRequest, parse_generation
from mocker.api.server_state import ServerState
from mocker.api.wording import Author, Wording
from mocker.engines.port import Submitted, TokenSource
from mocker.serving.asgi import BODY_PORT, BodyPort, Receive, Scope, Send
from mocker.text.tokenizer import Tokenizer

_LOG = logging.getLogger(__name__)
STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
SESSIONS = 65_536
_SESSION_HEADERS = (b"x-session-affinity", b"x-correlation-id")


class Generation:
    """Parses, words and submits; shared by the routes that generate text.

    Args:
        source: what produces tokens.
        state: of the server.
        tokenizer: of the model.
        seed: chooses the generated text.
    """

    def __init__(
        self, source: TokenSource, state: ServerState, tokenizer: Tokenizer, seed: int
    ) -> None:
        card = source.card
        self.source = source
        self.state = state
        self.tokenizer = tokenizer
        self.reader = PromptReader(tokenizer)
        self.author = Author(tokenizer, seed, card.context_tokens)
        self.labels = TokenLabels(self.author)
        self._seed = seed
        self._model = card.model_id.lower()
        self._answers = 0
        self._shared = SharedText(card.block_size_tokens) if card.prefix_caching else None

    def adapter(self, model: str) -> str:
        """The LoRA adapter that a model name means, empty for the base model.

        Raises:
            ApiError: 404.
        """
        if model.lower() == self._model:
            return ""
        if model in self.state.adapters:
            return model
        names = ", ".join(f"`{each}`" for each in (self.source.card.model_id, *self.state.adapters))
        text = f"The model `{model}` does not exist; served here: {names}."
        raise ApiError(404, text, param="model", code="model_not_found")

    def next_id(self, prefix: str) -> str:
        """An id that no other answer of this server has."""
        self._answers += 1
        return f"{prefix}-{self._seed}-{self._answers}"

    def word(self, request: GenerationRequest) -> list[Wording]:
        """What each choice says, prompt by prompt.

        Raises:
            ApiError: the request does not fit.
        """
        return [
            self.author.write(request, prompt, choice)
            for prompt in request.prompts
            for choice in range(request.choices)
        ]

    def submit(self, request: GenerationRequest, reply: Reply, scope: Scope) -> None:
        """Hand every choice to the source.

        Raises:
            ApiError: 400 when it can never be served.
        """
        adapter = self.adapter(request.model)
        client_id = header(scope, b"x-request-id")
        session = _session(scope)
        source = self.source
        source.metrics.choices.observe(request.choices)
        for index, choice in enumerate(reply.choices):
            prompt, wording = request.prompts[index // request.choices], choice.wording
            refused = source.refusal(prompt.isl, wording.generated)
            if refused is not None:
                reply.close()
                raise ApiError(400, refused, code="context_length_exceeded")
            text = None
            if self._shared is not None and len(prompt.units) >= source.card.block_size_tokens:
                text = self._shared.describe(prompt, self.author.units(wording))
            submitted = Submitted(
                prompt.isl, wording.generated, client_id, request.stream, text, request.priority,
                adapter, session, wording.reason, request.max_tokens, request.timestamps,
            )  # fmt: skip
            choice.request_id = source.submit(submitted, choice)


class GenerationRoute:
    """Serves ``/v1/chat/completions`` or ``/v1/completions``."""

    def __init__(self, generation: Generation, *, chat: bool) -> None:
        self._generation = generation
        self._chat = chat
        self._endpoint = "chat_completions" if chat else "completions"
        self._prefix = "chatcmpl" if chat else "cmpl"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        kind, status = "unary", "error"
        try:
            only_post(scope)
            request, wordings = self._read(scope, await read_body(scope, receive))
            kind = "stream" if request.stream else "unary"
            answer = self._stream if request.stream else self._whole
            status = await answer(request, wordings, scope, receive, send)
        except ApiError as error:
            await send_error(send, error)
        except asyncio.CancelledError:
            # The server cancels the call of a client that has gone; nobody waits for it.
            status = "error"
        finally:
            self._count(kind, status)

    def direct(self, scope: Scope, body: bytes, port: BodyPort) -> None:
        """Begin to answer one request; the source's news do the rest."""
        kind = "unary"
        try:
            only_post(scope)
            request, wordings = self._read(scope, body)
            if request.stream:
                kind = "stream"
                self._begin_stream(request, wordings, scope, port)
            else:
                self._begin_whole(request, wordings, scope, port)
        except ApiError as error:
            answer_error(port, error)
            self._count(kind, "error")

    def _read(self, scope: Scope, body: bytes) -> tuple[GenerationRequest, list[Wording]]:
        """Understand a request, or refuse it.

        Raises:
            ApiError: why it is refused.
        """
        generation = self._generation
        state = generation.state
        state.check_ready()
        fault = header(scope, FAULT_HEADER)
        if fault is not None or state.faults.rules:
            state.faults.refuse(fault)
        state.check_queue(generation.source.metrics.running)
        request = parse_generation(body, generation.reader, chat=self._chat)
        generation.adapter(request.model)
        return request, generation.word(request)

    def _count(self, kind: str, status: str) -> None:
        self._generation.source.metrics.requests[self._endpoint, kind, status] += 1

    # -- whole answers -------------------------------------------------------------------

    def _begin_whole(
        self, request: GenerationRequest, wordings: list[Wording], scope: Scope, port: BodyPort
    ) -> None:
        generation = self._generation
        reply = Reply(generation.source, wordings)
        generation.submit(request, reply, scope)

        def end() -> None:
            reply.close()
            try:
                answer_json(port, 200, self._whole_answer(request, wordings, reply))
                status = "success"
            except _GoneError:
                port.abort()
                status = "error"
            except ApiError as error:
                answer_error(port, error)
                status = "error"
            reply.forget()
            self._count("unary", status)

        reply.then(partial(_ended, port, end))
        port.attach(_nothing, reply.lost)

    async def _whole(
        self,
        request: GenerationRequest,
        wordings: list[Wording],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> str:
        generation = self._generation
        reply = Reply(generation.source, wordings)
        generation.submit(request, reply, scope)
        with watched(reply, scope, receive):
            await reply.wait()
        try:
            await send_json(send, 200, self._whole_answer(request, wordings, reply))
        except _GoneError:
            return "error"
        finally:
            reply.forget()
        return "success"

    def _whole_answer(
        self, request: GenerationRequest, wordings: list[Wording], reply: Reply
    ) -> bytes:
        """The body of an answer.

        Raises:
            ApiError: the request has failed.
            _GoneError: nobody waits for it.
        """
        generation = self._generation
        if reply.gone:
            generation.source.metrics.disconnected += 1
            raise _GoneError
        if (failure := reply.failure) is not None:
            raise failure
        answer_id, created = generation.next_id(self._prefix), generation.source.card.created_s
        counts, timing = _counts(request, reply), _timing(request, reply)
        return whole_answer(request, answer_id, created, wordings, counts, timing)

    # -- streams -------------------------------------------------------------------------

    def _reply(
        self, request: GenerationRequest, wordings: list[Wording], scope: Scope
    ) -> tuple[StreamReply, bytes]:
        """A submitted reply and its first bytes.

        Raises:
            ApiError: 400 when it can never be served.
        """
        generation = self._generation
        reply = StreamReply(generation.source, wordings)
        state = generation.state
        fault = header(scope, FAULT_HEADER)
        if fault is not None or state.faults.rules:
            reply.fault = state.faults.stream_fault(fault)
        answer_id, created = generation.next_id(self._prefix), generation.source.card.created_s
        opening = []
        for index, choice in enumerate(reply.choices):
            choice.encoder = FrameEncoder(
                request, answer_id, created, index, choice.wording, generation.labels
            )
            opening.append(choice.encoder.opening())
        head = chunk_head(request, answer_id, created)
        reply.closing = lambda: closing(
            request, head, _counts(request, reply), _timing(request, reply)
        )
        generation.submit(request, reply, scope)
        return reply, b"".join(opening)

    def _begin_stream(
        self, request: GenerationRequest, wordings: list[Wording], scope: Scope, port: BodyPort
    ) -> None:
        reply, opening = self._reply(request, wordings, scope)
        port.open(200, STREAM_HEADERS, opening)

        def end() -> None:
            reply.close()
            if reply.gone:
                self._generation.source.metrics.disconnected += 1
                port.abort()
            else:
                reply.finish(reply.pull())
            self._count("stream", reply.counts_as)
            reply.closing = bytes
            reply.forget()

        reply.then(partial(_ended, port, end))
        reply.attach(port)

    async def _stream(
        self,
        request: GenerationRequest,
        wordings: list[Wording],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> str:
        reply, opening = self._reply(request, wordings, scope)
        await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
        await send_part(send, opening)
        with watched(reply, scope, receive):
            while part := await reply.parts():
                await send_part(send, part)
        if reply.gone:
            self._generation.source.metrics.disconnected += 1
            if reply.fault is not None:
                raise ConnectionAbortedError("an injected fault")
            return "error"
        await send_part(send, b"", more=False)
        status = reply.counts_as
        reply.closing = bytes
        reply.forget()
        return status


def _ended(port: BodyPort, end: Callable[[], None]) -> None:
    """Write an end; a bug in one answer must not keep the news from others."""
    try:
        end()
    except Exception:  # noqa: BLE001  # whatever it is, the client hears of it
        _LOG.exception("the answer failed")
        port.abort()


class _GoneError(Exception):
    """The client has gone."""


@contextlib.contextmanager
def watched(reply: Reply, scope: Scope, receive: Receive) -> Iterator[None]:
    """While the block runs, a client that leaves ends the reply."""
    port: BodyPort | None = (scope.get("extensions") or {}).get(BODY_PORT)
    watch: asyncio.Task[None] | None = None
    if port is None:
        watch = asyncio.get_running_loop().create_task(_disconnected(receive, reply))
    else:
        port.attach(_nothing, reply.lost)
    try:
        yield
    finally:
        reply.close()
        if watch is not None:
            watch.cancel()


def _nothing() -> None:
    """Nobody is interested."""


async def _disconnected(receive: Receive, reply: Reply) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    reply.lost()


def _counts(request: GenerationRequest, reply: Reply) -> dict[str, Any]:
    isl = sum(prompt.isl for prompt in request.prompts)
    return usage(isl, reply.generated, min(isl, reply.cached))


def _timing(request: GenerationRequest, reply: Reply) -> dict[str, Any] | None:
    """When each token of the first choice was due, in simulated nanoseconds."""
    outcome = reply.choices[0].outcome
    if not request.timestamps or outcome is None:
        return None
    return {"arrival_ns": outcome.arrival_ns, "token_ns": list(outcome.token_ns)}


def _session(scope: Scope) -> int:
    for name in _SESSION_HEADERS:
        value = header(scope, name)
        if value:
            return zlib.crc32(value.encode()) % SESSIONS
    return -1
