"""Routes about text without generation: tokenizer and embeddings."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from contracts.streams import RandomStreams
from mocker.api.errors import ApiError
from mocker.api.frames import usage
from mocker.api.generate import Generation
from mocker.api.prompts import Prompt

DIMENSIONS = 1024
DIMENSIONS_MAX = 65_536
INPUTS_MAX = 2048


class TokenizeRequest(BaseModel):
    """``POST /tokenize``: a prompt or the messages of a chat."""

    model_config = ConfigDict(extra="ignore")

    model: str | None = None
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    return_token_strs: bool = False


class DetokenizeRequest(BaseModel):
    """``POST /detokenize``."""

    model_config = ConfigDict(extra="ignore")

    model: str | None = None
    tokens: list[int]


class EmbeddingRequest(BaseModel):
    """``POST /v1/embeddings``."""

    model_config = ConfigDict(extra="ignore")

    model: str
    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int | None, Field(ge=1, le=DIMENSIONS_MAX)] = None


def add_texts(app: FastAPI, generation: Generation) -> None:
    """Add the routes."""
    _add_tokenizer(app, generation)

    @app.post("/v1/embeddings")
    async def embeddings(request: EmbeddingRequest) -> dict[str, Any]:
        generation.adapter(request.model)
        generation.state.check_ready()
        prompts = _inputs(request, generation)
        size = request.dimensions or DIMENSIONS
        room = generation.source.card.context_tokens
        if max(prompt.isl for prompt in prompts) > room:
            raise ApiError(
                400,
                f"This model's maximum context length is {room} tokens.",
                param="input",
                code="context_length_exceeded",
            )
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": _shown(_vector(prompt, size), request.encoding_format),
            }
            for index, prompt in enumerate(prompts)
        ]
        counts = usage(sum(prompt.isl for prompt in prompts), 0)
        return {"object": "list", "data": data, "model": request.model, "usage": counts}


def _add_tokenizer(app: FastAPI, generation: Generation) -> None:
    tokenizer, card = generation.tokenizer, generation.source.card

    @app.post("/tokenize")
    async def tokenize(request: TokenizeRequest) -> dict[str, Any]:
        if request.model is not None:
            generation.adapter(request.model)
        if (request.prompt is None) == (request.messages is None):
            raise ApiError(400, "give a prompt or messages", param="prompt")
        text = request.prompt
        if text is None:
            text = generation.reader.of_chat({"messages": request.messages}).text
        tokens = tokenizer.encode(text)
        answer = {"count": len(tokens), "max_model_len": card.context_tokens, "tokens": tokens}
        if request.return_token_strs:
            answer["token_strs"] = tokenizer.pieces(text)
        return answer

    @app.post("/detokenize")
    async def detokenize(request: DetokenizeRequest) -> dict[str, str]:
        if request.model is not None:
            generation.adapter(request.model)
        try:
            return {"prompt": tokenizer.decode(request.tokens)}
        except ValueError as error:
            raise ApiError(400, str(error), param="tokens") from error


def _inputs(request: EmbeddingRequest, generation: Generation) -> list[Prompt]:
    given: list[Any] = request.input if isinstance(request.input, list) else [request.input]
    if given and all(isinstance(each, int) for each in given):
        given = [given]
    if not given or len(given) > INPUTS_MAX or any(not each for each in given):
        raise ApiError(
            400, f"input needs 1 to {INPUTS_MAX} entries that are not empty", param="input"
        )
    return [
        generation.reader.of_text(each) if isinstance(each, str) else Prompt(each, "")
        for each in given
    ]


def _vector(prompt: Prompt, size: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A unit vector that depends on the text only."""
    stream = RandomStreams(prompt.number).stream("mocker.embedding")
    vector = stream.standard_normal(size)
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


def _shown(vector: np.ndarray[Any, np.dtype[np.float32]], form: str) -> list[float] | str:
    if form == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return [float(value) for value in vector]
