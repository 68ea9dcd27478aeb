"""``/v1/responses``: the same generation under the names of the Responses API."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from mocker.api.errors import ApiError
from mocker.api.fields import flag, integer, json_object, mapping, text
from mocker.api.frames import piece_at
from mocker.api.generate import STREAM_HEADERS, Generation, watched
from mocker.api.http import (
    header,
    only_post,
    read_body,
    send_error,
    send_json,
    send_part,
)
from mocker.api.http_faults import FAULT_HEADER
from mocker.api.prompts import Prompt, PromptReader
from mocker.api.replies import Choice, Reply
from mocker.api.requests import GenerationRequest
from mocker.api.wording import Wording
from mocker.serving.asgi import Receive, Scope, Send

_ENDPOINT = "responses"


def parse_response(body: bytes, reader: PromptReader) -> GenerationRequest:
    """Check a request body.

    Raises:
        ApiError: 400 with the name of the offending field.
    """
    data = json_object(body)
    limit: int | None = None
    if data.get("max_output_tokens") is not None:
        limit = integer(data, "max_output_tokens", 1, low=1)
    request = GenerationRequest(
        chat=True,
        model=text(data, "model"),
        prompts=[_prompt(data, reader)],
        max_tokens=limit,
        stream=flag(data, "stream"),
        ignore_eos=flag(data, "ignore_eos"),
    )
    form = mapping(mapping(data, "text"), "format")
    if form.get("type") == "json_schema":
        request.schema = mapping(form, "schema")
    elif form.get("type") == "json_object":
        request.schema = {}
    return request


def _prompt(data: Mapping[str, Any], reader: PromptReader) -> Prompt:
    given, first = data.get("input"), data.get("instructions")
    messages: list[Any] = []
    if isinstance(first, str) and first:
        messages.append({"role": "system", "content": first})
    if isinstance(given, str) and given:
        messages.append({"role": "user", "content": given})
    elif isinstance(given, list) and given:
        messages += [
            entry if isinstance(entry, dict) and "role" in entry else _item(entry)
            for entry in given
        ]
    else:
        raise ApiError(400, "input must be a text or a list that is not empty", param="input")
    try:
        return reader.of_chat({"messages": messages})
    except ApiError as error:
        raise ApiError(400, error.message.replace("messages", "input"), param="input") from error


def _item(entry: object) -> dict[str, Any]:
    """Items that are no message, for example the output of a tool, count by their text."""
    if not isinstance(entry, dict):
        raise ApiError(400, "every entry of input must be an object", param="input")
    words = entry.get("output") or entry.get("arguments") or ""
    return {"role": "tool", "content": words if isinstance(words, str) else json.dumps(words)}


class ResponsesRoute:
    """Serves ``/v1/responses``, and ``/v1/responses/input_tokens`` which only counts."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        generation = self._generation
        kind, status = "unary", "error"
        try:
            only_post(scope)
            body = await read_body(scope, receive)
            if scope["path"].endswith("/input_tokens"):
                count = parse_response(body, generation.reader).prompts[0].isl
                answer = {"object": "response.input_tokens", "input_tokens": count}
                await send_json(send, 200, json.dumps(answer).encode())
                status = "success"
                return
            generation.state.check_ready()
            generation.state.faults.refuse(header(scope, FAULT_HEADER))
            generation.state.check_queue(generation.source.metrics.running)
            request = parse_response(body, generation.reader)
            kind = "stream" if request.stream else "unary"
            generation.adapter(request.model)
            wording = generation.word(request)[0]
            await self._answer(request, wording, scope, receive, send)
            status = "success"
        except ApiError as error:
            await send_error(send, error)
        finally:
            generation.source.metrics.requests[_ENDPOINT, kind, status] += 1

    async def _answer(
        self,
        request: GenerationRequest,
        wording: Wording,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        generation = self._generation
        events = _Events(
            request, wording, generation.next_id("resp"), generation.source.card.created_s
        )
        reply = (
            _NewsReply(generation.source, [wording])
            if request.stream
            else Reply(generation.source, [wording])
        )
        generation.submit(request, reply, scope)
        with watched(reply, scope, receive):
            if isinstance(reply, _NewsReply):
                await send(
                    {"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS}
                )
                await send_part(send, b"".join(events.opening()))
                while not reply.complete and not reply.gone and reply.failure is None:
                    await reply.change()
                    await send_part(send, b"".join(events.deltas(reply.choices[0].generated)))
            else:
                await reply.wait()
        if reply.gone:
            generation.source.metrics.disconnected += 1
            return
        failure, cached = reply.failure, reply.cached
        if not request.stream:
            if failure is not None:
                raise failure
            await send_json(send, 200, json.dumps(events.response("completed", cached)).encode())
            return
        last = events.failed(failure) if failure is not None else events.closing(cached)
        await send_part(send, b"".join(last), more=False)


class _NewsReply(Reply):
    """A reply whose task writes; it is woken by every token."""

    async def change(self) -> None:
        """Until there is something new."""
        await self.wait()
        if not self.complete:
            self._woken, self._waiter = False, None

    def news(self, choice: Choice) -> None:
        """There are tokens."""
        del choice
        self.wake()


class _Events:
    """Server-sent events of one response, numbered."""

    def __init__(
        self, request: GenerationRequest, wording: Wording, response_id: str, created: int
    ) -> None:
        self._request = request
        self._wording = wording
        self._id = response_id
        self._item_id = f"msg-{response_id}"
        self._created = created
        self._number = 0
        self._sent = 0

    def opening(self) -> Iterator[bytes]:
        """Everything before the first token."""
        response = self.response("in_progress", 0)
        yield self._event("response.created", response=response)
        yield self._event("response.in_progress", response=response)
        yield self._event("response.output_item.added", output_index=0, item=self._item(done=False))
        yield self._event("response.content_part.added", **self._place(), part=_part(""))

    def deltas(self, generated: int) -> Iterator[bytes]:
        """One event for each new token."""
        upto = min(generated, self._wording.shown)
        for position in range(self._sent, upto):
            piece = piece_at(self._wording, position)
            yield self._event("response.output_text.delta", **self._place(), delta=piece)
        self._sent = max(self._sent, upto)

    def closing(self, cached: int) -> Iterator[bytes]:
        """What is left, the whole text and the response."""
        yield from self.deltas(self._wording.shown)
        words = self._text()
        yield self._event("response.output_text.done", **self._place(), text=words)
        yield self._event("response.content_part.done", **self._place(), part=_part(words))
        yield self._event("response.output_item.done", output_index=0, item=self._item(done=True))
        status = "incomplete" if self._wording.reason == "length" else "completed"
        yield self._event(f"response.{status}", response=self.response("completed", cached))

    def failed(self, failure: ApiError) -> Iterator[bytes]:
        """The request has failed."""
        response = {**self.response("failed", 0), "error": failure.body()["error"]}
        yield self._event("response.failed", response=response)

    def response(self, status: str, cached: int) -> dict[str, Any]:
        """The response object."""
        isl, osl = self._request.prompts[0].isl, self._wording.generated
        done = status == "completed"
        cut = done and self._wording.reason == "length"
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": "incomplete" if cut else status,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "error": None,
            "model": self._request.model,
            "output": [self._item(done=True)] if done else [],
            "parallel_tool_calls": False,
            "tool_choice": "none",
            "tools": [],
            "usage": {
                "input_tokens": isl,
                "input_tokens_details": {"cached_tokens": min(cached, isl)},
                "output_tokens": osl,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": isl + osl,
            }
            if done
            else None,
        }

    def _text(self) -> str:
        return "".join(piece_at(self._wording, at) for at in range(self._wording.shown))

    def _item(self, *, done: bool) -> dict[str, Any]:
        return {
            "id": self._item_id,
            "type": "message",
            "status": "completed" if done else "in_progress",
            "role": "assistant",
            "content": [_part(self._text())] if done else [],
        }

    def _place(self) -> dict[str, Any]:
        return {"item_id": self._item_id, "output_index": 0, "content_index": 0}

    def _event(self, kind: str, **content: Any) -> bytes:  # noqa: ANN401  # JSON
        number, self._number = self._number, self._number + 1
        data = json.dumps({"type": kind, "sequence_number": number, **content})
        return f"event: {kind}\ndata: {data}\n\n".encode()


def _part(words: str) -> dict[str, Any]:
    return {"type": "output_text", "text": words, "annotations": []}
