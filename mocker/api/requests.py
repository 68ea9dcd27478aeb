"""Reads completion requests: what is understood, what is ignored, what is refused.

Unknown keys are accepted, as clients send engine-specific ones. Lengths, streaming
options, stop strings and the number of choices are honoured; sampling parameters have
no meaning for generated text and are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mocker.api.errors import ApiError
from mocker.text import count_tokens

# Without max_tokens an answer ends by itself here, as if the model had stopped.
NATURAL_ANSWER_TOKENS = 256
_CHOICES_MAX = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest:
    """A request for text, chat or not.

    Attributes:
        isl: prompt tokens.
        max_tokens: most output tokens; ``None`` leaves the length to the server.
        stops: texts that end the answer.
        include_usage: send usage at the end of a stream.
        continuous_usage: send usage with every chunk of a stream.
    """

    chat: bool
    model: str
    isl: int
    max_tokens: int | None
    min_tokens: int
    stops: tuple[str, ...]
    choices: int
    stream: bool
    include_usage: bool
    continuous_usage: bool


def parse_completion(body: bytes, *, chat: bool) -> CompletionRequest:
    """Check a request body.

    Raises:
        ApiError: 400 with the name of the offending field.
    """
    data = _object(body)
    model = data.get("model")
    if not isinstance(model, str) or not model:
        raise ApiError(400, "model must be a non-empty string", param="model")
    stream = _flag(data, "stream")
    options = data.get("stream_options")
    if options is not None and not stream:
        raise ApiError(
            400, "stream_options is only allowed when stream is true", param="stream_options"
        )
    if options is not None and not isinstance(options, dict):
        raise ApiError(400, "stream_options must be an object", param="stream_options")
    options = options or {}
    return CompletionRequest(
        chat=chat,
        model=model,
        isl=_chat_tokens(data) if chat else _prompt_tokens(data),
        max_tokens=_max_tokens(data, chat=chat),
        min_tokens=_integer(data, "min_tokens", 0, low=0),
        stops=_stops(data),
        choices=_integer(data, "n", 1, low=1, high=_CHOICES_MAX),
        stream=stream,
        include_usage=_flag(options, "include_usage"),
        continuous_usage=_flag(options, "continuous_usage_stats"),
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise ApiError(400, "the body must be a JSON object")
    return data


def _flag(data: Mapping[str, Any], name: str) -> bool:
    value = data.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise ApiError(400, f"{name} must be true or false", param=name)
    return value


def _integer(
    data: Mapping[str, Any], name: str, default: int, *, low: int, high: int | None = None
) -> int:
    value = data.get(name)
    if value is None:
        return default
    too_high = high is not None and isinstance(value, int) and value > high
    if isinstance(value, bool) or not isinstance(value, int) or value < low or too_high:
        allowed = f"at least {low}" + (f" and at most {high}" if high is not None else "")
        raise ApiError(400, f"{name} must be an integer of {allowed}, got {value!r}", param=name)
    return value


def _max_tokens(data: Mapping[str, Any], *, chat: bool) -> int | None:
    names = ("max_completion_tokens", "max_tokens") if chat else ("max_tokens",)
    for name in names:
        if data.get(name) is not None:
            return _integer(data, name, 1, low=1)
    return None


def _stops(data: Mapping[str, Any]) -> tuple[str, ...]:
    stop = data.get("stop")
    stops = [] if stop is None else [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or not all(isinstance(s, str) and s for s in stops):
        raise ApiError(400, "stop must be a string or a list of strings", param="stop")
    return tuple(stops)


def _chat_tokens(data: Mapping[str, Any]) -> int:
    messages = data.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ApiError(400, "messages must be a non-empty list", param="messages")
    tokens = 0
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise ApiError(400, f"{where} must be an object with a role", param="messages")
        tokens += _content_tokens(message.get("content"), where)
    return max(1, tokens)


def _content_tokens(content: object, where: str) -> int:
    if content is None:
        return 0
    if isinstance(content, str):
        return count_tokens(content)
    if isinstance(content, list):
        return sum(_part_tokens(part, where) for part in content)
    raise ApiError(400, f"{where}.content must be a string or a list", param="messages")


def _part_tokens(part: object, where: str) -> int:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise ApiError(400, f"{where}.content: every part needs a type", param="messages")
    text = part.get("text", "")
    if not isinstance(text, str):
        raise ApiError(400, f"{where}.content: text must be a string", param="messages")
    return count_tokens(text)


def _prompt_tokens(data: Mapping[str, Any]) -> int:
    prompt = data.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    if isinstance(prompt, str) and prompt:
        return max(1, count_tokens(prompt))
    if isinstance(prompt, list) and prompt:
        if all(isinstance(token, int) and not isinstance(token, bool) for token in prompt):
            return len(prompt)
        if all(isinstance(entry, str | list) for entry in prompt):
            raise ApiError(400, "only one prompt for each request is supported", param="prompt")
    raise ApiError(400, "prompt must be text or a list of token ids", param="prompt")
