"""Describes the token routes, which FastAPI does not know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

_INTEGER = {"type": "integer", "minimum": 1}
_COMMON: dict[str, Any] = {
    "model": {"type": "string"},
    "max_tokens": _INTEGER,
    "min_tokens": {"type": "integer", "minimum": 0},
    "n": {"type": "integer", "minimum": 1, "maximum": 128},
    "stream": {"type": "boolean"},
    "stream_options": {
        "type": "object",
        "properties": {
            "include_usage": {"type": "boolean"},
            "continuous_usage_stats": {"type": "boolean"},
        },
    },
    "stop": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
    "stop_token_ids": {"type": "array", "items": {"type": "integer"}},
    "ignore_eos": {"type": "boolean"},
    "seed": {"type": "integer"},
    "temperature": {"type": "number", "minimum": 0},
    "top_p": {"type": "number", "minimum": 0, "maximum": 1},
    "priority": {"type": "integer"},
}
_CHAT = {
    **_COMMON,
    "messages": {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "required": ["role"],
            "properties": {"role": {"type": "string"}, "content": {}},
        },
    },
    "max_completion_tokens": _INTEGER,
    "logprobs": {"type": "boolean"},
    "top_logprobs": {"type": "integer", "minimum": 0, "maximum": 20},
    "tools": {"type": "array", "items": {"type": "object"}},
    "tool_choice": {},
    "response_format": {"type": "object"},
}
_TEXT = {
    **_COMMON,
    "prompt": {},
    "logprobs": {"type": "integer", "minimum": 0, "maximum": 20},
    "echo": {"type": "boolean"},
    "best_of": _INTEGER,
}
_RESPONSE = {
    "model": {"type": "string"},
    "input": {},
    "instructions": {"type": "string"},
    "max_output_tokens": _INTEGER,
    "stream": {"type": "boolean"},
    "text": {"type": "object"},
}
_ROUTES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "/v1/chat/completions": ("Chat completion", _CHAT, ("model", "messages")),
    "/v1/completions": ("Plain completion", _TEXT, ("model", "prompt")),
    "/v1/responses": ("Response", _RESPONSE, ("model", "input")),
    "/v1/responses/input_tokens": ("Tokens of a response's input", _RESPONSE, ("model", "input")),
}
_ERRORS = {
    "400": "wrong request",
    "401": "the API key is missing or wrong",
    "404": "unknown model",
    "413": "the body is too large",
    "429": "the queue is full",
    "503": "not ready, or the worker was lost",
}


def describe_token_routes(app: FastAPI) -> None:
    """Add the raw routes to the application's OpenAPI document."""
    build: Callable[[], dict[str, Any]] = app.openapi

    def openapi() -> dict[str, Any]:
        document = build()
        for path, (summary, properties, required) in _ROUTES.items():
            document["paths"][path] = {"post": _operation(summary, properties, required)}
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _operation(
    summary: str, properties: dict[str, Any], required: tuple[str, ...]
) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(required)}
    error = {"application/json": {"schema": {"type": "object"}}}
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "200": {
                "description": "the answer, or its stream",
                "content": {"application/json": {}, "text/event-stream": {}},
            },
            **{status: {"description": text, "content": error} for status, text in _ERRORS.items()},
        },
    }
