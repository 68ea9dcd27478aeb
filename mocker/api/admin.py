"""Everything that is not a token: models, health, metrics, administration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.exceptions import HTTPException

from contracts.decision import RoleTarget
from contracts.errors import InputError
from contracts.observation import ClusterSnapshot, WorkerView
from contracts.plan import Role
from contracts.records import FaultRecord
from contracts.units import ns_to_s
from mocker.api.errors import ApiError
from mocker.engine_driver import EngineDriver
from mocker.faults import FaultRequest
from mocker.metrics import ServerCollector

_SNAPSHOT = TypeAdapter(ClusterSnapshot)
_WORKERS = TypeAdapter(tuple[WorkerView, ...])
_FAULTS = TypeAdapter(tuple[FaultRecord, ...])


class ScaleTarget(BaseModel):
    """Workers wanted in one role."""

    model_config = ConfigDict(extra="forbid")

    role: Role
    replicas: int = Field(ge=0)


class ScaleRequest(BaseModel):
    """``POST /admin/scale``."""

    model_config = ConfigDict(extra="forbid")

    targets: list[ScaleTarget]


class ClockRequest(BaseModel):
    """``POST /admin/clock``."""

    model_config = ConfigDict(extra="forbid")

    start: bool


def build_admin(driver: EngineDriver, *, context_tokens: int) -> FastAPI:
    """The FastAPI part of the server."""
    app = FastAPI(title="mocker", docs_url=None, redoc_url=None)
    _add_errors(app)
    _add_public(app, driver, context_tokens)
    _add_metrics(app, driver)
    _add_admin(app, driver)
    return app


def _add_errors(app: FastAPI) -> None:
    def shaped(error: ApiError) -> JSONResponse:
        return JSONResponse(error.body(), status_code=error.status)

    @app.exception_handler(InputError)
    def refused(_request: Request, error: InputError) -> JSONResponse:
        return shaped(ApiError(409, str(error), param=error.path))

    @app.exception_handler(HTTPException)
    def known(request: Request, error: HTTPException) -> JSONResponse:
        where = f"{request.method} {request.url.path}"
        return shaped(ApiError(error.status_code, f"{error.detail}: {where}"))

    @app.exception_handler(RequestValidationError)
    def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        found: Sequence[Any] = error.errors()
        where = ".".join(str(part) for part in found[0]["loc"] if part != "body")
        return shaped(ApiError(422, f"{where}: {found[0]['msg']}", param=where or None))


def _add_public(app: FastAPI, driver: EngineDriver, context_tokens: int) -> None:
    model = {
        "id": driver.plan.model_id,
        "object": "model",
        "created": driver.created_s,
        "owned_by": "mocker",
        "root": driver.plan.model_id,
        "parent": None,
        "max_model_len": context_tokens,
    }

    @app.get("/v1/models")
    def models() -> dict[str, object]:
        return {"object": "list", "data": [model]}

    @app.get("/v1/models/{model_id:path}")
    def one_model(model_id: str) -> JSONResponse:
        if model_id.lower() != driver.plan.model_id.lower():
            error = ApiError(404, f"The model `{model_id}` does not exist.", param="model")
            return JSONResponse(error.body(), status_code=404)
        return JSONResponse(model)

    @app.get("/live")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @app.get("/health")
    @app.get("/ready")
    async def health() -> JSONResponse:
        workers = driver.snapshot().workers
        ready = sum(1 for worker in workers if worker.state.value == "ready")
        status = "healthy" if ready else "no worker is ready"
        return JSONResponse(
            {"status": status, "ready_workers": ready}, status_code=200 if ready else 503
        )


def _add_metrics(app: FastAPI, driver: EngineDriver) -> None:
    registry = CollectorRegistry(auto_describe=False)
    collector = ServerCollector(driver.plan.model_id, driver.metrics, driver.snapshot)

    @app.api_route("/metrics", methods=["GET", "HEAD"])
    async def metrics() -> Response:
        if not registry.get_target_info():
            registry.set_target_info({"service": "mocker"})
            registry.register(collector)
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _add_admin(app: FastAPI, driver: EngineDriver) -> None:
    @app.get("/admin/snapshot")
    async def snapshot() -> Response:
        return _json(_SNAPSHOT.dump_json(driver.snapshot()))

    @app.post("/admin/scale")
    async def scale(request: ScaleRequest) -> dict[str, object]:
        driver.scale([RoleTarget(role=t.role, replicas=t.replicas) for t in request.targets])
        return {"accepted": True}

    @app.post("/admin/faults")
    async def inject(request: FaultRequest) -> dict[str, object]:
        driver.inject(request)
        return {"injected": request.kind}

    @app.post("/admin/clock")
    async def clock(request: ClockRequest) -> dict[str, object]:
        if request.start:
            driver.restart_clock()
        return _clock(driver)

    @app.get("/admin/clock")
    async def read_clock() -> dict[str, object]:
        return _clock(driver)

    @app.get("/admin/record")
    async def record() -> Response:
        found = driver.record()
        table = found.table
        columns = {
            "client_id": list(driver.client_ids),
            "arrival_ns": table.arrival_ns.tolist(),
            "first_token_ns": table.first_token_ns.tolist(),
            "finish_ns": table.finish_ns.tolist(),
            "retries": table.retries.tolist(),
            "preemptions": table.preemptions.tolist(),
            "status": table.status.tolist(),
        }
        return JSONResponse(
            {
                "worker_events": _WORKERS.dump_python(found.worker_events, mode="json"),
                "faults": _FAULTS.dump_python(found.faults, mode="json"),
                "requests": columns,
            }
        )


def _clock(driver: EngineDriver) -> dict[str, object]:
    return {"now_s": ns_to_s(driver.now_ns()), "speed": driver.speed, "t0_ns": driver.t0_ns}


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
