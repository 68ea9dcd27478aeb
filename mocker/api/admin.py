"""Administration of engines in this process: scale, faults, clock, record."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Body, FastAPI, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from contracts.decision import RoleTarget
from contracts.observation import ClusterSnapshot, WorkerView
from contracts.plan import Role
from contracts.records import FaultRecord
from contracts.units import ns_to_s
from mocker.api.errors import ApiError
from mocker.api.http_faults import FaultRule, StreamFault
from mocker.api.server_state import ServerState
from mocker.engines.driver import EngineDriver
from mocker.engines.faults import FaultRequest

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
    """``POST /admin/clock``: restart it, or go on at another speed."""

    model_config = ConfigDict(extra="forbid")

    start: bool = False
    speed: float | None = Field(default=None, gt=0)


class HttpFault(BaseModel):
    """``POST /admin/http_faults``: refuse requests, or break streams.

    Attributes:
        every: 1 hits each request, 3 every third.
        times: how often it hits; ``None`` is for ever.
        status: with ``http_error``.
        after_tokens: tokens sent before a stream breaks.
    """

    model_config = ConfigDict(extra="forbid")

    kind: Literal["http_error", "stream_error", "stream_reset", "stream_stall"]
    every: int = Field(default=1, ge=1)
    times: int | None = Field(default=None, ge=1)
    status: int = Field(default=503, ge=400, le=599)
    retry_after_s: int | None = Field(default=None, ge=0)
    after_tokens: int = Field(default=1, ge=0)

    def rule(self) -> FaultRule:
        """The rule that the token routes look at."""
        if self.kind == "http_error":
            return FaultRule(
                every=self.every,
                left=self.times,
                status=self.status,
                retry_after_s=self.retry_after_s,
            )
        stream = StreamFault(kind=self.kind, after_tokens=self.after_tokens)
        return FaultRule(every=self.every, left=self.times, stream=stream)


def add_admin(app: FastAPI, driver: EngineDriver, state: ServerState) -> None:
    """Add the routes below ``/admin``."""
    _add_cluster(app, driver)
    _add_faults(app, driver, state)
    _add_clock(app, driver)

    @app.get("/admin/record")
    async def record() -> Response:
        return JSONResponse(_record(driver))

    @app.post("/admin/drain")
    async def drain() -> dict[str, object]:
        state.draining = True
        return {"draining": True, "in_flight": driver.in_flight}


def _add_cluster(app: FastAPI, driver: EngineDriver) -> None:
    @app.get("/admin/snapshot")
    async def snapshot() -> Response:
        return _json(_SNAPSHOT.dump_json(driver.snapshot()))

    @app.post("/admin/scale")
    async def scale(request: ScaleRequest) -> dict[str, object]:
        driver.scale([RoleTarget(role=t.role, replicas=t.replicas) for t in request.targets])
        return {"accepted": True}


def _add_faults(app: FastAPI, driver: EngineDriver, state: ServerState) -> None:
    @app.post("/admin/faults")
    async def inject(request: Annotated[FaultRequest, Body()]) -> dict[str, object]:
        try:
            fault = request.to_fault()
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ApiError(422, f"{where or 'kind'}: {first['msg']}", param=where) from error
        except ValueError as error:
            raise ApiError(422, str(error)) from error
        driver.inject(fault)
        return {"injected": request.kind}

    @app.post("/admin/http_faults")
    async def add(request: HttpFault) -> dict[str, object]:
        state.faults.rules.append(request.rule())
        return {"rules": len(state.faults.rules)}

    @app.delete("/admin/http_faults")
    async def clear() -> dict[str, object]:
        state.faults.rules.clear()
        return {"rules": 0}


def _add_clock(app: FastAPI, driver: EngineDriver) -> None:
    @app.post("/admin/clock")
    async def clock(request: ClockRequest) -> dict[str, object]:
        if request.start:
            driver.restart_clock()
        if request.speed is not None:
            driver.change_speed(request.speed)
        return _clock(driver)

    @app.get("/admin/clock")
    async def read_clock() -> dict[str, object]:
        return _clock(driver)


def _record(driver: EngineDriver) -> dict[str, Any]:
    found = driver.record()
    table = found.table
    columns = {
        "client_id": driver.recorded_clients(),
        "arrival_ns": table.arrival_ns.tolist(),
        "first_token_ns": table.first_token_ns.tolist(),
        "finish_ns": table.finish_ns.tolist(),
        "retries": table.retries.tolist(),
        "preemptions": table.preemptions.tolist(),
        "status": table.status.tolist(),
    }
    return {
        "worker_events": _WORKERS.dump_python(found.worker_events, mode="json"),
        "faults": _FAULTS.dump_python(found.faults, mode="json"),
        "requests": columns,
    }


def _clock(driver: EngineDriver) -> dict[str, object]:
    speed = str(driver.speed) if driver.speed == float("inf") else driver.speed
    return {"now_s": ns_to_s(driver.now_ns()), "speed": speed, "t0_ns": driver.t0_ns}


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
