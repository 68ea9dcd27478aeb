"""What answers say, fixed before the first token is timed."""

from __future__ import annotations

import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

from mocker.api.errors import ApiError
from mocker.api.prompts import Prompt
from mocker.api.requests import NATURAL_ANSWER_TOKENS, GenerationRequest
from mocker.api.schema_text import fitting_json
from mocker.text.tokenizer import Tokenizer


@lru_cache(maxsize=256)
def _seed(server: int, request: int, choice: int) -> bytes:
    return f"{server}/{request}/{choice}".encode()


class Wording:
    """One answer.

    Attributes:
        pieces: text of each token; all of them follow each other in a fixed cycle when
            ``start`` is given, so that they need not be listed.
        start: place in the cycle of the first token, -1 for a text of its own.
        generated: tokens that the engine produces.
        shown: tokens that the client sees; a stop string is not shown.
        text: the whole visible text.
        reason: ``length``, ``stop`` or ``tool_calls``.
    """

    __slots__ = ("generated", "pieces", "reason", "shown", "start", "text")

    def __init__(  # one of each thing an answer is made of
        self,
        *,
        pieces: Sequence[str],
        start: int,
        generated: int,
        shown: int,
        text: str,
        reason: str,
    ) -> None:
        self.pieces = pieces
        self.start = start
        self.generated = generated
        self.shown = shown
        self.text = text
        self.reason = reason


class Author:
    """Decides length and text of answers.

    Args:
        tokenizer: of the model.
        seed: of the server.
        context_tokens: longest prompt plus output.
    """

    def __init__(self, tokenizer: Tokenizer, seed: int, context_tokens: int) -> None:
        self.tokenizer = tokenizer
        self.cycle = tokenizer.cycle
        self._seed = seed
        self._context = context_tokens
        self._texts: dict[tuple[int, int], str] = {}
        self._units: list[Any] = (
            [token.strip() for token in self.cycle]
            if tokenizer.name == "words"
            else [tokenizer.encode(token)[0] for token in self.cycle]
        )

    def write(self, request: GenerationRequest, prompt: Prompt, choice: int) -> Wording:
        """The answer to one prompt.

        Raises:
            ApiError: 400 when prompt and answer exceed the context.
        """
        room = self._room(request, prompt)
        start = zlib.crc32(_seed(self._seed, request.seed, choice), prompt.number) % len(self.cycle)
        if request.call is not None or request.schema is not None:
            return self._structured(request, start, room)
        limit = request.max_tokens
        if limit is None:
            natural = room if request.ignore_eos else NATURAL_ANSWER_TOKENS
            tokens, reason = max(request.min_tokens, min(room, natural)), "stop"
        else:
            tokens, reason = limit, "length"
        if request.stops or request.stop_ids:
            stopped = self._stop(request, start, tokens)
            if stopped is not None:
                return stopped
        text = "" if request.stream else self.text(start, tokens)
        return Wording(
            pieces=self.cycle, start=start, generated=tokens, shown=tokens, text=text, reason=reason
        )

    def text(self, start: int, tokens: int) -> str:
        """The first tokens of the answer that begins at a place of the cycle."""
        key = start, tokens
        found = self._texts.get(key)
        if found is None:
            cycle = self.cycle
            rounds = -(-(start + tokens) // len(cycle))
            found = "".join((cycle * rounds)[start : start + tokens])
            if len(self._texts) < 1024 and tokens <= 512:
                self._texts[key] = found
        return found

    def units(self, wording: Wording) -> Sequence[str] | Sequence[int]:
        """The answer as a later prompt repeats it; empty for texts of their own."""
        if wording.start < 0 or wording.shown < wording.generated:
            return ()
        rounds = -(-(wording.start + wording.generated) // len(self.cycle))
        return (self._units * rounds)[wording.start : wording.start + wording.generated]

    def _room(self, request: GenerationRequest, prompt: Prompt) -> int:
        room = self._context - prompt.isl
        wanted = request.max_tokens or max(1, request.min_tokens)
        if wanted > room:
            raise ApiError(
                400,
                f"This model's maximum context length is {self._context} tokens. However, you "
                f"requested {prompt.isl + wanted} tokens ({prompt.isl} in the prompt, {wanted} "
                "for the completion).",
                param="messages" if request.chat else "prompt",
                code="context_length_exceeded",
            )
        return room

    def _stop(self, request: GenerationRequest, start: int, tokens: int) -> Wording | None:
        """The answer up to what ends it early; a match must end at or after ``min_tokens``."""
        text, cycle = self.text(start, tokens), self.cycle
        pieces = [cycle[(start + place) % len(cycle)] for place in range(tokens)]
        ends = list(accumulate(map(len, pieces)))
        least = ends[request.min_tokens - 1] if request.min_tokens else 0
        matches = []
        for stop in request.stops:
            at = text.find(stop, max(0, least - len(stop)))
            if at >= 0:
                matches.append((at, bisect_left(ends, at + len(stop)) + 1))
        if request.stop_ids:
            wanted = {
                token for token in cycle if self.tokenizer.encode(token)[0] in request.stop_ids
            }
            for place in range(max(0, request.min_tokens - 1), tokens):
                if pieces[place] in wanted:
                    matches.append((ends[place] - len(pieces[place]), place + 1))
                    break
        if not matches:
            return None
        cut, generated = min(matches)
        whole = bisect_right(ends, cut)
        rest = text[ends[whole - 1] if whole else 0 : cut]
        pieces = [*pieces[:whole], rest] if rest else pieces[:whole]
        return Wording(
            pieces=pieces, start=-1, generated=generated, shown=len(pieces), text=text[:cut],
            reason="stop",
        )  # fmt: skip

    def _structured(self, request: GenerationRequest, start: int, room: int) -> Wording:
        words = [self.cycle[(start + k) % len(self.cycle)].strip() for k in range(8)]
        schema = request.call[1] if request.call is not None else request.schema or {}
        text = fitting_json(schema, words) if schema or request.call is None else "{}"
        pieces = self.tokenizer.pieces(text)
        limit = room if request.max_tokens is None else request.max_tokens
        reason = "tool_calls" if request.call is not None else "stop"
        if len(pieces) > limit:
            pieces, reason = pieces[:limit], "length"
            text = "".join(pieces)
        return Wording(
            pieces=pieces, start=-1, generated=len(pieces), shown=len(pieces), text=text,
            reason=reason,
        )  # fmt: skip
