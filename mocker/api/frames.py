"""Bytes of answers: everything that is the same for all tokens is encoded once."""

from __future__ import annotations

import json

from mocker.api.requests import CompletionRequest
from mocker.text import TOKEN_JSON, word_index

DONE = b"data: [DONE]\n\n"


def usage(isl: int, generated: int) -> dict[str, object]:
    """The usage object of the API."""
    return {
        "prompt_tokens": isl,
        "completion_tokens": generated,
        "total_tokens": isl + generated,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


class FrameEncoder:
    """Server-sent events of one streamed answer.

    Args:
        request: what the client asked for.
        answer_id: ``id`` of all chunks.
        created: ``created`` of all chunks, seconds.
    """

    def __init__(self, request: CompletionRequest, answer_id: str, created: int) -> None:
        self._request = request
        kind = "chat.completion.chunk" if request.chat else "text_completion"
        head = {"id": answer_id, "object": kind, "created": created, "model": request.model}
        self._head = b"data: " + json.dumps(head).encode()[:-1]
        self._usage = b',"usage":null' if request.include_usage else b""

    def role(self, choice: int) -> bytes:
        """The opening chunk of a chat answer; empty for plain completions."""
        if not self._request.chat:
            return b""
        return self._chunk(choice, b'"delta":{"role":"assistant","content":""}', b"null", 0)

    def tokens(self, choice: int, start: int, first: int, last: int) -> bytes:
        """One chunk for each token at the positions ``first`` to ``last - 1``."""
        name = b'"delta":{"content":' if self._request.chat else b'"text":'
        close = b"}" if self._request.chat else b""
        return b"".join(
            self._chunk(
                choice,
                name + TOKEN_JSON[word_index(start, position)] + close,
                b"null",
                position + 1,
            )
            for position in range(first, last)
        )

    def finish(self, choice: int, reason: str, generated: int) -> bytes:
        """The chunk that says why an answer ended."""
        body = b'"delta":{}' if self._request.chat else b'"text":""'
        return self._chunk(choice, body, json.dumps(reason).encode(), generated)

    def closing(self, generated: int) -> bytes:
        """Usage if asked for, and the end of the stream."""
        if not self._request.include_usage:
            return DONE
        counts = json.dumps(usage(self._request.isl, generated)).encode()
        return self._head + b',"choices":[],"usage":' + counts + b"}\n\n" + DONE

    def _chunk(self, choice: int, body: bytes, reason: bytes, generated: int) -> bytes:
        counts = self._usage
        if self._request.continuous_usage:
            counts = b',"usage":' + json.dumps(usage(self._request.isl, generated)).encode()
        return b'%b,"choices":[{"index":%d,%b,"logprobs":null,"finish_reason":%b}]%b}\n\n' % (
            self._head,
            choice,
            body,
            reason,
            counts,
        )


def whole_answer(
    request: CompletionRequest, answer_id: str, created: int, choices: list[tuple[str, str, int]]
) -> bytes:
    """The body of an answer that is not streamed.

    Args:
        request: what the client asked for.
        answer_id: its id.
        created: seconds.
        choices: text, finish reason and generated tokens of each choice.
    """
    entries = []
    for index, (text, reason, _) in enumerate(choices):
        entry: dict[str, object] = {"index": index, "logprobs": None, "finish_reason": reason}
        if request.chat:
            entry["message"] = {"role": "assistant", "content": text}
        else:
            entry["text"] = text
        entries.append(entry)
    body = {
        "id": answer_id,
        "object": "chat.completion" if request.chat else "text_completion",
        "created": created,
        "model": request.model,
        "choices": entries,
        "usage": usage(request.isl, sum(generated for _, _, generated in choices)),
    }
    return json.dumps(body).encode()
