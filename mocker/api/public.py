"""Everything that generates no tokens: models, health, metrics, tokenizer, engine controls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from contracts.errors import InputError, UnsupportedError
from mocker.api.errors import ApiError
from mocker.api.exposition import Exposition, Families
from mocker.api.generate import Generation
from mocker.api.openapi import describe_token_routes
from mocker.api.texts import add_texts
from mocker.engines.profile import StepFeed

VERSION = "0.1.0"


class LoadAdapter(BaseModel):
    """``POST /v1/load_lora_adapter``."""

    model_config = ConfigDict(extra="ignore")

    lora_name: str = Field(min_length=1)
    lora_path: str = ""


class UnloadAdapter(BaseModel):
    """``POST /v1/unload_lora_adapter``."""

    model_config = ConfigDict(extra="ignore")

    lora_name: str = Field(min_length=1)


def build_public(generation: Generation, exposition: Exposition) -> FastAPI:
    """The FastAPI part of a server, without administration."""
    app = FastAPI(title="mocker", version=VERSION, docs_url=None, redoc_url=None)
    _add_errors(app)
    _add_models(app, generation)
    _add_adapters(app, generation)
    add_texts(app, generation)
    _add_health(app, generation, exposition)
    _add_metrics(app, generation, exposition)
    _add_controls(app, generation, exposition)
    _add_trace(app, exposition)
    describe_token_routes(app)
    return app


def _add_errors(app: FastAPI) -> None:
    def shaped(error: ApiError) -> JSONResponse:
        headers = {name.decode(): value.decode() for name, value in error.headers()}
        return JSONResponse(error.body(), status_code=error.status, headers=headers)

    @app.exception_handler(ApiError)
    def asked(_request: Request, error: ApiError) -> JSONResponse:
        return shaped(error)

    @app.exception_handler(InputError)
    def refused(_request: Request, error: InputError) -> JSONResponse:
        return shaped(ApiError(409, str(error), param=error.path))

    @app.exception_handler(UnsupportedError)
    def unsupported(_request: Request, error: UnsupportedError) -> JSONResponse:
        return shaped(ApiError(409, str(error)))

    @app.exception_handler(HTTPException)
    def known(request: Request, error: HTTPException) -> JSONResponse:
        where = f"{request.method} {request.url.path}"
        return shaped(ApiError(error.status_code, f"{error.detail}: {where}"))

    @app.exception_handler(RequestValidationError)
    def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        found: Sequence[Any] = error.errors()
        where = ".".join(str(part) for part in found[0]["loc"] if part != "body")
        broken = found[0]["type"] in ("json_invalid", "bytes_too_long")
        message = f"{where}: {found[0]['msg']}"
        return shaped(ApiError(400 if broken else 422, message, param=where or None))


def _add_models(app: FastAPI, generation: Generation) -> None:
    card = generation.source.card

    def entry(model_id: str, root: str, parent: str | None) -> dict[str, object]:
        return {
            "id": model_id,
            "object": "model",
            "created": card.created_s,
            "owned_by": "mocker",
            "root": root,
            "parent": parent,
            "max_model_len": card.context_tokens,
        }

    def entries() -> list[dict[str, object]]:
        adapters = generation.state.adapters
        base = entry(card.model_id, card.model_id, None)
        return [base, *(entry(name, path, card.model_id) for name, path in adapters.items())]

    @app.get("/v1/models")
    async def models() -> dict[str, object]:
        return {"object": "list", "data": entries()}

    @app.get("/v1/models/{model_id:path}")
    async def one_model(model_id: str) -> dict[str, object]:
        for found in entries():
            if str(found["id"]).lower() == model_id.lower():
                return found
        raise ApiError(404, f"The model `{model_id}` does not exist.", param="model")


def _add_adapters(app: FastAPI, generation: Generation) -> None:
    card = generation.source.card

    @app.post("/v1/load_lora_adapter")
    async def load(request: LoadAdapter) -> dict[str, str]:
        adapters = generation.state.adapters
        if request.lora_name in adapters or request.lora_name.lower() == card.model_id.lower():
            raise ApiError(400, f"{request.lora_name} is loaded already", param="lora_name")
        adapters[request.lora_name] = request.lora_path
        return {"status": "success", "message": f"LoRA adapter '{request.lora_name}' loaded"}

    @app.post("/v1/unload_lora_adapter")
    async def unload(request: UnloadAdapter) -> dict[str, str]:
        if generation.state.adapters.pop(request.lora_name, None) is None:
            raise ApiError(404, f"{request.lora_name} is not loaded", param="lora_name")
        return {"status": "success", "message": f"LoRA adapter '{request.lora_name}' unloaded"}


def _add_health(app: FastAPI, generation: Generation, exposition: Exposition) -> None:
    @app.get("/live")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @app.get("/health")
    @app.get("/ready")
    @app.get("/ping")
    @app.get("/health_generate")
    async def health() -> JSONResponse:
        ready = exposition.ready_workers()
        reason = generation.state.why_not_ready() or (None if ready else "no worker is ready")
        return JSONResponse(
            {"status": reason or "healthy", "ready_workers": ready},
            status_code=200 if reason is None else 503,
        )

    @app.get("/version")
    async def version() -> dict[str, str]:
        return {"version": VERSION}

    @app.get("/load")
    async def load() -> dict[str, int]:
        return {"server_load": generation.source.metrics.running}

    @app.get("/get_model_info")
    async def model_info() -> dict[str, object]:
        card = generation.source.card
        return {"model_path": card.model_id, "tokenizer_path": generation.tokenizer.name,
                "is_generation": True}  # fmt: skip

    @app.get("/get_server_info")
    @app.get("/server_info")
    async def server_info() -> dict[str, object]:
        card = generation.source.card
        return {"served_model_name": card.model_id, "version": VERSION,
                "max_total_num_tokens": card.context_tokens,
                "page_size": card.block_size_tokens}  # fmt: skip


def _add_metrics(app: FastAPI, generation: Generation, exposition: Exposition) -> None:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Families(lambda: exposition.families(generation.state.adapters)))
    gpus = CollectorRegistry(auto_describe=False)
    gpus.register(Families(exposition.gpus))

    @app.get("/metrics")
    @app.head("/metrics", include_in_schema=False)
    @app.api_route("/prometheus/metrics", methods=["GET", "HEAD"], include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/dcgm/metrics")
    @app.head("/dcgm/metrics", include_in_schema=False)
    async def dcgm() -> Response:
        return Response(generate_latest(gpus), media_type=CONTENT_TYPE_LATEST)


def _add_controls(app: FastAPI, generation: Generation, exposition: Exposition) -> None:
    state = generation.state

    @app.post("/reset_prefix_cache")
    @app.post("/flush_cache")
    @app.get("/flush_cache", include_in_schema=False)
    async def reset() -> dict[str, bool]:
        if not exposition.reset_cache():
            raise ApiError(503, "requests are running", code="busy", retry_after_s=1)
        return {"success": True}

    @app.post("/sleep")
    async def sleep(level: int = 1) -> dict[str, int]:
        if level not in (1, 2):
            raise ApiError(400, "level must be 1 or 2", param="level")
        state.sleep_level = level
        exposition.reset_cache()
        return {"level": level}

    @app.post("/wake_up")
    async def wake_up() -> dict[str, int]:
        state.sleep_level = 0
        return {"level": 0}

    @app.get("/is_sleeping")
    async def is_sleeping() -> dict[str, bool]:
        return {"is_sleeping": state.sleep_level > 0}


def _add_trace(app: FastAPI, exposition: Exposition) -> None:
    trace = exposition.trace
    if trace is None:
        return

    @app.post("/start_profile")
    async def start() -> dict[str, bool]:
        if not trace.start():
            raise ApiError(409, "a profile is being recorded")
        return {"recording": True}

    @app.post("/stop_profile")
    async def stop() -> dict[str, bool | str]:
        if not trace.stop():
            raise ApiError(409, "no profile is being recorded")
        return {"recording": False, "trace": "/profile.json"}

    @app.get("/profile.json")
    async def chrome() -> Response:
        return Response(trace.chrome(), media_type="application/json")

    @app.get("/forward_pass_metrics")
    async def forward_pass() -> StreamingResponse:
        return StreamingResponse(_lines(trace.listeners), media_type="application/x-ndjson")


async def _lines(listeners: list[Any]) -> AsyncIterator[bytes]:
    news = asyncio.Event()
    feed = StepFeed(listeners, news.set)
    try:
        while True:
            await news.wait()
            news.clear()
            yield feed.take()
    finally:
        feed.close()
