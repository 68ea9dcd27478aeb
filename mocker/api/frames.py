"""Bytes of answers: everything that is the same for all tokens is encoded once."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from mocker.api.requests import GenerationRequest
from mocker.api.wording import Author, Wording

DONE = b"data: [DONE]\n\n"
# The head of a chunk in chunked transfer, by the bytes that follow.
_SIZES = [b"%x\r\n" % size for size in range(2048)]
# The most frequent whole answer; the general one takes three times as long.
_WHOLE_CHAT = (
    b'{"id":"%b","object":"chat.completion","created":%d,"model":%b,"choices":[{"index":0,'
    b'"message":{"role":"assistant","content":%b},"logprobs":null,"finish_reason":"%b"}],'
    b'"usage":%b}'
)
_USAGE = (
    b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,'
    b'"prompt_tokens_details":{"cached_tokens":%d}}'
)


def usage(isl: int, generated: int, cached: int | None = None) -> dict[str, Any]:
    """The usage object of the API."""
    counts: dict[str, Any] = {
        "prompt_tokens": isl,
        "completion_tokens": generated,
        "total_tokens": isl + generated,
    }
    if cached is not None:
        counts["prompt_tokens_details"] = {"cached_tokens": cached}
    return counts


@lru_cache(maxsize=4096)
def quoted(text: str) -> bytes:
    """The text as JSON; models and short answers come again and again."""
    return json.dumps(text).encode()


def _usage_text(counts: dict[str, Any]) -> bytes:
    """JSON of the usage object of a whole answer."""
    if "prompt_tokens_details" not in counts:
        return json.dumps(counts).encode()
    return _USAGE % (
        counts["prompt_tokens"], counts["completion_tokens"], counts["total_tokens"],
        counts["prompt_tokens_details"]["cached_tokens"],
    )  # fmt: skip


class TokenLabels:
    """JSON of the tokens in their cycle, the cycle twice, so that runs can be cut out of it."""

    def __init__(self, author: Author) -> None:
        self.cycle = len(author.cycle)
        self.encoded = [json.dumps(token).encode() for token in author.cycle * 2]
        self.longest = max(map(len, self.encoded))


class FrameEncoder:
    """Server-sent events of one choice of a streamed answer.

    Args:
        request: what the client asked for.
        answer_id: ``id`` of all chunks.
        created: ``created`` of all chunks, seconds.
        index: of the choice.
        wording: what it says.
        labels: of the server.

    Attributes:
        pressed: :meth:`part` may be asked for single tokens.
    """

    __slots__ = (
        "_call", "_close", "_cycle", "_encoded", "_end", "_fixed", "_head", "_index", "_isl",
        "_open", "_plain", "_request", "_seam", "_start", "_usage", "_wording", "pressed",
    )  # fmt: skip

    def __init__(  # one of each thing a chunk is made of
        self,
        request: GenerationRequest,
        answer_id: str,
        created: int,
        index: int,
        wording: Wording,
        labels: TokenLabels,
    ) -> None:
        self._request = request
        self._index = index
        self._wording = wording
        self._encoded, self._cycle = labels.encoded, labels.cycle
        self._isl = request.prompts[index // request.choices].isl
        self._call = request.call
        self._head = chunk_head(request, answer_id, created)
        self._usage = b',"usage":null' if request.include_usage else b""
        name = b'"text":'
        end = b""
        if request.call is not None:
            name = b'"delta":{"tool_calls":[{"index":0,"function":{"arguments":'
            end = b"}}]}"
        elif request.chat:
            name, end = b'"delta":{"content":', b"}"
        self._open = b'%b,"choices":[{"index":%d,%b' % (self._head, index, name)
        self._close = b'%b,"logprobs":null,"finish_reason":null}]%b}\n\n' % (end, self._usage)
        self._seam = self._close + self._open
        self._plain = not (
            request.continuous_usage or request.top_logprobs is not None or request.token_ids
        )
        self._start = wording.start if self._plain else -1
        self._end = self._close + b"\r\n"
        self._fixed = len(self._open) + len(self._close)
        self.pressed = (
            self._start >= 0
            and wording.shown == wording.generated
            and self._fixed + labels.longest < len(_SIZES)
        )

    def opening(self) -> bytes:
        """The first chunk of a chat answer, and the echo of a plain one, if asked for."""
        request = self._request
        if not request.chat:
            prompt = request.prompts[self._index // request.choices]
            if not request.echo:
                return b""
            return self._chunk(b'"text":' + json.dumps(prompt.text).encode(), None, 0)
        role = self._chunk(b'"delta":{"role":"assistant","content":""}', None, 0)
        if self._call is None:
            return role
        call = {
            "index": 0,
            "id": f"call_{self._index}",
            "type": "function",
            "function": {"name": self._call[0], "arguments": ""},
        }
        return role + self._chunk(
            b'"delta":{"tool_calls":[' + json.dumps(call).encode() + b"]}", None, 0
        )

    def part(self, position: int) -> bytes:
        """The chunk of one token as chunked transfer has it; only where ``pressed``."""
        label = self._encoded[(self._start + position) % self._cycle]
        return _SIZES[self._fixed + len(label)] + self._open + label + self._end

    def tokens(self, first: int, last: int) -> bytes:
        """One chunk for each token at the positions ``first`` to ``last - 1``."""
        start, cycle, encoded = self._start, self._cycle, self._encoded
        if start >= 0 and last - first == 1:
            return self._open + encoded[(start + first) % cycle] + self._close
        if not self._plain:
            return b"".join(self._rich(position) for position in range(first, last))
        if start < 0:
            labels = [json.dumps(piece).encode() for piece in self._wording.pieces[first:last]]
            return self._open + self._seam.join(labels) + self._close
        begin = (start + first) % cycle
        count, labels = last - first, []
        while count > 0:
            part = encoded[begin : min(begin + count, 2 * cycle)]
            labels += part
            count -= len(part)
            begin = 0
        return self._open + self._seam.join(labels) + self._close

    def finish(self, generated: int) -> bytes:
        """The chunk that says why an answer ended."""
        body = b'"delta":{}' if self._request.chat else b'"text":""'
        return self._chunk(body, self._wording.reason, generated)

    def _rich(self, position: int) -> bytes:
        """A chunk with usage, probabilities or the token's number."""
        piece = piece_at(self._wording, position)
        label = json.dumps(piece).encode()
        if self._call is not None:
            body = b'"delta":{"tool_calls":[{"index":0,"function":{"arguments":%b}}]}' % label
        elif self._request.chat:
            body = b'"delta":{"content":%b}' % label
        else:
            body = b'"text":%b' % label
        shown = b"null"
        if self._request.top_logprobs is not None:
            shown = json.dumps(
                logprobs(self._request, self._wording, position, position + 1)
            ).encode()
        return self._chunk(body, None, position + 1, shown)

    def _chunk(
        self, body: bytes, reason: str | None, generated: int, shown: bytes = b"null"
    ) -> bytes:
        counts = self._usage
        if self._request.continuous_usage:
            counts = b',"usage":' + json.dumps(usage(self._isl, generated)).encode()
        return b'%b,"choices":[{"index":%d,%b,"logprobs":%b,"finish_reason":%b}]%b}\n\n' % (
            self._head,
            self._index,
            body,
            shown,
            json.dumps(reason).encode(),
            counts,
        )


def chunk_head(request: GenerationRequest, answer_id: str, created: int) -> bytes:
    """The beginning that all chunks of an answer share."""
    kind = "chat.completion.chunk" if request.chat else "text_completion"
    head = {"id": answer_id, "object": kind, "created": created, "model": request.model}
    return b"data: " + json.dumps(head).encode()[:-1]


def closing(
    request: GenerationRequest, head: bytes, counts: dict[str, Any], timing: dict[str, Any] | None
) -> bytes:
    """Usage and timing if asked for, and the end of the stream."""
    if timing is not None:
        shown = json.dumps({"timing": timing}).encode()
        body = json.dumps(counts).encode() if request.include_usage else b"null"
        return head + b',"choices":[],"usage":' + body + b',"nvext":' + shown + b"}\n\n" + DONE
    if not request.include_usage:
        return DONE
    return head + b',"choices":[],"usage":' + json.dumps(counts).encode() + b"}\n\n" + DONE


def piece_at(wording: Wording, position: int) -> str:
    """Text of one token."""
    if wording.start < 0:
        return wording.pieces[position]
    return wording.pieces[(wording.start + position) % len(wording.pieces)]


def logprobs(request: GenerationRequest, wording: Wording, first: int, last: int) -> dict[str, Any]:
    """Probabilities of tokens: the chosen one is always likely, the others are its neighbours."""
    top = request.top_logprobs or 0
    entries = []
    for position in range(first, last):
        piece = piece_at(wording, position)
        chosen = -0.01 * (1 + position % 10)
        others = [(piece, chosen), *((f" {rank}", chosen - rank) for rank in range(1, top))]
        entries.append((piece, chosen, others[:top]))
    if request.chat:
        return {
            "content": [
                {**_entry(piece, chosen), "top_logprobs": [_entry(*other) for other in others]}
                for piece, chosen, others in entries
            ]
        }
    offsets = [0]
    for piece, _, _ in entries[:-1]:
        offsets.append(offsets[-1] + len(piece))
    return {
        "tokens": [piece for piece, _, _ in entries],
        "token_logprobs": [chosen for _, chosen, _ in entries],
        "top_logprobs": [dict(others) for _, _, others in entries],
        "text_offset": offsets,
    }


def _entry(piece: str, chosen: float) -> dict[str, Any]:
    return {"token": piece, "logprob": chosen, "bytes": list(piece.encode())}


def whole_answer(  # one of each thing an answer is made of
    request: GenerationRequest,
    answer_id: str,
    created: int,
    wordings: list[Wording],
    counts: dict[str, Any],
    timing: dict[str, Any] | None,
) -> bytes:
    """The body of an answer that is not streamed."""
    if timing is None and len(wordings) == 1 and request.top_logprobs is None:
        wording = wordings[0]
        if request.chat and request.call is None:
            return _WHOLE_CHAT % (
                answer_id.encode(),
                created,
                quoted(request.model),
                quoted(wording.text),
                wording.reason.encode(),
                _usage_text(counts),
            )
    body: dict[str, Any] = {
        "id": answer_id,
        "object": "chat.completion" if request.chat else "text_completion",
        "created": created,
        "model": request.model,
        "choices": [_choice(request, index, wording) for index, wording in enumerate(wordings)],
        "usage": counts,
    }
    if timing is not None:
        body["nvext"] = {"timing": timing}
    return json.dumps(body).encode()


def _choice(request: GenerationRequest, index: int, wording: Wording) -> dict[str, Any]:
    shown = None
    if request.top_logprobs is not None:
        shown = logprobs(request, wording, 0, wording.shown)
    entry: dict[str, Any] = {"index": index, "logprobs": shown, "finish_reason": wording.reason}
    if request.call is not None:
        function = {"name": request.call[0], "arguments": wording.text}
        call = {"id": f"call_{index}", "type": "function", "function": function}
        entry["message"] = {"role": "assistant", "content": None, "tool_calls": [call]}
    elif request.chat:
        entry["message"] = {"role": "assistant", "content": wording.text}
    else:
        prompt = request.prompts[index // request.choices].text if request.echo else ""
        entry["text"] = prompt + wording.text
    return entry
