"""The JSON interface: hand in, list, follow, cancel, compare, download."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse

from contracts.errors import InputError
from harness.service import schema
from harness.service.files import artefact, artefacts, cell_names
from harness.service.model import Job, JobState, Submission
from harness.service.reports import REPORT_FILE
from harness.service.state import ServiceState, compare_results

_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": schema.Problem, "description": "The token is missing or wrong."},
    422: {"model": schema.Problem, "description": "A parameter or the body is wrong."},
}
_MISSING: dict[int | str, dict[str, Any]] = {
    404: {"model": schema.Problem, "description": "There is no such run or file."}
}
_FOREIGN: dict[int | str, dict[str, Any]] = {
    403: {"model": schema.Problem, "description": "The call comes from another site."}
}
router = APIRouter(prefix="/api", responses=_REFUSALS)
PAGE_MAX = 200
# A comment keeps proxies from closing a stream on which nothing happens.
_KEEP_ALIVE_S = 15.0


def state_of(request: Request) -> ServiceState:
    """What the application was built with."""
    state: ServiceState = request.app.state.service
    return state


@router.get("/health", response_model=schema.Health)
def health(request: Request) -> dict[str, Any]:
    """Whether the service works, and how many runs are in which state."""
    return {"status": "ok", "runs": state_of(request).database.counts()}


@router.post(
    "/runs",
    status_code=201,
    response_model=schema.Submitted,
    responses={
        200: {"model": schema.Submitted, "description": "The key is known: its run."},
        **_FOREIGN,
    },
)
async def submit(
    request: Request,
    body: schema.SubmissionBody,
    idempotency_key: Annotated[
        str | None,
        Header(max_length=190, description="Repeating a call with it gives the same run."),
    ] = None,
) -> JSONResponse:
    """Hand in a scenario; the same key twice gives the same run (200 instead of 201).

    Each cell of a matrix becomes a run of its own: the answer is the first, ``cells`` has the
    ids of all. What is wrong with a scenario beyond its files is said by the run: it ends as
    ``refused`` with an ``error``.
    """
    service = state_of(request)
    text = body.scenario if isinstance(body.scenario, str) else json.dumps(body.scenario, indent=1)
    submission = Submission(
        scenario=text,
        files=body.files,
        rungs=tuple(body.rungs),
        seeds=tuple(body.seeds),
        label=body.label,
        baseline=body.baseline,
    )
    jobs, new = await run_in_threadpool(hand_in, service, submission, idempotency_key)
    for job in jobs:
        service.queue_changed(job.id)
    shown = {**job_json(jobs[0]), "cells": [job.id for job in jobs]}
    return JSONResponse(shown, 201 if new else 200)


def hand_in(
    service: ServiceState, submission: Submission, key: str | None
) -> tuple[list[Job], bool]:
    """Check a submission and queue a job for each cell; whether they are new.

    Raises:
        InputError: the submission must not be run, or the key belongs to another one.
    """
    return service.database.submit_cells(submission, cell_names(submission), key)


@router.get("/runs", response_model=schema.Page)
def runs(
    request: Request,
    before: Annotated[int | None, Query(ge=1, description="Runs with smaller ids only.")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
    state: JobState | None = None,
) -> dict[str, Any]:
    """Runs, newest first; ``next`` is the value of ``before`` for the page after this one."""
    found = state_of(request).database.page(before=before, limit=limit + 1, state=state)
    more = len(found) > limit
    page = found[:limit]
    return {
        "runs": [job_json(job, short=True) for job in page],
        "next": page[-1].id if more else None,
    }


@router.get("/runs/{run_id}", response_model=schema.Run, responses=_MISSING)
def run(request: Request, run_id: int) -> dict[str, Any]:
    """One run with its verdict, checks and figures."""
    return job_json(state_of(request).database.job(run_id))


@router.post(
    "/runs/{run_id}/cancel",
    status_code=202,
    response_model=schema.Cancelled,
    responses={**_MISSING, **_FOREIGN},
)
async def cancel(request: Request, run_id: int) -> dict[str, Any]:
    """Cancel a run that waits or works; one that has ended stays as it is."""
    service = state_of(request)
    before = await service.pool.cancel(run_id)
    job = await run_in_threadpool(service.database.job, run_id)
    return {"before": before.value, **job_json(job, short=True)}


@router.get(
    "/runs/{run_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
            "description": "Events named `run`, each with a run's state as JSON.",
        },
        **_MISSING,
    },
)
async def events(request: Request, run_id: int) -> StreamingResponse:
    """Server-sent events: the run as it changes, until it has ended."""
    service = state_of(request)
    await run_in_threadpool(service.database.job, run_id)

    async def stream() -> AsyncIterator[str]:
        async for job in service.follow(run_id, keep_alive_s=_KEEP_ALIVE_S):
            if job is None:
                yield ": still here\n\n"
            else:
                yield f"event: run\ndata: {json.dumps(job_json(job, short=True))}\n\n"

    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(stream(), media_type="text/event-stream", headers=headers)


@router.get("/runs/{run_id}/artefacts", response_model=list[schema.Artefact], responses=_MISSING)
def list_artefacts(request: Request, run_id: int) -> list[dict[str, Any]]:
    """Files of the run folder."""
    service = state_of(request)
    folder = _folder(service.database.job(run_id))
    return [{"name": name, "bytes": size} for name, size in artefacts(service.runs, folder)]


@router.get(
    "/runs/{run_id}/artefacts/{name:path}",
    response_class=FileResponse,
    responses={
        200: {"content": {"application/octet-stream": {}}, "description": "The file."},
        **_MISSING,
    },
)
async def download(request: Request, run_id: int, name: str) -> FileResponse:
    """One file of the run folder; ``report.html`` is made when it is first asked for."""
    service = state_of(request)
    folder = _folder(await run_in_threadpool(service.database.job, run_id))
    if name == REPORT_FILE:
        await service.reports.ready(service.runs / folder)
    return FileResponse(artefact(service.runs, folder, name))


@router.get("/compare", response_model=schema.Comparison, responses=_MISSING)
def compare(request: Request, a: int, b: int) -> dict[str, Any]:
    """Figures of run ``b`` beside those of run ``a``, rung by rung."""
    database = state_of(request).database
    return compare_results(database.job(a), database.job(b))


@router.get("/baselines")
def baselines(request: Request) -> dict[str, int]:
    """Run by name of the baseline."""
    return state_of(request).database.baselines()


@router.put("/baselines/{name}", status_code=204, responses={**_MISSING, **_FOREIGN})
def set_baseline(request: Request, name: str, body: schema.BaselineBody) -> None:
    """Name a finished run; an earlier baseline of this name is replaced."""
    state_of(request).database.set_baseline(name, body.run)


def job_json(job: Job, *, short: bool = False) -> dict[str, Any]:
    """A run as the interface shows it; short leaves out what was handed in and the figures."""
    content = asdict(job)
    if short:
        del content["submission"], content["result"]
    return content


def _folder(job: Job) -> str:
    if job.folder is None:
        raise InputError("has no run folder yet", path="id", value=str(job.id))
    return job.folder
