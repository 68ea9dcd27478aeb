"""The short way of a plain token: the same bytes as the long one, and only while it may be used."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mocker.api.frames import FrameEncoder, TokenLabels
from mocker.api.prompts import PromptReader
from mocker.api.replies import StreamReply
from mocker.api.requests import GenerationRequest, parse_generation
from mocker.api.wording import Author
from mocker.metrics.server import ServerMetrics
from mocker.text.words import WordTokenizer

TOKENS = 200


class Source:
    def __init__(self) -> None:
        self.metrics = ServerMetrics()

    def cancel(self, request_id: int) -> None:
        raise AssertionError("nothing was submitted")


class Port:
    """Keeps what goes either way; like a connection with nothing buffered until ``full``."""

    writable = True

    def __init__(self) -> None:
        self.offered: list[bytes] = []
        self.written: list[bytes] = []
        self.full = False

    def offer(self) -> Any:
        return self._take

    def _take(self, part: bytes) -> bool:
        if not self.full:
            self.offered.append(part)
        return not self.full

    def write(self, part: bytes) -> None:
        self.written.append(part)

    def close(self, part: bytes = b"") -> None:
        self.written.append(part)

    def attach(self, resumed: Any, lost: Any) -> None:
        pass


def parsed(**more: Any) -> GenerationRequest:
    content = {"model": "M", "stream": True, "max_tokens": TOKENS, "ignore_eos": True, **more}
    body = {"messages": [{"role": "user", "content": "a b c"}], **content}
    return parse_generation(json.dumps(body).encode(), PromptReader(WordTokenizer()), chat=True)


def reply_to(request: GenerationRequest) -> StreamReply:
    author = Author(WordTokenizer(), 0, 4096)
    wordings = [author.write(request, request.prompts[0], each) for each in range(request.choices)]
    reply = StreamReply(Source(), wordings)  # type: ignore[arg-type]
    labels = TokenLabels(author)
    for index, choice in enumerate(reply.choices):
        choice.encoder = FrameEncoder(request, "id", 0, index, choice.wording, labels)
    return reply


def test_a_part_is_the_chunk_in_chunked_transfer() -> None:
    (choice,) = reply_to(parsed()).choices
    encoder = choice.encoder
    assert encoder is not None
    assert encoder.pressed
    for position in range(TOKENS):
        chunk = encoder.tokens(position, position + 1)
        assert encoder.part(position) == b"%x\r\n%b\r\n" % (len(chunk), chunk)


@pytest.mark.parametrize(
    "more",
    [
        {"logprobs": True},
        {"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
        {"model": "m" * 3000},
        {"response_format": {"type": "json_object"}},
    ],
    ids=["logprobs", "usage", "long", "own text"],
)
def test_chunks_that_are_not_plain_go_the_long_way(more: dict[str, Any]) -> None:
    reply, port = reply_to(parsed(**more)), Port()
    reply.attach(port)
    for generated in (1, 2):
        reply.choices[0].on_tokens(generated)
    assert len(port.written) == 2
    assert not port.offered


def test_single_tokens_are_offered_and_others_written() -> None:
    reply, port = reply_to(parsed()), Port()
    reply.attach(port)
    (choice,) = reply.choices
    choice.on_tokens(1)
    choice.on_tokens(2)
    choice.on_tokens(5)
    port.full = True
    choice.on_tokens(6)
    assert (len(port.offered), len(port.written)) == (2, 2)
    assert choice.encoder is not None
    assert port.offered[1] == choice.encoder.part(1)
    assert port.written == [choice.encoder.tokens(2, 5), choice.encoder.tokens(5, 6)]


def test_nothing_is_offered_after_the_last_part() -> None:
    """The connection is the next request's then, whatever another choice still hears of."""
    reply, port = reply_to(parsed(n=2)), Port()
    reply.attach(port)
    first, second = reply.choices
    first.on_tokens(1)
    reply.finish(b"the end")
    second.on_tokens(1)
    assert len(port.offered) == 1
    assert port.written == [b"the end"]
