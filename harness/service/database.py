"""Jobs and baselines in SQLite or PostgreSQL; every method is one transaction."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import sqlalchemy as sa

from contracts.errors import InputError, PermanentError
from harness.service.model import Job, JobState, Submission

ATTEMPTS_MAX = 3
_LATER_OPTIONS = ("baseline", "cell")
_METADATA = sa.MetaData()
JOBS = sa.Table(
    "jobs",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("label", sa.String(200), nullable=False),
    sa.Column("state", sa.String(20), nullable=False, index=True),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("submission", sa.Text, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("idempotency_key", sa.String(200), unique=True),
    sa.Column("created_at", sa.String(40), nullable=False),
    sa.Column("started_at", sa.String(40)),
    sa.Column("finished_at", sa.String(40)),
    sa.Column("phase", sa.String(200), nullable=False),
    sa.Column("done", sa.Integer, nullable=False),
    sa.Column("total", sa.Integer, nullable=False),
    sa.Column("folder", sa.String(400)),
    sa.Column("verdict", sa.String(20)),
    sa.Column("result", sa.Text),
    sa.Column("error", sa.Text),
    sqlite_autoincrement=True,
)
BASELINES = sa.Table(
    "baselines",
    _METADATA,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("job_id", sa.Integer, sa.ForeignKey("jobs.id"), nullable=False),
    sa.Column("set_at", sa.String(40), nullable=False),
)


class Database:
    """The queue and what became of it.

    Args:
        url: ``sqlite:///FILE`` or ``postgresql+psycopg://...``.
        now_text: the present, UTC, ISO 8601.

    Raises:
        PermanentError: the database cannot be opened.
    """

    def __init__(self, url: str, now_text: Callable[[], str]) -> None:
        self._now = now_text
        try:
            self._engine = sa.create_engine(_with_driver(url))
            if self._engine.dialect.name == "sqlite":
                sa.event.listen(self._engine, "connect", _durable)
            _METADATA.create_all(self._engine)
        except (sa.exc.SQLAlchemyError, ImportError) as error:
            raise PermanentError(f"no database at {_safe(url)}: {error}") from error

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def submit(self, submission: Submission, name: str, key: str | None) -> tuple[Job, bool]:
        """Add a job; with a key that is known, return the job of that key instead.

        Returns:
            The job, and whether it is new.

        Raises:
            InputError: the key was used for another submission.
        """
        jobs, new = self.submit_cells(submission, [name], key)
        return jobs[0], new

    def submit_cells(
        self, submission: Submission, names: Sequence[str], key: str | None
    ) -> tuple[list[Job], bool]:
        """Add a job for each cell of a matrix, all or none; otherwise as :meth:`submit`.

        Args:
            submission: as it was handed in.
            names: of the cells, in order.
            key: of the whole submission.
        """
        rows = [
            self._row(replace(submission, cell=cell), name, _cell_key(key, cell))
            for cell, name in enumerate(names)
        ]
        adding = sa.insert(JOBS).returning(JOBS.c.id)
        try:
            with self._engine.begin() as connection:
                ids = [int(connection.execute(adding, row).scalar_one()) for row in rows]
        except sa.exc.IntegrityError:
            return self._known(rows, str(key)), False
        return [self.job(job_id) for job_id in ids], True

    def _row(self, submission: Submission, name: str, key: str | None) -> dict[str, Any]:
        # What was not given is left out: digests of before an option existed stay valid.
        given = asdict(submission)
        text = json.dumps(
            {k: v for k, v in given.items() if v or k not in _LATER_OPTIONS}, sort_keys=True
        )
        return {
            "name": name[:200], "label": submission.label[:200], "state": JobState.QUEUED.value,
            "attempt": 0, "submission": text, "idempotency_key": key,
            "digest": hashlib.sha256(text.encode()).hexdigest(),
            "created_at": self._now(), "phase": "", "done": 0, "total": 0,
        }  # fmt: skip

    def _known(self, rows: Sequence[Mapping[str, Any]], key: str) -> list[Job]:
        query = sa.select(JOBS).where(
            JOBS.c.idempotency_key.in_([row["idempotency_key"] for row in rows])
        )
        with self._engine.connect() as connection:
            found = {row.idempotency_key: row for row in connection.execute(query)}
        known = [found.get(row["idempotency_key"]) for row in rows]
        jobs = [
            _job(row)
            for row, asked in zip(known, rows, strict=True)
            if row is not None and row.digest == asked["digest"]
        ]
        if len(jobs) < len(rows):
            raise InputError("was used for another submission", path="Idempotency-Key", value=key)
        return jobs

    def job(self, job_id: int) -> Job:
        """One job.

        Raises:
            InputError: there is none.
        """
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(JOBS).where(JOBS.c.id == job_id)).first()
        if row is None:
            raise InputError("no such run", path="id", value=str(job_id))
        return _job(row)

    def page(
        self, *, before: int | None = None, limit: int = 50, state: JobState | None = None
    ) -> list[Job]:
        """Jobs, newest first, with ids below ``before``."""
        query = sa.select(JOBS).order_by(JOBS.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(JOBS.c.id < before)
        if state is not None:
            query = query.where(JOBS.c.state == state.value)
        with self._engine.connect() as connection:
            return [_job(row) for row in connection.execute(query)]

    def counts(self) -> dict[str, int]:
        """Jobs by state; states without jobs are zero."""
        query = sa.select(JOBS.c.state, sa.func.count()).group_by(JOBS.c.state)
        with self._engine.connect() as connection:
            found = {row[0]: int(row[1]) for row in connection.execute(query)}
        return {state.value: found.get(state.value, 0) for state in JobState}

    def claim(self) -> Job | None:
        """Take the oldest queued job; two callers never get the same one."""
        while True:
            with self._engine.begin() as connection:
                oldest = connection.execute(
                    sa.select(sa.func.min(JOBS.c.id)).where(JOBS.c.state == JobState.QUEUED.value)
                ).scalar()
                if oldest is None:
                    return None
                taken = connection.execute(
                    sa.update(JOBS)
                    .where(JOBS.c.id == oldest, JOBS.c.state == JobState.QUEUED.value)
                    .values(
                        state=JobState.RUNNING.value,
                        attempt=JOBS.c.attempt + 1,
                        started_at=self._now(),
                        phase="starting",
                        done=0,
                        total=0,
                    )
                )
            if taken.rowcount:
                return self.job(int(oldest))

    def progress(self, job_id: int, phase: str, done: int, total: int) -> None:
        """Note what a running job does."""
        self._change(job_id, JobState.RUNNING, phase=phase[:200], done=done, total=total)

    def finish(self, job_id: int, outcome: Mapping[str, Any]) -> None:
        """Note the end of a running job; keys of ``outcome`` are columns."""
        values = dict(outcome)
        if values.get("result") is not None:
            values["result"] = json.dumps(values["result"])
        self._change(job_id, JobState.RUNNING, finished_at=self._now(), phase="", **values)

    def cancel(self, job_id: int) -> JobState:
        """Cancel a queued job at once; a running one is the caller's to stop.

        Returns:
            The state before.
        """
        state = self.job(job_id).state
        if state is JobState.QUEUED and not self._change(
            job_id, JobState.QUEUED, state=JobState.CANCELLED.value, finished_at=self._now()
        ):
            return self.job(job_id).state
        return state

    def give_back(self, job_id: int, why: str) -> None:
        """A worker was lost: queue its job again, or give up after ATTEMPTS_MAX attempts."""
        if self.job(job_id).attempt >= ATTEMPTS_MAX:
            text = f"gave up after {ATTEMPTS_MAX} attempts: {why}"
            self.finish(job_id, {"state": JobState.FAILED.value, "error": text})
            return
        self._change(
            job_id, JobState.RUNNING, state=JobState.QUEUED.value, phase="", started_at=None
        )

    def recover(self) -> int:
        """Queue again what was running when the service ended; returns how many.

        That the service ended is not the fault of a job, so the attempt does not count.
        """
        with self._engine.begin() as connection:
            done = connection.execute(
                sa.update(JOBS)
                .where(JOBS.c.state == JobState.RUNNING.value)
                .values(
                    state=JobState.QUEUED.value,
                    attempt=JOBS.c.attempt - 1,
                    phase="",
                    started_at=None,
                )
            )
        return int(done.rowcount)

    def set_baseline(self, name: str, job_id: int) -> None:
        """Name a finished run so that others can be compared with it.

        Raises:
            InputError: no such run, or it has no result.
        """
        if self.job(job_id).result is None:
            raise InputError("has no result to compare with", path="run", value=str(job_id))
        with self._engine.begin() as connection:
            connection.execute(sa.delete(BASELINES).where(BASELINES.c.name == name))
            values = {"name": name, "job_id": job_id, "set_at": self._now()}
            connection.execute(sa.insert(BASELINES).values(**values))

    def baselines(self) -> dict[str, int]:
        """Run by name of the baseline."""
        query = sa.select(BASELINES.c.name, BASELINES.c.job_id).order_by(BASELINES.c.name)
        with self._engine.connect() as connection:
            return {row.name: int(row.job_id) for row in connection.execute(query)}

    def _change(self, job_id: int, expected: JobState, **values: object) -> bool:
        """Change a job that is in the expected state; whether it was."""
        with self._engine.begin() as connection:
            done = connection.execute(
                sa.update(JOBS)
                .where(JOBS.c.id == job_id, JOBS.c.state == expected.value)
                .values(**values)
            )
        return bool(done.rowcount)


def _cell_key(key: str | None, cell: int) -> str | None:
    return f"{key}#{cell}" if key is not None and cell else key


def _with_driver(url: str) -> str:
    """PostgreSQL is reached through psycopg 3."""
    for prefix in ("postgresql://", "postgres://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + url.removeprefix(prefix)
    return url


def _safe(url: str) -> str:
    """The address without its password."""
    try:
        return sa.engine.make_url(url).render_as_string(hide_password=True)
    except sa.exc.ArgumentError:
        return "an address that is no database URL"


def _durable(connection: Any, _record: object) -> None:  # noqa: ANN401  # a driver's connection
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _job(row: sa.Row[Any]) -> Job:
    stored = json.loads(row.submission)
    return Job(
        id=row.id,
        name=row.name,
        label=row.label,
        state=JobState(row.state),
        attempt=row.attempt,
        submission=Submission(
            scenario=stored["scenario"],
            files=stored["files"],
            rungs=tuple(stored["rungs"]),
            seeds=tuple(stored["seeds"]),
            label=stored["label"],
            baseline=stored.get("baseline", ""),
            cell=stored.get("cell", 0),
        ),
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        phase=row.phase,
        done=row.done,
        total=row.total,
        folder=row.folder,
        verdict=row.verdict,
        result=None if row.result is None else json.loads(row.result),
        error=row.error,
    )
