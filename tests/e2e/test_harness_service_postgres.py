"""The queue of the service on a real PostgreSQL server."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from contracts.errors import InputError, PermanentError
from harness.service.database import Database
from harness.service.model import JobState, Submission

FOUND = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOUND, reason="no PostgreSQL server is installed"),
]


def as_owner(words: list[str]) -> list[str]:
    """The server refuses to run as root; then its own user runs it."""
    return ["runuser", "-u", "postgres", "--", *words] if os.getuid() == 0 else words


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("postgres", numbered=True)
    if os.getuid() == 0:
        owner = pwd.getpwnam("postgres")
        for path in (folder, *folder.parents[:2]):
            path.chmod(0o755)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    bin_dir, data = FOUND[-1].parent, folder / "data"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    subprocess.run(
        as_owner([str(bin_dir / "initdb"), "-D", str(data), "-U", "harness", "-A", "trust"]),
        check=True,
        capture_output=True,
        cwd=folder,
    )
    control = [str(bin_dir / "pg_ctl"), "-D", str(data), "-w"]
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    start = [*control, "-o", options, "-l", str(folder / "log"), "start"]
    subprocess.run(as_owner(start), check=True, capture_output=True, cwd=folder)
    try:
        yield f"postgresql://harness@127.0.0.1:{port}/postgres"
    finally:
        stop = [*control, "-m", "immediate", "stop"]
        subprocess.run(as_owner(stop), check=True, capture_output=True, cwd=folder)
        shutil.rmtree(data, ignore_errors=True)


@pytest.fixture
def database(server: str) -> Iterator[Database]:
    database = Database(server, lambda: "2026-01-01T00:00:00")
    yield database
    database.close()
    engine = sa.create_engine(server.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE baselines, jobs"))
    engine.dispose()


def test_no_job_is_taken_twice(database: Database) -> None:
    for number in range(40):
        database.submit(Submission(scenario=f"name: s{number}"), f"s{number}", None)
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: database.claim(), range(48)))
    ids = [job.id for job in taken if job is not None]
    assert len(ids) == len(set(ids)) == 40
    assert database.counts()["running"] == 40


def test_a_key_handed_in_at_once_from_many_sides_makes_one_job(database: Database) -> None:
    submission = Submission(scenario="name: same")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: database.submit(submission, "same", "key"), range(16)))
    assert len({job.id for job, _ in found}) == 1
    assert sum(new for _, new in found) == 1
    with pytest.raises(InputError, match="used for another submission"):
        database.submit(Submission(scenario="name: other"), "other", "key")


def test_results_baselines_and_recovery(database: Database) -> None:
    job, _ = database.submit(Submission(scenario="name: x", files={"a": "b"}), "x", None)
    assert database.claim() is not None
    assert database.recover() == 1
    assert database.claim() is not None
    result = {"reasons": [], "checks": [], "rungs": {}}
    database.finish(job.id, {"state": "done", "verdict": "pass", "result": result})
    database.set_baseline("main", job.id)
    database.set_baseline("main", job.id)
    again = database.job(job.id)
    assert (again.state, again.verdict, again.result) == (JobState.DONE, "pass", result)
    assert again.submission.files == {"a": "b"}
    assert database.baselines() == {"main": job.id}


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    with pytest.raises(PermanentError, match="no database") as caught:
        Database("postgresql://me:secret@127.0.0.1:9/x", lambda: "now")
    assert "secret" not in str(caught.value).split(": ", 1)[0]
