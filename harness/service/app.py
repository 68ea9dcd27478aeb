"""The service as one ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from contracts.errors import InputError, RehearsalError
from harness.service import api, pages
from harness.service.auth import TokenAuth
from harness.service.database import Database
from harness.service.state import ServiceState

_log = logging.getLogger(__name__)
_DESCRIPTION = """Rehearsals of LLM deployments: hand in scenarios, follow them, compare results.

**Token.** If the service has one, send `Authorization: Bearer TOKEN`; `/api/health` needs none.

**Repeating.** Send `Idempotency-Key` with `POST /api/runs`: the same key and body give the same
run again (200), the same key and another body are refused (422).

**Lists** are pages, newest first: pass `next` as `before`. New runs do not
shift them.

**Errors** are `{"error": text, "path": field}`."""


def build_app(
    database: Database,
    data: Path,
    *,
    workers: int,
    token: str | None,
    planner_bench: Path | None = None,
) -> FastAPI:
    """The application; its workers live as long as its lifespan.

    Args:
        database: the queue.
        data: folder for scenarios and runs.
        workers: processes at most.
        token: who does not send it is refused; ``None`` lets everybody in.
        planner_bench: output of ``harness bench planner`` to show.
    """
    state = ServiceState(database, data, workers, planner_bench)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        working = asyncio.create_task(state.pool.run())
        working.add_done_callback(_end_without_workers)
        try:
            yield
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    app = FastAPI(
        title="Rehearsal service",
        description=_DESCRIPTION,
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = state
    app.state.auth = TokenAuth(token)
    app.middleware("http")(app.state.auth)
    app.include_router(api.router, tags=["runs"])
    app.include_router(pages.router, include_in_schema=False)
    app.add_exception_handler(InputError, _bad_input)
    app.add_exception_handler(RehearsalError, _trouble)
    app.add_exception_handler(RequestValidationError, _bad_call)
    return app


def _end_without_workers(working: asyncio.Task[None]) -> None:
    """A service that takes runs but never works on them is worse than none."""
    if not working.cancelled() and (error := working.exception()) is not None:
        _log.critical("the workers' loop ended: %s", error, exc_info=error)
        signal.raise_signal(signal.SIGTERM)


async def _bad_input(request: Request, error: Exception) -> Response:
    assert isinstance(error, InputError)
    missing = error.path in ("id", "name") and error.message.startswith("no such")
    body = {"error": str(error), "path": error.path}
    if not request.url.path.startswith("/api/"):
        return pages.problem(request, str(error), 404 if missing else 422)
    return JSONResponse(body, 404 if missing else 422)


async def _bad_call(request: Request, error: Exception) -> Response:
    """Parameters and bodies of the wrong shape, said like all other errors."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    text = f"{path}: {first['msg']}"
    if not request.url.path.startswith("/api/"):
        return pages.problem(request, text, 422)
    return JSONResponse({"error": text, "path": path}, 422)


async def _trouble(_request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, 502)
