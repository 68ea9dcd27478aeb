"""Pages for people: the list of runs, one run, two runs beside each other, the Pareto explorer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from contracts.errors import InputError
from harness.service.api import hand_in, job_json, state_of
from harness.service.auth import COOKIE
from harness.service.bench_page import bench_output
from harness.service.files import artefact, artefacts
from harness.service.model import Job, Submission
from harness.service.selection import selection_page
from harness.service.state import compare_results
from profiler.page.render import base_css

router = APIRouter()
_HERE = Path(__file__).parent
_PAGE = 30
_FIGURES = {
    "attainment_ratio": "requests within the SLA, of all offered",
    "completed_ratio": "requests completed, of all offered",
    "goodput_rps": "requests within the SLA",
    "output_tokens_per_s": "output tokens",
}
_STARTER = """version: 1
name: my-first
rungs: [sim]
deploy:
  dgdr: request.yaml
workload:
  synthetic:
    duration_s: 60
    arrivals: {kind: poisson, rate_per_s: 3}
expect:
  attainment_min: 0.9
"""
_STARTER_REQUEST = """apiVersion: nvidia.com/v1beta1
kind: DynamoGraphDeploymentRequest
metadata: {name: my-first}
spec:
  model: Qwen/Qwen3-8B
  image: ai-dynamo/dynamo-planner:1.2.1
  backend: vllm
  sla: {ttft: 500, itl: 30}
  workload: {isl: 1000, osl: 200, requestRate: 3}
  hardware: {gpuSku: h200_sxm, numGpusPerNode: 8, totalGpus: 8}
"""
_pages = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(request: Request, name: str, status: int = 200, **values: object) -> HTMLResponse:
    """A page in the frame of all pages."""
    css = (_HERE / "templates" / "service.css").read_text(encoding="utf-8")
    text = _pages.get_template(name).render(
        css=Markup(base_css() + css),
        may_log_out=not request.app.state.auth.open,
        has_bench=state_of(request).planner_bench is not None,
        **values,
    )
    return HTMLResponse(text, status)


def problem(request: Request, text: str, status: int) -> HTMLResponse:
    """A page that says what is wrong."""
    return render(request, "problem.html.jinja", status, text=text)


@router.get("/")
def index(request: Request, before: Annotated[int | None, Query(ge=1)] = None) -> HTMLResponse:
    """Runs, newest first, and a form to hand one in."""
    database = state_of(request).database
    found = database.page(before=before, limit=_PAGE + 1)
    return render(
        request,
        "index.html.jinja",
        jobs=found[:_PAGE],
        older=found[_PAGE - 1].id if len(found) > _PAGE else None,
        counts=database.counts(),
        baselines=database.baselines(),
        starter=_STARTER,
        starter_request=_STARTER_REQUEST,
    )


@router.post("/submit")
async def submit(
    request: Request,
    scenario: Annotated[str, Form()],
    file_name: Annotated[str, Form()] = "",
    file_text: Annotated[str, Form()] = "",
) -> RedirectResponse:
    """The form of the first page."""
    service = state_of(request)
    files = {file_name: file_text} if file_name else {}
    submission = Submission(scenario=scenario.replace("\r\n", "\n"), files=files)
    jobs, _ = await run_in_threadpool(hand_in, service, submission, None)
    for job in jobs:
        service.queue_changed(job.id)
    return RedirectResponse(f"/runs/{jobs[0].id}" if len(jobs) == 1 else "/", 303)


@router.get("/runs/{run_id}")
def run(request: Request, run_id: int) -> HTMLResponse:
    """One run: progress while it works, then verdict, figures and files."""
    service = state_of(request)
    job = service.database.job(run_id)
    files = artefacts(service.runs, job.folder) if job.folder else []
    names = {name for name, _ in files}
    return render(
        request,
        "run.html.jinja",
        job=job,
        summary=job_json(job, short=True),
        files=files,
        has_report=job.folder is not None,
        has_selection="profile/candidates.json" in names,
        baselines=service.database.baselines(),
    )


@router.post("/runs/{run_id}/cancel")
async def cancel(request: Request, run_id: int) -> RedirectResponse:
    """The button on the page of a run."""
    await state_of(request).pool.cancel(run_id)
    return RedirectResponse(f"/runs/{run_id}", 303)


@router.post("/runs/{run_id}/baseline")
async def baseline(
    request: Request, run_id: int, name: Annotated[str, Form(min_length=1, max_length=100)]
) -> RedirectResponse:
    """Name a run as a baseline."""
    await run_in_threadpool(state_of(request).database.set_baseline, name, run_id)
    return RedirectResponse(f"/runs/{run_id}", 303)


@router.get("/runs/{run_id}/report")
async def report(request: Request, run_id: int) -> FileResponse:
    """The report of the run folder; made when it is first looked at."""
    service = state_of(request)
    folder = _folder(await run_in_threadpool(service.database.job, run_id))
    return FileResponse(await service.reports.ready(service.runs / folder))


@router.get("/runs/{run_id}/pareto")
def pareto(request: Request, run_id: int) -> HTMLResponse:
    """The page to choose a deployment from, with SLO sliders."""
    service = state_of(request)
    return HTMLResponse(selection_page(service.runs / _folder(service.database.job(run_id))))


@router.get("/compare")
def compare(request: Request, a: int, b: int) -> HTMLResponse:
    """Two runs beside each other."""
    database = state_of(request).database
    found = compare_results(database.job(a), database.job(b))
    return render(request, "compare.html.jinja", found=found, rows=_rows(found))


@router.get("/planner-bench")
def planner_bench(request: Request) -> HTMLResponse:
    """The planner benchmark that the service was given."""
    folder = _bench(request)
    output = bench_output(folder)
    return render(request, "planner.html.jinja", output=output, folder=folder.name)


@router.get("/planner-bench/files/{name:path}")
def planner_bench_file(request: Request, name: str) -> FileResponse:
    """One of its files."""
    folder = _bench(request)
    return FileResponse(artefact(folder.parent, folder.name, name))


@router.get("/login")
def login_form(request: Request) -> HTMLResponse:
    """Asks for the token."""
    return render(request, "login.html.jinja", wrong=False)


@router.post("/login")
def login(request: Request, token: Annotated[str, Form()]) -> Response:
    """Puts the token into a cookie."""
    if not request.app.state.auth.matches(token):
        return render(request, "login.html.jinja", 401, wrong=True)
    answer = RedirectResponse("/", 303)
    secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=secure)
    return answer


@router.post("/logout")
def logout() -> RedirectResponse:
    """Forgets the token."""
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE)
    return answer


def _folder(job: Job) -> str:
    if job.folder is None:
        raise InputError("has no run folder yet", path="run", value=str(job.id))
    return job.folder


def _bench(request: Request) -> Path:
    folder = state_of(request).planner_bench
    if folder is None:
        raise InputError("no such page: start with --planner-bench DIR", path="name")
    return folder


def _rows(found: Mapping[str, Any]) -> list[dict[str, str]]:
    return [
        {
            "rung": row["rung"],
            "figure": _figure(row["figure"]),
            "a": _number(row["a"], row["figure"]),
            "b": _number(row["b"], row["figure"]),
            "change": "" if row["change_ratio"] is None else f"{row['change_ratio']:+.1%}",
        }
        for row in found["rows"]
    ]


def _figure(name: str) -> str:
    """``ttft_ms_p50`` as ``TTFT p50``; the unit stands at the numbers."""
    latency, _, quantile = name.partition("_ms_")
    return f"{latency.upper()} {quantile}" if quantile else _FIGURES.get(name, name)


def _number(value: float | None, figure: str) -> str:
    if value is None:
        return "no data"
    if figure.endswith("_ratio"):
        return f"{100 * value:.4g} %"
    return f"{value:,.4g} {'ms' if '_ms_' in figure else '/s'}"
