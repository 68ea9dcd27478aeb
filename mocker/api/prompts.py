"""Prompts in tokens, and which of their KV blocks others may share."""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from contracts.streams import RandomStreams
from contracts.workload import PromptText
from mocker.api.errors import ApiError
from mocker.text.tokenizer import Tokenizer
from mocker.text.words import WordTokenizer

PROMPTS_MAX = 64
# Answers that later prompts may contain are remembered, the newest so many.
ANSWERS_KEPT = 20_000
WORDS_KEPT = 100_000
_MASK = (1 << 64) - 1
_SHIFT = 0x9E3779B97F4A7C15
# Makes the end of a text that does not fill its block different from the start of a longer one.
_OPEN, _ONE = np.uint64(0x5DEECE66D << 20), np.uint64(1)

Sums = np.ndarray[Any, np.dtype[np.uint64]]


class Prompt:
    """Tokens of one prompt; words stand for themselves where a word is a token.

    Attributes:
        units: words or numbers, one for each token.
        text: as it came, empty for numbers.
    """

    __slots__ = ("text", "units")

    def __init__(self, units: Sequence[str] | Sequence[int], text: str) -> None:
        self.units = units
        self.text = text

    @property
    def isl(self) -> int:
        """Tokens, at least one."""
        return len(self.units) or 1

    @property
    def number(self) -> int:
        """Stands for the content when an answer is chosen."""
        return zlib.crc32(self.text.encode() if self.text else repr(self.units).encode())


class PromptReader:
    """Turns messages and prompts into tokens.

    Args:
        tokenizer: of the model.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._words = isinstance(tokenizer, WordTokenizer)

    def of_text(self, text: str) -> Prompt:
        """Tokens of a text."""
        return Prompt(text.split() if self._words else self._tokenizer.encode(text), text)

    def of_chat(self, data: Mapping[str, Any]) -> Prompt:
        """Tokens of all messages together, without a template around them.

        Raises:
            ApiError: 400.
        """
        messages = data.get("messages")
        if not isinstance(messages, list) or not messages:
            raise ApiError(400, "messages must be a non-empty list", param="messages")
        parts: list[str] = []
        for index, message in enumerate(messages):
            if not isinstance(message, dict) or not isinstance(message.get("role"), str):
                raise ApiError(
                    400, f"messages[{index}] must be an object with a role", param="messages"
                )
            content = message.get("content")
            if isinstance(content, str):
                parts.append(content)
            elif content is not None:
                _add_parts(content, index, parts)
            calls = message.get("tool_calls")
            if calls is not None:
                _add_calls(calls, index, parts)
        return self.of_text(parts[0] if len(parts) == 1 else " ".join(parts))

    def of_completion(self, data: Mapping[str, Any]) -> list[Prompt]:
        """Tokens of each prompt: a text, token numbers, or a list of either.

        Raises:
            ApiError: 400.
        """
        prompt = data.get("prompt")
        if isinstance(prompt, list) and prompt and all(isinstance(p, str | list) for p in prompt):
            if len(prompt) > PROMPTS_MAX:
                raise ApiError(400, f"at most {PROMPTS_MAX} prompts at once", param="prompt")
            return [self._one(each) for each in prompt]
        return [self._one(prompt)]

    def _one(self, prompt: object) -> Prompt:
        if isinstance(prompt, str) and prompt:
            return self.of_text(prompt)
        if isinstance(prompt, list) and prompt and all(type(token) is int for token in prompt):
            return Prompt(prompt, "")
        raise ApiError(400, "prompt must be text or a list of token ids", param="prompt")


def _add_parts(content: object, index: int, into: list[str]) -> None:
    where = f"messages[{index}].content"
    if not isinstance(content, list):
        raise ApiError(400, f"{where} must be a string or a list", param="messages")
    for part in content:
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise ApiError(400, f"{where}: every part needs a type", param="messages")
        text = part.get("text", "")
        if not isinstance(text, str):
            raise ApiError(400, f"{where}: text must be a string", param="messages")
        into.append(text)


def _add_calls(calls: object, index: int, into: list[str]) -> None:
    where = f"messages[{index}].tool_calls"
    if not isinstance(calls, list):
        raise ApiError(400, f"{where} must be a list", param="messages")
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise ApiError(400, f"{where}: no function", param="messages")
        into.append(f"{function.get('name')} {function.get('arguments')}")


class SharedText:
    """Which prompts begin alike, block by block, answers of earlier turns included.

    The id of a block stands for everything up to its end. An answer becomes one segment of
    the prompts that contain it, because engines keep it as one entry.

    Args:
        block: tokens of one KV block.
    """

    def __init__(self, block: int) -> None:
        self._block = block
        self._numbers = _Numbers()
        self._weights = _weights(4096)
        self._answers: OrderedDict[int, int] = OrderedDict()

    def describe(self, prompt: Prompt, answer: Sequence[str] | Sequence[int]) -> PromptText | None:
        """Segments of a prompt, ``None`` when it is shorter than a block.

        Args:
            prompt: the prompt.
            answer: what will be said, in the units of the prompt; empty when nobody repeats it.
        """
        block, isl = self._block, len(prompt.units)
        if isl < block:
            return None
        sums = self._sums(0, 0, prompt.units)
        ids = (sums[block - 1 :: block] >> _ONE).tolist()
        ends = list(range(block, isl + 1, block))
        if self._answers and not self._answers.keys().isdisjoint(ids):
            ids, ends = self._merged(ids, ends)
        if ends[-1] < isl:
            ids.append(int(sums[-1] ^ _OPEN) >> 1)
            ends.append(isl)
        output_id = -1
        # The newest token is never computed, so it is in no block.
        whole = (isl + len(answer) - 1) // block * block - isl
        if whole > 0:
            output_id = int(self._sums(int(sums[-1]), isl, answer[:whole])[-1]) >> 1
            self._remember(output_id, isl)
        return PromptText(tuple(ids), tuple(ends), output_id)

    def _sums(self, state: int, begin: int, units: Sequence[str] | Sequence[int]) -> Sums:
        """What stands for the text up to each token: weighted sums of the words so far.

        Weights are random numbers, one for each place, so that different texts have different
        sums (multilinear hashing, Carter and Wegman 1979).
        """
        end = begin + len(units)
        if end > len(self._weights):
            self._weights = _weights(2 * end)
        sums = self._numbers.of(units) * self._weights[begin:end]
        sums[:1] += np.uint64(state)
        return np.cumsum(sums, out=sums)

    def _merged(self, ids: list[int], ends: list[int]) -> tuple[list[int], list[int]]:
        """Blocks of an answer that engines keep as one entry are one segment."""
        answers = self._answers
        kept_ids: list[int] = []
        kept_ends: list[int] = []
        for key, end in zip(ids, ends, strict=True):
            begin = answers.get(key)
            if begin is not None:
                keep = bisect_right(kept_ends, begin)
                del kept_ids[keep:], kept_ends[keep:]
                answers.move_to_end(key)
            kept_ids.append(key)
            kept_ends.append(end)
        return kept_ids, kept_ends

    def _remember(self, key: int, isl: int) -> None:
        """Later prompts may contain this answer."""
        self._answers[key] = isl
        self._answers.move_to_end(key)
        if len(self._answers) > ANSWERS_KEPT:
            self._answers.popitem(last=False)


class _Numbers(dict[str, int]):
    """Numbers of words and tokens, the same in every process."""

    def of(self, units: Sequence[str] | Sequence[int]) -> Sums:
        """One number for each token."""
        count = len(units)
        if isinstance(units[0], int):
            # A token of number 0 must count too.
            small = ((unit + _SHIFT) & _MASK for unit in units)  # type: ignore[operator]  # all of one kind
            return np.fromiter(small, np.uint64, count)
        if len(self) > WORDS_KEPT:
            self.clear()
        words = map(self.__getitem__, units)  # type: ignore[arg-type]  # all of one kind
        return np.fromiter(words, np.uint64, count)

    def __missing__(self, word: str) -> int:
        digest = blake2b(word.encode(), digest_size=8).digest()
        number = self[word] = int.from_bytes(digest, "big")
        return number


def _weights(count: int) -> Sums:
    """Random odd numbers, always the same ones."""
    words = RandomStreams(0).stream("mocker.prompts").integers(0, _MASK, count, np.uint64)
    return words | _ONE
