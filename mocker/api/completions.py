"""The token path: chat and plain completions as raw ASGI."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from contracts.plan import Role
from mocker.api.answer import Answer, word
from mocker.api.errors import ApiError
from mocker.api.frames import FrameEncoder, whole_answer
from mocker.api.requests import CompletionRequest, parse_completion
from mocker.engine_driver import EngineDriver

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_BYTES_MAX = 16 * 1024 * 1024
_JSON = (b"content-type", b"application/json")
_STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class CompletionRoutes:
    """Serves ``/v1/chat/completions`` and ``/v1/completions``."""

    def __init__(self, driver: EngineDriver, seed: int) -> None:
        self._driver = driver
        self._seed = seed
        self._answers = 0
        pools = driver.plan.topology.pools
        last = next((pool for pool in pools if pool.role is not Role.PREFILL), pools[0])
        self.context_tokens = last.engine.limits.max_model_len

    async def __call__(self, scope: Scope, receive: Receive, send: Send, *, chat: bool) -> None:
        """Answer one request."""
        endpoint = "chat_completions" if chat else "completions"
        kind, status = "unary", "error"
        try:
            _only_post(scope)
            request = parse_completion(await read_body(scope, receive), chat=chat)
            kind = "stream" if request.stream else "unary"
            status = await self._answer(request, scope, receive, send)
        except ApiError as error:
            await send_error(send, error)
        except asyncio.CancelledError:
            # The server cancels the call of a client that has gone; nobody waits for it.
            status = "error"
        finally:
            self._driver.metrics.requests[endpoint, kind, status] += 1

    async def _answer(
        self, request: CompletionRequest, scope: Scope, receive: Receive, send: Send
    ) -> str:
        if request.model.lower() != self._driver.plan.model_id.lower():
            raise ApiError(
                404,
                f"The model `{request.model}` does not exist.",
                param="model",
                code="model_not_found",
            )
        wordings = [
            word(request, seed=self._seed, choice=choice, context_tokens=self.context_tokens)
            for choice in range(request.choices)
        ]
        answer = Answer(self._driver, request, wordings)
        answer.start(_header(scope, b"x-request-id"))
        self._answers += 1
        prefix = "chatcmpl" if request.chat else "cmpl"
        answer_id = f"{prefix}-{self._seed}-{self._answers}"
        created = self._driver.created_s
        gone = asyncio.create_task(_disconnected(receive, answer.wake))
        try:
            if request.stream:
                encoder = FrameEncoder(request, answer_id, created)
                return await _stream(answer, encoder, gone, send)
            while not answer.ended and not gone.done():
                await answer.wake.wait()
                answer.wake.clear()
            if gone.done() and not answer.ended:
                return "error"
            if answer.failure is not None:
                raise ApiError(503, answer.failure, code="worker_lost")
            parts = [
                (each.wording.text, each.wording.reason, each.wording.generated)
                for each in answer.choices
            ]
            await send_json(send, 200, whole_answer(request, answer_id, created, parts))
            return "success"
        finally:
            answer.close()
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone


def _only_post(scope: Scope) -> None:
    if scope["method"] != "POST":
        raise ApiError(405, f"{scope['method']} is not allowed here, use POST")


async def _stream(
    answer: Answer, encoder: FrameEncoder, gone: asyncio.Task[None], send: Send
) -> str:
    await send({"type": "http.response.start", "status": 200, "headers": _STREAM_HEADERS})
    opening = b"".join(encoder.role(index) for index in range(len(answer.choices)))
    if opening:
        await _send_part(send, opening)
    sent = [0] * len(answer.choices)
    finished = [False] * len(answer.choices)
    while not all(finished):
        await answer.wake.wait()
        answer.wake.clear()
        if gone.done():
            return "error"
        if answer.failure is not None:
            error = ApiError(503, answer.failure, code="worker_lost")
            await _send_part(send, b"data: " + error.encode() + b"\n\n", more=False)
            return "error"
        frames = []
        for index, choice in enumerate(answer.choices):
            upto = min(choice.generated, choice.wording.shown)
            if upto > sent[index]:
                frames.append(encoder.tokens(index, choice.wording.start, sent[index], upto))
                sent[index] = upto
            if choice.status is not None and not finished[index]:
                finished[index] = True
                frames.append(encoder.finish(index, choice.wording.reason, choice.generated))
        if all(finished):
            frames.append(encoder.closing(sum(each.generated for each in answer.choices)))
        if frames:
            await _send_part(send, b"".join(frames))
    await _send_part(send, b"", more=False)
    return "success"


async def _send_part(send: Send, part: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": part, "more_body": more})


async def _disconnected(receive: Receive, wake: asyncio.Event) -> None:
    """End, and wake the answer up, when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    wake.set()


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """The whole request body.

    Raises:
        ApiError: 413 when it is too large.
    """
    announced = _header(scope, b"content-length")
    if announced and announced.isdigit() and int(announced) > BODY_BYTES_MAX:
        raise ApiError(413, f"the body is larger than {BODY_BYTES_MAX} bytes")
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ApiError(400, "the client closed the connection")
        part = message.get("body", b"")
        size += len(part)
        if size > BODY_BYTES_MAX:
            raise ApiError(413, f"the body is larger than {BODY_BYTES_MAX} bytes")
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


async def send_json(send: Send, status: int, body: bytes) -> None:
    """A complete JSON answer."""
    headers = [_JSON, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await _send_part(send, body, more=False)


async def send_error(send: Send, error: ApiError) -> None:
    """An error answer."""
    await send_json(send, error.status, error.encode())


def _header(scope: Scope, name: bytes) -> str | None:
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return None
