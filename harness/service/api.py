"""The JSON interface: hand in, list, follow, cancel, compare, download."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from contracts.errors import InputError
from harness.service.files import artefact, artefacts, check_submission
from harness.service.model import Job, JobState, Submission
from harness.service.state import ServiceState, compare_results

router = APIRouter(prefix="/api")
PAGE_MAX = 200
# A comment keeps proxies from closing a stream on which nothing happens.
_KEEP_ALIVE_S = 15.0


class SubmissionBody(BaseModel):
    """A scenario as YAML text or as JSON, with the files that it names."""

    model_config = ConfigDict(extra="forbid", strict=True)

    scenario: str | dict[str, Any]
    files: dict[str, str] = Field(default_factory=dict)
    rungs: list[str] = Field(default_factory=list)
    seeds: list[int] = Field(default_factory=list)
    label: str = ""


class BaselineBody(BaseModel):
    """A finished run to compare others with."""

    model_config = ConfigDict(extra="forbid", strict=True)

    run: int


def state_of(request: Request) -> ServiceState:
    """What the application was built with."""
    state: ServiceState = request.app.state.service
    return state


@router.get("/health")
def health(request: Request) -> dict[str, Any]:
    """Whether the service works, and how many runs are in which state."""
    return {"status": "ok", "runs": state_of(request).database.counts()}


@router.post("/runs", status_code=201)
async def submit(
    request: Request,
    body: SubmissionBody,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> JSONResponse:
    """Hand in a scenario; the same key twice gives the same run (200 instead of 201)."""
    service = state_of(request)
    text = body.scenario if isinstance(body.scenario, str) else json.dumps(body.scenario, indent=1)
    submission = Submission(
        scenario=text,
        files=body.files,
        rungs=tuple(body.rungs),
        seeds=tuple(body.seeds),
        label=body.label,
    )
    name = check_submission(submission)
    job, new = await run_in_threadpool(service.database.submit, submission, name, idempotency_key)
    service.queue_changed(job.id)
    return JSONResponse(job_json(job), 201 if new else 200)


@router.get("/runs")
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


@router.get("/runs/{run_id}")
def run(request: Request, run_id: int) -> dict[str, Any]:
    """One run with its verdict, checks and figures."""
    return job_json(state_of(request).database.job(run_id))


@router.post("/runs/{run_id}/cancel", status_code=202)
async def cancel(request: Request, run_id: int) -> dict[str, Any]:
    """Cancel a run that waits or works; one that has ended stays as it is."""
    service = state_of(request)
    before = await service.pool.cancel(run_id)
    job = await run_in_threadpool(service.database.job, run_id)
    return {"before": before.value, **job_json(job, short=True)}


@router.get("/runs/{run_id}/events")
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


@router.get("/runs/{run_id}/artefacts")
def list_artefacts(request: Request, run_id: int) -> list[dict[str, Any]]:
    """Files of the run folder."""
    service = state_of(request)
    folder = _folder(service.database.job(run_id))
    return [{"name": name, "bytes": size} for name, size in artefacts(service.runs, folder)]


@router.get("/runs/{run_id}/artefacts/{name:path}")
def download(request: Request, run_id: int, name: str) -> FileResponse:
    """One file of the run folder."""
    service = state_of(request)
    return FileResponse(artefact(service.runs, _folder(service.database.job(run_id)), name))


@router.get("/compare")
def compare(request: Request, a: int, b: int) -> dict[str, Any]:
    """Figures of run ``b`` beside those of run ``a``, rung by rung."""
    database = state_of(request).database
    return compare_results(database.job(a), database.job(b))


@router.get("/baselines")
def baselines(request: Request) -> dict[str, int]:
    """Run by name of the baseline."""
    return state_of(request).database.baselines()


@router.put("/baselines/{name}", status_code=204)
def set_baseline(request: Request, name: str, body: BaselineBody) -> None:
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
