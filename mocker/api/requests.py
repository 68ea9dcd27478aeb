"""Reads generation requests: what is understood, what is ignored, what is refused.

Unknown keys are accepted, as clients send engine-specific ones. Sampling parameters are
checked and otherwise ignored: they have no meaning for generated text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mocker.api.errors import ApiError
from mocker.api.fields import flag, integer, json_object, mapping, number, text, texts
from mocker.api.prompts import Prompt, PromptReader

# Without max_tokens an answer ends by itself here, as if the model had stopped.
NATURAL_ANSWER_TOKENS = 256
CHOICES_MAX = 128
TOP_LOGPROBS_MAX = 20
STOPS_MAX = 64
_SAMPLING = (
    ("temperature", 0.0, 100.0),
    ("top_p", 0.0, 1.0),
    ("min_p", 0.0, 1.0),
    ("presence_penalty", -2.0, 2.0),
    ("frequency_penalty", -2.0, 2.0),
    ("repetition_penalty", 0.0, 100.0),
    ("top_k", -1.0, 1e9),
)
_SAMPLING_NAMES = frozenset(name for name, _, _ in _SAMPLING)


@dataclass(slots=True, kw_only=True)
class GenerationRequest:
    """A request for text; not frozen, because freezing costs as much as parsing.

    Attributes:
        prompts: one, or several of a plain completion.
        max_tokens: most output tokens; ``None`` leaves the length to the server.
        stops: texts that end the answer; ``stop_ids`` are tokens that do.
        choices: answers to each prompt.
        include_usage: send usage at the end of a stream.
        continuous_usage: send usage with every chunk of a stream.
        top_logprobs: alternatives to show for each token; ``None`` shows no probabilities.
        call: name of the tool that is called, with the schema of its arguments.
        schema: the answer is JSON of this schema; ``{}`` is any object.
        timestamps: say at the end when each token was due.
    """

    chat: bool
    model: str
    prompts: list[Prompt]
    max_tokens: int | None
    min_tokens: int = 0
    ignore_eos: bool = False
    stops: tuple[str, ...] = ()
    stop_ids: tuple[int, ...] = ()
    choices: int = 1
    stream: bool = False
    include_usage: bool = False
    continuous_usage: bool = False
    top_logprobs: int | None = None
    seed: int = 0
    echo: bool = False
    priority: int = 0
    call: tuple[str, dict[str, Any]] | None = None
    schema: dict[str, Any] | None = None
    timestamps: bool = False
    token_ids: bool = False
    extras: dict[str, Any] = field(default_factory=dict)


def parse_generation(body: bytes, reader: PromptReader, *, chat: bool) -> GenerationRequest:
    """Check a request body.

    Raises:
        ApiError: 400 with the name of the offending field.
    """
    data = json_object(body)
    request = GenerationRequest(
        chat=chat,
        model=text(data, "model"),
        prompts=[reader.of_chat(data)] if chat else reader.of_completion(data),
        max_tokens=_max_tokens(data, chat=chat),
        stream=flag(data, "stream"),
    )
    # What most requests do not have costs them one look.
    names = data.keys()
    if "stream_options" in names:
        _stream_options(data, request)
    if not names.isdisjoint(_LENGTH_NAMES):
        _lengths(data, request)
    if not names.isdisjoint(_SAMPLING_NAMES):
        for name, low, high in _SAMPLING:
            number(data, name, low, high)
    if not names.isdisjoint(_PRESENTATION_NAMES):
        _presentation(data, request)
    if chat and not names.isdisjoint(_STRUCTURE_NAMES):
        _structure(data, request)
    return request


_LENGTH_NAMES = frozenset(
    ("min_tokens", "ignore_eos", "stop", "stop_token_ids", "n", "best_of", "seed", "priority")
)
_PRESENTATION_NAMES = frozenset(
    ("logprobs", "top_logprobs", "echo", "return_token_ids", "mocker", "nvext")
)
_STRUCTURE_NAMES = frozenset(("tools", "tool_choice", "response_format"))


def _max_tokens(data: Mapping[str, Any], *, chat: bool) -> int | None:
    names = ("max_completion_tokens", "max_tokens") if chat else ("max_tokens",)
    for name in names:
        value = data.get(name)
        if value is not None:
            if type(value) is int and value >= 1:
                return value
            return integer(data, name, 1, low=1)
    return None


def _stream_options(data: Mapping[str, Any], request: GenerationRequest) -> None:
    if data["stream_options"] is None:
        return
    if not request.stream:
        raise ApiError(
            400, "stream_options is only allowed when stream is true", param="stream_options"
        )
    options = mapping(data, "stream_options")
    request.continuous_usage = flag(options, "continuous_usage_stats")
    request.include_usage = flag(options, "include_usage")


def _lengths(data: Mapping[str, Any], request: GenerationRequest) -> None:
    names = data.keys()
    request.ignore_eos = flag(data, "ignore_eos")
    if "min_tokens" in names:
        request.min_tokens = integer(data, "min_tokens", 0, low=0)
        if request.max_tokens is not None and request.min_tokens > request.max_tokens:
            raise ApiError(400, "min_tokens is larger than max_tokens", param="min_tokens")
    if "stop" in names or "stop_token_ids" in names:
        _stops(data, request)
    if "n" in names or "best_of" in names:
        request.choices = integer(data, "n", 1, low=1, high=CHOICES_MAX)
        if integer(data, "best_of", request.choices, low=1, high=CHOICES_MAX) < request.choices:
            raise ApiError(400, "best_of must be at least n", param="best_of")
    if "seed" in names:
        request.seed = integer(data, "seed", 0, low=-(2**63), high=2**63 - 1)
    if "priority" in names:
        request.priority = integer(data, "priority", 0, low=-(2**31), high=2**31 - 1)


def _stops(data: Mapping[str, Any], request: GenerationRequest) -> None:
    request.stops = texts(data, "stop")
    if len(request.stops) > STOPS_MAX:
        raise ApiError(400, f"at most {STOPS_MAX} stop strings", param="stop")
    ids = data.get("stop_token_ids")
    if ids is not None:
        if not isinstance(ids, list) or not all(type(each) is int for each in ids):
            raise ApiError(400, "stop_token_ids must be a list of integers", param="stop_token_ids")
        request.stop_ids = tuple(ids)


def _presentation(data: Mapping[str, Any], request: GenerationRequest) -> None:
    if request.chat:
        shown = flag(data, "logprobs")
        top = integer(data, "top_logprobs", 0, low=0, high=TOP_LOGPROBS_MAX)
        if top and not shown:
            raise ApiError(400, "top_logprobs needs logprobs to be true", param="top_logprobs")
        request.top_logprobs = top if shown else None
    else:
        if data.get("logprobs") is not None and data["logprobs"] is not False:
            request.top_logprobs = integer(data, "logprobs", 0, low=0, high=TOP_LOGPROBS_MAX)
        request.echo = flag(data, "echo")
    request.token_ids = flag(data, "return_token_ids")
    request.timestamps = flag(mapping(data, "mocker"), "timestamps")
    wanted = mapping(data, "nvext").get("extra_fields")
    if isinstance(wanted, list) and "timing" in wanted:
        request.timestamps = True


def _structure(data: Mapping[str, Any], request: GenerationRequest) -> None:
    tools = data.get("tools")
    if tools is None:
        tools = []
    if not isinstance(tools, list):
        raise ApiError(400, "tools must be a list", param="tools")
    found: dict[str, dict[str, Any]] = {}
    for tool in tools:
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise ApiError(400, "every tool needs a function with a name", param="tools")
        found[function["name"]] = mapping(function, "parameters")
    request.call = _chosen(data.get("tool_choice"), found)
    wanted = mapping(data, "response_format")
    kind = wanted.get("type")
    if wanted and kind not in ("text", "json_object", "json_schema"):
        raise ApiError(
            400, "type must be text, json_object or json_schema", param="response_format"
        )
    if kind == "json_object":
        request.schema = {}
    elif kind == "json_schema":
        request.schema = mapping(mapping(wanted, "json_schema"), "schema")


def _chosen(choice: object, tools: dict[str, dict[str, Any]]) -> tuple[str, dict[str, Any]] | None:
    """The tool that is called: the named one, the first if one is required, else none."""
    if choice in (None, "none", "auto"):
        return None
    if not tools:
        raise ApiError(400, "tool_choice needs tools", param="tool_choice")
    if choice == "required":
        return next(iter(tools.items()))
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or name not in tools:
        raise ApiError(400, "tool_choice names no tool", param="tool_choice")
    return name, tools[name]
