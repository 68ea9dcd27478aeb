"""What the application holds: database, workers, and who waits for news of a run."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from contracts.errors import InputError
from harness.service.database import Database
from harness.service.model import Job
from harness.service.pool import Pool
from harness.service.reports import Reports

_FIGURES = ("attainment_ratio", "completed_ratio", "goodput_rps", "output_tokens_per_s")
_LATENCIES = ("ttft_ms", "itl_ms", "e2e_ms")


class ServiceState:
    """One service: its queue, its workers, its readers."""

    def __init__(
        self, database: Database, data: Path, workers: int, planner_bench: Path | None = None
    ) -> None:
        self.database = database
        self.data = data
        self.runs = data / "runs"
        self.pool = Pool(database, data, workers=workers, changed=self.job_changed)
        self.planner_bench = planner_bench
        self.reports = Reports()
        self._waiting: dict[int, set[asyncio.Event]] = defaultdict(set)

    def queue_changed(self, job_id: int) -> None:
        """A job came into the queue."""
        self.pool.wake()
        self.job_changed(job_id)

    def job_changed(self, job_id: int) -> None:
        """Wake everybody who follows a job."""
        for event in self._waiting.get(job_id, ()):
            event.set()

    async def follow(self, job_id: int, *, keep_alive_s: float) -> AsyncIterator[Job | None]:
        """A job now and after each change until its end; ``None`` when nothing happens."""
        news = asyncio.Event()
        self._waiting[job_id].add(news)
        try:
            while True:
                news.clear()
                job = await asyncio.to_thread(self.database.job, job_id)
                yield job
                if job.state.final:
                    return
                while not await _wait(news, keep_alive_s):
                    yield None
        finally:
            self._waiting[job_id].discard(news)
            if not self._waiting[job_id]:
                del self._waiting[job_id]


async def _wait(event: asyncio.Event, limit_s: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), limit_s)
    except TimeoutError:
        return False
    return True


def compare_results(first: Job, second: Job) -> dict[str, Any]:
    """Figures of two runs side by side with the relative change.

    Raises:
        InputError: a run has no result.
    """
    for job in (first, second):
        if job.result is None:
            raise InputError("has no result to compare", path="run", value=str(job.id))
    left, right = (job.result["rungs"] for job in (first, second) if job.result is not None)
    rungs = [rung for rung in left if rung in right]
    if not rungs:
        raise InputError(
            "the two runs have no rung in common",
            path="run",
            value=f"{first.id} and {second.id}",
        )
    return {
        "a": {"id": first.id, "name": first.name, "verdict": first.verdict},
        "b": {"id": second.id, "name": second.name, "verdict": second.verdict},
        "rows": [
            {"rung": rung, "figure": name, "a": a, "b": b, "change_ratio": _change(a, b)}
            for rung in rungs
            for name, a, b in _pairs(left[rung], right[rung])
        ],
        "same_digests": {
            rung: left[rung]["digests"] == right[rung]["digests"]
            for rung in rungs
            if all(left[rung]["digests"].values())
        },
    }


def _pairs(
    left: dict[str, Any], right: dict[str, Any]
) -> list[tuple[str, float | None, float | None]]:
    rows: list[tuple[str, float | None, float | None]] = [
        (name, left[name], right[name]) for name in _FIGURES
    ]
    for name in _LATENCIES:
        for percentile in ("p50", "p95", "p99"):
            pair = [side[name][percentile] if side[name] else None for side in (left, right)]
            rows.append((f"{name}_{percentile}", pair[0], pair[1]))
    return rows


def _change(a: float | None, b: float | None) -> float | None:
    return (b - a) / a if a and b is not None else None
