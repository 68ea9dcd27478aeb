"""Bodies of the JSON interface, as ``/openapi.json`` describes them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from harness.service.model import JobState

_EXAMPLE: dict[str, Any] = {
    "scenario": (
        "version: 1\nname: my-first\nrungs: [sim]\ndeploy: {dgdr: request.yaml}\nworkload:\n"
        "  synthetic: {duration_s: 60, arrivals: {kind: poisson, rate_per_s: 3}}\n"
        "expect: {attainment_min: 0.9}\n"
    ),
    "files": {"request.yaml": "apiVersion: nvidia.com/v1beta1\nkind: ..."},
    "seeds": [1, 2],
    "label": "nightly",
}


class SubmissionBody(BaseModel):
    """A scenario as YAML text or as JSON, with the files that it names."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [_EXAMPLE]}
    )

    scenario: str | dict[str, Any] = Field(description="Content of the scenario file.")
    files: dict[str, str] = Field(
        default_factory=dict,
        description="Further files by their path relative to the scenario: DGDR, traces, tables,"
        " included files. Text; base64 for names that end with .gz. At most 20.",
    )
    rungs: list[str] = Field(
        default_factory=list, description="Of the ladder; empty for those of the scenario."
    )
    seeds: list[int] = Field(
        default_factory=list, description="Instead of those of the scenario; empty keeps them."
    )
    label: str = Field(default="", description="A word to find the run by.")
    baseline: str = Field(
        default="", description="One of the files, a baseline to judge the run against."
    )


class BaselineBody(BaseModel):
    """A finished run to compare others with."""

    model_config = ConfigDict(extra="forbid", strict=True)

    run: int = Field(description="Its id.")


class Problem(BaseModel):
    """Why a call was refused."""

    error: str = Field(description="For people.")
    path: str | None = Field(default=None, description="The field or header that is wrong.")


class RunState(BaseModel):
    """One run without what was handed in and without its figures."""

    id: int
    name: str = Field(description="Of the scenario; of the cell where it has a matrix.")
    label: str
    state: JobState = Field(description="The last four are final.")
    attempt: int = Field(description="How often a worker has begun with it.")
    created_at: str = Field(description="UTC, ISO 8601.")
    started_at: str | None = Field(description="UTC, ISO 8601.")
    finished_at: str | None = Field(description="UTC, ISO 8601.")
    phase: str = Field(description="What the worker does at the moment.")
    done: int = Field(description="Steps of the phase.")
    total: int = Field(description="Steps of the phase in all.")
    folder: str | None = Field(description="The run folder below DATA/runs.")
    verdict: str | None = Field(description="pass, fail or inconclusive once it is done.")
    error: str | None = Field(description="Why it was refused or failed.")


class SubmissionShown(BaseModel):
    """What was handed in."""

    scenario: str
    files: dict[str, str]
    rungs: list[str]
    seeds: list[int]
    label: str
    baseline: str
    cell: int = Field(description="Which combination of the matrix, from 0.")


class RunResult(BaseModel):
    """What came of a run."""

    reasons: list[str]
    checks: list[dict[str, Any]] = Field(description="One for each expectation and rung.")
    rungs: dict[str, dict[str, Any]] = Field(
        description="Figures and event digests (by seed) of each rung."
    )


class Run(RunState):
    """One run with everything."""

    submission: SubmissionShown
    result: RunResult | None


class Submitted(Run):
    """The run that was handed in; of a matrix the first, and the ids of all."""

    cells: list[int] = Field(description="Ids of the runs, one for each cell of the matrix.")


class Cancelled(RunState):
    """A run after it was cancelled."""

    before: JobState = Field(description="Its state before.")


class Page(BaseModel):
    """Runs, newest first."""

    runs: list[RunState]
    next: int | None = Field(description="Pass as ``before`` for the page after this one.")


class Artefact(BaseModel):
    """One file of a run folder."""

    name: str = Field(description="Path relative to the run folder.")
    bytes: int


class ComparedRun(BaseModel):
    """One side of a comparison."""

    id: int
    name: str
    verdict: str | None


class ComparedFigure(BaseModel):
    """One figure of both runs on one rung."""

    rung: str
    figure: str = Field(description="Latencies in ms, ratios from 0 to 1, rates per second.")
    a: float | None
    b: float | None
    change_ratio: float | None = Field(description="(b - a) / a")


class Comparison(BaseModel):
    """Two runs beside each other."""

    a: ComparedRun
    b: ComparedRun
    rows: list[ComparedFigure]
    same_digests: dict[str, bool] = Field(
        description="By rung: every event of both runs is the same."
    )


class Health(BaseModel):
    """The service answers."""

    status: str
    runs: dict[str, int] = Field(description="Runs by state.")
