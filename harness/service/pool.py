"""Worker processes and the loop that feeds them from the queue."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.service.database import Database
from harness.service.files import job_files
from harness.service.model import Job, JobState
from harness.settings import variables

_log = logging.getLogger(__name__)
_STATES = {
    "done": JobState.DONE,
    "refused": JobState.REFUSED,
    "failed": JobState.FAILED,
    "cancelled": JobState.CANCELLED,
}
# Each worker computes on one core; without these the libraries keep memory for many threads.
_SMALL = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": "131072",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
# A worker that does not stop when asked is killed.
_STOP_S = 15.0


@dataclass(slots=True, eq=False)
class _Worker:
    """A process and what it works on."""

    process: asyncio.subprocess.Process
    job_id: int | None = None
    ready: bool = False


class Pool:
    """Runs queued jobs on a bounded number of processes.

    Args:
        database: the queue.
        data: folder of the service; runs lie in ``runs``, scenarios in ``jobs``.
        workers: processes at most.
        changed: called with a job's id whenever something about it changed.
    """

    def __init__(
        self, database: Database, data: Path, *, workers: int, changed: Callable[[int], None]
    ) -> None:
        self._database = database
        self._data = data
        self._limit = workers
        self._changed = changed
        self._wake = asyncio.Event()
        self._workers: set[_Worker] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._cancelled: set[int] = set()

    @property
    def pids(self) -> list[int]:
        """Processes that are there now."""
        return [worker.process.pid for worker in self._workers]

    def wake(self) -> None:
        """There may be a new job."""
        self._wake.set()

    async def run(self) -> None:
        """Feed the workers until cancelled; then stop them, their jobs are queued again."""
        await asyncio.to_thread(self._database.recover)
        self._tasks = {asyncio.create_task(self._slot()) for _ in range(self._limit)}
        try:
            await asyncio.gather(*self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.gather(*(self._stop(worker) for worker in list(self._workers)))

    async def cancel(self, job_id: int) -> JobState:
        """Cancel a job; a running one is broken off and its folder marked incomplete."""
        before = await asyncio.to_thread(self._database.cancel, job_id)
        if before is JobState.RUNNING:
            self._cancelled.add(job_id)
        for worker in self._workers:
            # One that is still starting is told nothing: its job will not be begun.
            if worker.job_id == job_id and worker.ready:
                worker.process.send_signal(signal.SIGINT)
        self._changed(job_id)
        return before

    async def _slot(self) -> None:
        """One place for one worker: take a job, run it, take the next."""
        worker: _Worker | None = None
        while True:
            job = await asyncio.to_thread(self._database.claim)
            if job is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            self._changed(job.id)
            if worker is None or worker.process.returncode is not None:
                worker = await self._start()
            if not await self._work(worker, job):
                worker = None

    async def _start(self) -> _Worker:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "harness.service.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=1 << 24,
            env=variables(_SMALL),
        )
        worker = _Worker(process)
        self._workers.add(worker)
        return worker

    async def _work(self, worker: _Worker, job: Job) -> bool:
        """Run one job; whether the worker can take another one."""
        worker.job_id = job.id
        try:
            outcome = await self._outcome(worker, job)
        finally:
            worker.job_id = None
        if job.id in self._cancelled:
            self._cancelled.discard(job.id)
            outcome = outcome or {"state": JobState.CANCELLED.value}
        if worker.process.stdout is None or worker.process.stdout.at_eof():
            await worker.process.wait()
            self._workers.discard(worker)
        if outcome is None:
            code = worker.process.returncode
            _log.warning("run %d lost its worker (exit code %s)", job.id, code)
            why = f"its worker ended with code {code}"
            await asyncio.to_thread(self._database.give_back, job.id, why)
            self._wake.set()
        else:
            await asyncio.to_thread(self._database.finish, job.id, outcome)
        self._changed(job.id)
        return worker.process.returncode is None

    async def _outcome(self, worker: _Worker, job: Job) -> dict[str, Any] | None:
        """Columns of the finished job; ``None`` when the worker died."""
        process = worker.process
        if process.stdin is None or process.stdout is None:
            return None
        order = {
            "scenario": str(job_files(self._data, job)),
            "runs_dir": str(self._data / "runs"),
            "rungs": list(job.submission.rungs),
            "seeds": list(job.submission.seeds),
            "cell": job.submission.cell,
            "baseline": job.submission.baseline,
        }
        if not worker.ready:
            worker.ready = bool(await process.stdout.readline())
        if job.id in self._cancelled:
            return {"state": JobState.CANCELLED.value}
        try:
            process.stdin.write(json.dumps(order).encode() + b"\n")
            await process.stdin.drain()
        except ConnectionError:
            return None
        while line := await process.stdout.readline():
            message = json.loads(line)
            kind = message.pop("kind")
            if kind in _STATES:
                return {"state": _STATES[kind].value, **message}
            if kind == "progress":
                await asyncio.to_thread(
                    self._database.progress,
                    job.id, message["phase"], message["done"], message["total"],
                )  # fmt: skip
                self._changed(job.id)
        return None

    async def _stop(self, worker: _Worker) -> None:
        if worker.process.stdin is not None:
            worker.process.stdin.close()
        try:
            await asyncio.wait_for(worker.process.wait(), _STOP_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                worker.process.kill()
            await worker.process.wait()
        self._workers.discard(worker)
