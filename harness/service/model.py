"""What the service knows about one run that was handed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

# Files that are no text are handed in and kept as base64.
BINARY_SUFFIXES = (".gz",)


class JobState(StrEnum):
    """Where a job stands; the last four are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Nothing will change any more."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A scenario as it was handed in.

    Attributes:
        scenario: text of the scenario file.
        files: further files by their path relative to the scenario, as text; base64 for
            names with one of ``BINARY_SUFFIXES``.
        rungs: of the ladder; empty for those of the scenario.
        seeds: empty for those of the scenario.
        label: a word to find the run by.
        baseline: one of the files, to judge the run against; empty for none.
        cell: which combination of the scenario's matrix, from 0.
    """

    scenario: str
    files: Mapping[str, str] = field(default_factory=dict)
    rungs: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    label: str = ""
    baseline: str = ""
    cell: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One row of the queue.

    Attributes:
        name: of the scenario, as far as it could be read.
        attempt: how often a worker has begun with it.
        phase: what the worker does at the moment.
        folder: the run folder, relative to the folder of all runs.
        verdict: pass, fail or inconclusive; ``None`` until done.
        result: verdict with its checks and a summary for each rung.
        error: why it was refused or failed.
        created_at, started_at, finished_at: UTC, ISO 8601.
    """

    id: int
    name: str
    label: str
    state: JobState
    attempt: int
    submission: Submission
    created_at: str
    started_at: str | None = None
    finished_at: str | None = None
    phase: str = ""
    done: int = 0
    total: int = 0
    folder: str | None = None
    verdict: str | None = None
    result: Mapping[str, Any] | None = None
    error: str | None = None
