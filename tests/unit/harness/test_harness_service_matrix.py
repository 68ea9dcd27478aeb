"""Scenarios of several files and cells through the service; its report, pages and client."""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.errors import InputError, PermanentError
from harness.run.profiles import Profiles
from harness.scenario import load_scenarios
from harness.service.app import build_app
from harness.service.bench_page import blocks_of
from harness.service.bundle import bundle
from harness.service.client import Client
from harness.service.database import Database
from harness.service.files import cell_names, check_submission, job_files
from harness.service.model import Submission
from harness.service.rehearse import check_inside
from profiler import ProfileResult

ROOT = Path(__file__).parents[3]
SCENARIOS = ROOT / "scenarios"
LIBRARY = sorted(SCENARIOS.glob("*.yaml"))
MATRIX = SCENARIOS / "routers.yaml"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    ticks = itertools.count()
    database = Database(f"sqlite:///{tmp_path / 'db.sqlite'}", lambda: f"2026-01-01T{next(ticks)}")
    yield database
    database.close()


def asking(app: Any, ask: Callable[[httpx.AsyncClient], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            await ask(client)

    asyncio.run(run())


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.stem)
def test_every_scenario_of_the_library_can_be_handed_in(
    path: Path, database: Database, tmp_path: Path
) -> None:
    submission = bundle(path)
    names = [each.name for each in load_scenarios(path)]
    assert cell_names(submission) == names
    jobs, _ = database.submit_cells(submission, names, None)
    file = job_files(tmp_path, jobs[0])
    for scenario in load_scenarios(file):
        check_inside(scenario, file.parent)


def test_each_cell_is_a_run_and_the_key_gives_all_again(database: Database, tmp_path: Path) -> None:
    submission = bundle(MATRIX)
    body = {"scenario": submission.scenario, "files": dict(submission.files)}

    async def ask(client: httpx.AsyncClient) -> None:
        key = {"idempotency-key": "k"}
        first = await client.post("/api/runs", json=body, headers=key)
        again = await client.post("/api/runs", json=body, headers=key)
        assert (first.status_code, again.status_code) == (201, 200)
        assert len(first.json()["cells"]) > 1
        assert again.json()["cells"] == first.json()["cells"]
        other = await client.post("/api/runs", json={"scenario": "name: x"}, headers=key)
        assert other.status_code == 422
        runs = [(await client.get(f"/api/runs/{run}")).json() for run in first.json()["cells"]]
        assert [run["submission"]["cell"] for run in runs] == list(range(len(runs)))
        assert [run["name"] for run in runs] == cell_names(submission)

    asking(build_app(database, tmp_path, workers=1, token=None), ask)


@pytest.mark.parametrize(
    ("scenario", "files", "path"),
    [
        ("include: ['../my secret.yaml']", {}, "scenario.include[0]"),
        ("include: [a.yaml]", {"a.yaml": "include: [/etc/x.yaml]"}, "files.a.yaml.include[0]"),
        ("include: [p/a.yaml]", {"p/a.yaml": "include: [../../b]"}, "files.p/a.yaml.include[0]"),
        ("a: 1", {"t.gz": "no base64"}, "files.t.gz"),
    ],
)  # fmt: skip
def test_files_that_lead_out_are_refused(scenario: str, files: dict[str, str], path: str) -> None:
    with pytest.raises(InputError) as caught:
        check_submission(Submission(scenario=scenario, files=files))
    assert caught.value.path == path


def test_a_baseline_must_be_handed_in() -> None:
    with pytest.raises(InputError, match="is not among the files"):
        check_submission(Submission(scenario="a: 1", baseline="b.json"))
    with pytest.raises(InputError, match="cannot be read"):
        bundle(MATRIX, baseline=Path("missing.json"))


def test_a_scenario_that_reads_elsewhere_is_refused(tmp_path: Path) -> None:
    scenario = load_scenarios(SCENARIOS / "quickstart.yaml")[0]
    check_inside(scenario, SCENARIOS)
    with pytest.raises(InputError, match="leads out of the folder"):
        check_inside(scenario, tmp_path)


def test_files_that_are_no_text_arrive_as_they_were(database: Database, tmp_path: Path) -> None:
    files = {"t.gz": base64.b64encode(b"\x1f\x8b\x00").decode()}
    job, _ = database.submit(Submission(scenario="name: x", files=files), "x", None)
    assert (job_files(tmp_path, job).parent / "t.gz").read_bytes() == b"\x1f\x8b\x00"


def test_a_profile_is_made_once_and_copied(tmp_path: Path) -> None:
    made = []

    def make(folder: Path) -> ProfileResult:
        made.append(folder)
        folder.mkdir(parents=True)
        (folder / "plan.json").write_text("{}")
        files = {"plan.json": folder / "plan.json"}
        nothing: Any = None
        return ProfileResult(
            plan=nothing, prefill_curves=nothing, decode_curves=nothing, picked="x", files=files
        )

    profiles = Profiles(keep=1)
    for key, name in (("a", "1"), ("a", "2"), ("b", "3"), ("a", "4")):
        found = profiles.get(key, tmp_path / name, make)
        assert found.files == {"plan.json": tmp_path / name / "plan.json"}
        assert found.files["plan.json"].read_text() == "{}"
    assert [folder.name for folder in made] == ["1", "3", "4"]


def test_the_interface_is_described(database: Database, tmp_path: Path) -> None:
    async def ask(client: httpx.AsyncClient) -> None:
        found = (await client.get("/openapi.json")).json()
        for path, calls in found["paths"].items():
            for method, call in calls.items():
                assert call["description"], (method, path)
                assert "422" in call["responses"], (method, path)
                for parameter in call.get("parameters", ()):
                    assert parameter["name"], (method, path)
        page = found["components"]["schemas"]["Page"]
        assert page["properties"]["next"]["description"]
        bad = (await client.get("/api/runs", params={"limit": "x"})).json()
        assert bad["path"] == "query.limit"

    asking(build_app(database, tmp_path, workers=1, token=None), ask)


def test_the_planner_benchmark_has_a_page(database: Database, tmp_path: Path) -> None:
    bench = tmp_path / "bench"
    bench.mkdir()
    (bench / "pareto.png").write_bytes(b"png")
    app = build_app(database, tmp_path, workers=1, token=None, planner_bench=bench)

    async def ask(client: httpx.AsyncClient) -> None:
        assert (await client.get("/planner-bench")).status_code == 422
        (bench / "summary.md").write_text("# T\n\n## Costs\n\n| a | b |\n|---|---:|\n| <x> | 2 |\n")
        page = (await client.get("/planner-bench")).text
        assert "<h2>Costs</h2>" in page
        assert '<th scope="row">&lt;x&gt;</th><td class="number">2</td>' in page
        assert (await client.get("/planner-bench/files/pareto.png")).content == b"png"
        assert (await client.get("/planner-bench/files/../db.sqlite")).status_code == 404

    asking(app, ask)
    assert [block.level for block in blocks_of("# a\ntext\n## b")] == [1, 0, 2]


def test_a_client_follows_a_run_over_a_restart() -> None:
    events = iter(
        [
            'data: {"id": 1, "state": "running"}\n\n',
            httpx.ConnectError("away"),
            ': still here\n\ndata: {"id": 1, "state": "done"}\n\n',
        ]
    )

    def answer(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/events"):
            return httpx.Response(200, json={"id": 1, "verdict": "pass"})
        found = next(events)
        if isinstance(found, Exception):
            raise found
        return httpx.Response(200, text=found)

    seen: list[str] = []
    waited: list[float] = []
    with Client("http://s", transport=httpx.MockTransport(answer), pause=waited.append) as client:
        done = client.follow(1, lambda run: seen.append(run["state"]))
    assert (done["verdict"], seen, len(waited)) == ("pass", ["running", "done"], 2)


def test_a_client_lists_page_after_page_and_says_what_is_wrong() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path != "/api/runs":
            return httpx.Response(404, json={"error": "id: no such run"})
        if request.headers.get("authorization") != "Bearer t":
            return httpx.Response(401, json={"error": "a bearer token is needed"})
        before = int(request.url.params.get("before", 4))
        limit = min(2, int(request.url.params["limit"]))
        ids = list(range(before - 1, max(0, before - 1 - limit), -1))
        runs = [{"id": run} for run in ids]
        return httpx.Response(200, json={"runs": runs, "next": ids[-1] if ids[-1] > 1 else None})

    transport = httpx.MockTransport(answer)
    with Client("http://s/", "t", transport=transport) as client:
        assert [run["id"] for run in client.runs(limit=9)] == [3, 2, 1]
        assert [run["id"] for run in client.runs(limit=1)] == [3]
        with pytest.raises(InputError, match="no such run"):
            client.run(7)
    with Client("http://s", transport=transport) as client, pytest.raises(PermanentError):
        client.runs(limit=1)
