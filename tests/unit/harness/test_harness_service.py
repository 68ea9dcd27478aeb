"""The service: its queue, what it refuses, who may come in, what its pages show."""

from __future__ import annotations

import asyncio
import fcntl
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.errors import InputError, PermanentError
from harness.service.app import build_app
from harness.service.auth import COOKIE
from harness.service.bundle import bundle
from harness.service.database import ATTEMPTS_MAX, Database
from harness.service.files import artefact, check_submission
from harness.service.model import JobState, Submission
from harness.service.serve import ServiceSettings, serve

ROOT = Path(__file__).parents[3]
FIGURES = {
    "attainment_ratio": 0.9, "completed_ratio": 1.0, "goodput_rps": 2.0, "offered": 9,
    "completed": 9, "output_tokens_per_s": 300.0, "itl_ms": None, "e2e_ms": None,
    "ttft_ms": {"p50": 100.0, "p95": 150.0, "p99": 200.0}, "digests": {"1": "abc"},
}  # fmt: skip


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    ticks = itertools.count()
    database = Database(f"sqlite:///{tmp_path / 'db.sqlite'}", lambda: f"2026-01-01T{next(ticks)}")
    yield database
    database.close()


def add(database: Database, name: str = "x", key: str | None = None) -> int:
    job, _ = database.submit(Submission(scenario=f"name: {name}"), name, key)
    return job.id


def done(database: Database, *, ttft_ms: float = 100.0, digest: str = "abc") -> int:
    """A run that was worked on, with made-up figures."""
    job_id = add(database)
    while (job := database.claim()) is not None and job.id != job_id:
        pass
    rung = {**FIGURES, "ttft_ms": {"p50": ttft_ms, "p95": 150.0, "p99": 200.0}}
    result = {"reasons": [], "checks": [], "rungs": {"sim": {**rung, "digests": {"1": digest}}}}
    database.finish(
        job_id, {"state": "done", "verdict": "pass", "result": result, "folder": "run-1"}
    )
    return job_id


def test_jobs_are_taken_in_order_and_once(database: Database) -> None:
    first, second = add(database), add(database)
    taken = [database.claim(), database.claim(), database.claim()]
    assert [job and job.id for job in taken] == [first, second, None]
    job = database.job(first)
    assert (job.state, job.attempt, job.name) == (JobState.RUNNING, 1, "x")


def test_a_key_gives_the_same_job_again(database: Database) -> None:
    job, new = database.submit(Submission(scenario="name: a"), "a", "k")
    again, new_again = database.submit(Submission(scenario="name: a"), "a", "k")
    assert (job.id, new, new_again) == (again.id, True, False)
    with pytest.raises(InputError, match="used for another submission"):
        database.submit(Submission(scenario="name: b"), "b", "k")
    assert len(database.page()) == 1


def test_pages_do_not_shift_when_runs_arrive(database: Database) -> None:
    ids = [add(database) for _ in range(5)]
    page = [job.id for job in database.page(limit=2)]
    add(database)
    rest = [job.id for job in database.page(limit=10, before=page[-1])]
    assert page + rest == ids[::-1]


def test_a_lost_worker_is_tried_again_but_not_for_ever(database: Database) -> None:
    job_id = add(database)
    for attempt in range(1, ATTEMPTS_MAX + 1):
        job = database.claim()
        assert job is not None
        assert job.attempt == attempt
        database.give_back(job_id, "killed")
    job = database.job(job_id)
    assert (job.state, database.claim()) == (JobState.FAILED, None)
    assert job.error == f"gave up after {ATTEMPTS_MAX} attempts: killed"


def test_the_end_of_the_service_costs_no_attempt(database: Database) -> None:
    job_id = add(database)
    for _ in range(2 * ATTEMPTS_MAX):
        assert database.claim() is not None
        assert database.recover() == 1
    job = database.job(job_id)
    assert (job.state, job.attempt) == (JobState.QUEUED, 0)


def test_only_waiting_jobs_are_cancelled_in_the_queue(database: Database) -> None:
    first, second = add(database), add(database)
    database.claim()
    assert database.cancel(first) is JobState.RUNNING
    assert database.cancel(second) is JobState.QUEUED
    assert [database.job(i).state for i in (first, second)] == [
        JobState.RUNNING,
        JobState.CANCELLED,
    ]
    database.progress(second, "late news", 1, 2)
    assert database.job(second).phase == ""


def test_what_was_acknowledged_is_there_after_reopening(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'db.sqlite'}"
    database = Database(url, lambda: "now")
    job_id = add(database)
    again = Database(url, lambda: "later")
    assert again.job(job_id).created_at == "now"
    database.close()
    again.close()


def test_no_database(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="no database at sqlite:///"):
        Database(f"sqlite:///{tmp_path}/missing/db.sqlite", lambda: "now")
    with pytest.raises(PermanentError, match="an address that is no database URL"):
        Database("nonsense", lambda: "now")


@pytest.mark.parametrize(
    ("scenario", "files", "path"),
    [
        ("a: /etc/passwd", {}, "scenario.a"),
        ("a: {b: [../up.yaml]}", {}, "scenario.a.b[0]"),
        ("- 1", {}, "scenario"),
        ("a: [", {}, "scenario"),
        ("a: 1", {"../x": ""}, "files.../x"),
        ("a: 1", {"/x": ""}, "files./x"),
        ("a: 1", {"scenario.yaml": ""}, "files.scenario.yaml"),
        ("a: 1", {str(number): "" for number in range(30)}, "files"),
    ],
)
def test_submissions_that_are_refused(scenario: str, files: dict[str, str], path: str) -> None:
    with pytest.raises(InputError) as caught:
        check_submission(Submission(scenario=scenario, files=files))
    assert caught.value.path == path


def test_a_bundle_holds_what_the_scenario_names() -> None:
    submission = bundle(ROOT / "scenarios/quickstart.yaml", rungs=("sim",))
    assert list(submission.files) == ["dgdr/llama-70b.yaml"]
    assert check_submission(submission) == "quickstart"


def test_a_bundle_refuses_files_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "dgdr.yaml").write_text("a: 1")
    (tmp_path / "in").mkdir()
    scenario = tmp_path / "in" / "s.yaml"
    scenario.write_text("deploy: {dgdr: ../dgdr.yaml}")
    with pytest.raises(InputError, match="outside of the scenario's folder"):
        bundle(scenario)


def test_artefacts_stay_in_their_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "report.html").write_text("r")
    (tmp_path / "secret").write_text("s")
    assert artefact(tmp_path, "run", "report.html").read_text() == "r"
    for name in ("../secret", "missing", "/etc/passwd", "."):
        with pytest.raises(InputError, match="no such file"):
            artefact(tmp_path, "run", name)


def test_an_open_address_needs_a_token(tmp_path: Path) -> None:
    settings = ServiceSettings(
        host="0.0.0.0", port=0, data=tmp_path, database_url=None, workers=1, token=None
    )
    with pytest.raises(InputError, match="HARNESS_TOKEN"):
        serve(settings)


def test_a_folder_has_one_service(tmp_path: Path) -> None:
    settings = ServiceSettings(
        host="127.0.0.1", port=0, data=tmp_path, database_url=None, workers=1, token=None
    )
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(PermanentError, match="another service works in this folder"):
            serve(settings)
    assert not (tmp_path / "service.sqlite").exists()


@asynccontextmanager
async def client_of(
    database: Database, data: Path, token: str | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application without its workers: the lifespan is not entered."""
    app = build_app(database, data, workers=1, token=token)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        yield client


def asking(
    database: Database,
    data: Path,
    ask: Callable[[httpx.AsyncClient], Coroutine[Any, Any, None]],
    token: str | None = None,
) -> None:
    async def run() -> None:
        async with client_of(database, data, token) as client:
            await ask(client)

    asyncio.run(run())


def test_handing_in_listing_and_cancelling(database: Database, tmp_path: Path) -> None:
    async def ask(client: httpx.AsyncClient) -> None:
        body = {"scenario": {"name": "mine"}, "label": "nightly"}
        key = {"idempotency-key": "k1"}
        first = await client.post("/api/runs", json=body, headers=key)
        again = await client.post("/api/runs", json=body, headers=key)
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.json()["id"] == again.json()["id"]
        assert first.json()["name"] == "mine"
        await client.post("/api/runs", json={"scenario": "name: other"})
        page = (await client.get("/api/runs", params={"limit": 1})).json()
        assert [run["name"] for run in page["runs"]] == ["other"]
        rest = (await client.get("/api/runs", params={"before": page["next"]})).json()
        assert [run["label"] for run in rest["runs"]] == ["nightly"]
        assert rest["next"] is None
        cancelled = await client.post(f"/api/runs/{first.json()['id']}/cancel")
        assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
        assert (await client.get("/api/health")).json()["runs"]["cancelled"] == 1

    asking(database, tmp_path, ask)


def test_bad_calls_say_what_is_wrong(database: Database, tmp_path: Path) -> None:
    async def ask(client: httpx.AsyncClient) -> None:
        for method, path, body, status in (
            ("GET", "/api/runs/7", None, 404),
            ("GET", "/api/runs/x", None, 422),
            ("POST", "/api/runs", {"scenario": "a: /etc/passwd"}, 422),
            ("POST", "/api/runs", {"scenarios": "a: 1"}, 422),
            ("GET", "/api/runs?limit=1000", None, 422),
            ("PUT", "/api/baselines/main", {"run": 7}, 404),
            ("GET", "/runs/7", None, 404),
        ):
            answer = await client.request(method, path, json=body)
            assert answer.status_code == status, (path, answer.text)
        job_id = add(database)
        unfinished = await client.get(f"/api/compare?a={job_id}&b={job_id}")
        assert unfinished.status_code == 422
        assert "no result to compare" in unfinished.json()["error"]
        assert (await client.get(f"/api/runs/{job_id}/artefacts")).status_code == 422

    asking(database, tmp_path, ask)


def test_following_a_run_to_its_end(database: Database, tmp_path: Path) -> None:
    async def ask(client: httpx.AsyncClient) -> None:
        job_id = done(database)
        text = (await client.get(f"/api/runs/{job_id}/events")).text
        assert text.startswith("event: run\ndata: {")
        assert '"state": "done"' in text

    asking(database, tmp_path, ask)


def test_comparing_and_baselines(database: Database, tmp_path: Path) -> None:
    slow, fast = done(database, ttft_ms=100.0), done(database, ttft_ms=80.0, digest="other")

    async def ask(client: httpx.AsyncClient) -> None:
        found = (await client.get("/api/compare", params={"a": slow, "b": fast})).json()
        rows = {(row["rung"], row["figure"]): row for row in found["rows"]}
        assert rows["sim", "ttft_ms_p50"]["change_ratio"] == pytest.approx(-0.2)
        assert rows["sim", "itl_ms_p50"]["change_ratio"] is None
        assert found["same_digests"] == {"sim": False}
        answer = await client.put("/api/baselines/main", json={"run": slow})
        assert answer.status_code == 204
        assert (await client.get("/api/baselines")).json() == {"main": slow}
        assert "-20.0%" in (await client.get(f"/compare?a={slow}&b={fast}")).text
        assert "Compare with baseline main" in (await client.get(f"/runs/{fast}")).text

    asking(database, tmp_path, ask)


def test_the_token_is_asked_for(database: Database, tmp_path: Path) -> None:
    async def ask(client: httpx.AsyncClient) -> None:
        refused = await client.get("/api/runs")
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert (await client.get("/api/health")).status_code == 200
        page = await client.get("/")
        assert (page.status_code, page.headers["location"]) == (303, "/login")
        bearer = {"authorization": "Bearer secret"}
        assert (await client.get("/api/runs", headers=bearer)).status_code == 200
        wrong = await client.post("/login", data={"token": "wrong"})
        assert wrong.status_code == 401
        entered = await client.post("/login", data={"token": "secret"})
        assert entered.cookies[COOKIE] == "secret"
        assert (await client.get("/")).status_code == 200
        foreign = {"origin": "http://elsewhere"}
        stolen = await client.post("/api/runs", json={"scenario": "a: 1"}, headers=foreign)
        assert stolen.status_code == 403

    asking(database, tmp_path, ask, token="secret")


def test_text_from_outside_stays_text(database: Database, tmp_path: Path) -> None:
    database.submit(Submission(scenario="name: x", label="<script>"), "<b>bold</b>", None)

    async def ask(client: httpx.AsyncClient) -> None:
        for path in ("/", "/runs/1"):
            page = (await client.get(path)).text
            assert "<b>bold" not in page
            assert "&lt;b&gt;bold" in page

    asking(database, tmp_path, ask)
