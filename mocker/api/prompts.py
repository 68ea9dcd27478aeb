"""Prompts in tokens, and which of their KV blocks others may share."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from contracts.workload import PromptText
from mocker.api.errors import ApiError
from mocker.text.tokenizer import Tokenizer
from mocker.text.words import WordTokenizer

PROMPTS_MAX = 64
# Answers that later prompts may contain are remembered, the newest so many.
ANSWERS_KEPT = 20_000


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
        self._answers: OrderedDict[int, int] = OrderedDict()

    def describe(self, prompt: Prompt, answer: Sequence[str] | Sequence[int]) -> PromptText | None:
        """Segments of a prompt, ``None`` when it is shorter than a block.

        Args:
            prompt: the prompt.
            answer: what will be said, in the units of the prompt; empty when nobody repeats it.
        """
        block, units = self._block, prompt.units
        isl = len(units)
        if isl < block:
            return None
        state = blake2b(digest_size=8)
        ids: list[int] = []
        ends: list[int] = []
        answers = self._answers
        for end in range(block, isl + 1, block):
            state.update(_bytes(units[end - block : end]))
            key = _key(state.copy())
            begin = answers.get(key)
            if begin is not None:
                # Blocks from there on are one entry of the cache.
                keep = begin // block
                del ids[keep:], ends[keep:]
                answers.move_to_end(key)
            ids.append(key)
            ends.append(end)
        if ends[-1] < isl:
            last = state.copy()
            last.update(_bytes(units[ends[-1] :]) + b"#")
            ids.append(_key(last))
            ends.append(isl)
        output_id = self._remember(state, units, answer) if answer else -1
        return PromptText(tuple(ids), tuple(ends), output_id)

    def _remember(self, state: blake2b, units: Any, answer: Any) -> int:  # noqa: ANN401  # words or numbers
        """The id of prompt and answer up to the last whole block.

        The newest token is never computed, so it is in no block.
        """
        block, isl = self._block, len(units)
        done = isl // block * block
        rest = [*units[done:], *answer[:-1]]
        if len(rest) < block:
            return -1
        for start in range(0, len(rest) - block + 1, block):
            state.update(_bytes(rest[start : start + block]))
        key = _key(state)
        self._answers[key] = isl
        self._answers.move_to_end(key)
        if len(self._answers) > ANSWERS_KEPT:
            self._answers.popitem(last=False)
        return key


def _bytes(units: Sequence[str] | Sequence[int]) -> bytes:
    return (" ".join(map(str, units)) + " ").encode()


def _key(state: blake2b) -> int:
    return int.from_bytes(state.digest(), "big") >> 1
