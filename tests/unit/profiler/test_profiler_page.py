"""The page to choose from: what is in it, what its server answers, what applying does."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from contracts.errors import InputError
from dgdr.operator.api import ApiError
from profiler.page import load_selection, write_page, write_selection
from profiler.page.apply import apply_documents
from profiler.page.serve import Target, selection_app
from tests.unit.profiler.selections import selection


class Cluster:
    """Keeps what is created; names in ``taken`` exist already."""

    def __init__(self, *taken: str, down: bool = False) -> None:
        self.objects: list[dict[str, Any]] = []
        self._taken = taken
        self._down = down

    def create(self, data: dict[str, Any]) -> dict[str, Any]:
        if self._down:
            raise ApiError(0, "Unreachable", "nobody there")
        if data["metadata"]["name"] in self._taken:
            raise ApiError(409, "AlreadyExists", "taken")
        self.objects.append(data)
        return data


def page_data(text: str) -> dict[str, Any]:
    found = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return dict(json.loads(found[1]))


def test_a_selection_survives_its_file(tmp_path: Path) -> None:
    write_selection(tmp_path, selection())
    assert load_selection(tmp_path) == selection()


def test_the_page_holds_figures_reasons_and_differences(tmp_path: Path) -> None:
    text = write_page(tmp_path, selection()).read_text()
    assert "Picked: vllm-agg-two" in text
    assert "the model does not fit" in text
    data = page_data(text)
    entries = {entry["id"]: entry for entry in data["candidates"]}
    assert set(entries) == {"one", "two", "four"}
    assert entries["two"]["diff"] == ""
    changed = [line for line in entries["four"]["diff"].splitlines() if line.startswith("+ ")]
    assert changed == ["+  name: planner-config-four", "+  name: graph-four", "+    replicas: 4"]
    assert data["live"] is None


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    text = write_page(tmp_path, selection()).read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]+"', text)
    assert "http://" not in text
    assert "https://" not in text


def test_a_missed_sla_is_said_first(tmp_path: Path) -> None:
    text = write_page(tmp_path, selection(met=False)).read_text()
    assert "SLA not met. Closest: vllm-agg-two" in text
    assert 'class="banner fail"' in text


def test_a_hostile_name_stays_text(tmp_path: Path) -> None:
    name = "</script><script>alert(1)</script>"
    text = write_page(tmp_path, selection(name=name)).read_text()
    assert "<script>alert" not in text
    assert page_data(text)["name"] == name


def test_a_folder_without_a_selection(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is this a folder that the profiler wrote"):
        load_selection(tmp_path)
    (tmp_path / "selection.json").write_text('{"version": 1}')
    with pytest.raises(InputError, match=r"selection\.json"):
        load_selection(tmp_path)


def test_applying_creates_the_documents_in_order() -> None:
    cluster = Cluster()
    message = apply_documents(cluster, selection().candidate("two").dgd_yaml, "team-a")
    assert [entry["kind"] for entry in cluster.objects] == ["ConfigMap", "DynamoGraphDeployment"]
    assert {entry["metadata"]["namespace"] for entry in cluster.objects} == {"team-a"}
    assert message == (
        "Created ConfigMap team-a/planner-config-two, DynamoGraphDeployment team-a/graph-two."
    )


def test_applying_takes_a_config_map_that_is_there_but_no_deployment() -> None:
    text = selection().candidate("two").dgd_yaml
    cluster = Cluster("planner-config-two")
    assert apply_documents(cluster, text, "x") == "Created DynamoGraphDeployment x/graph-two."
    with pytest.raises(InputError, match="exists already"):
        apply_documents(Cluster("graph-two"), text, "x")


def ask(
    folder: Path, target: Target | None, *calls: tuple[str, str, dict[str, Any]]
) -> list[httpx.Response]:
    app = selection_app(folder, target, token="secret")

    async def run() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
            return [await client.request(method, path, **more) for method, path, more in calls]

    return asyncio.run(run())


def test_the_server_shows_exports_and_applies(tmp_path: Path) -> None:
    write_selection(tmp_path, selection())
    cluster = Cluster()
    target = Target(name="kind", namespace="default", creator=cluster)
    good = {"headers": {"x-selection-token": "secret"}}
    page, document, missing, refused, unknown, extra, applied = ask(
        tmp_path,
        target,
        ("GET", "/", {}),
        ("GET", "/deployments/four.yaml", {}),
        ("GET", "/deployments/nine.yaml", {}),
        ("POST", "/apply", {"json": {"id": "four"}}),
        ("POST", "/apply", {"json": {"id": "nine"}, **good}),
        ("POST", "/apply", {"json": {"id": "four", "force": True}, **good}),
        ("POST", "/apply", {"json": {"id": "four"}, **good}),
    )
    assert page_data(page.text)["live"] == {"cluster": "kind", "token": "secret"}
    assert [d["kind"] for d in yaml.safe_load_all(document.text)][-1] == "DynamoGraphDeployment"
    assert missing.status_code == 404
    assert (refused.status_code, cluster.objects[:0]) == (403, [])
    assert (unknown.status_code, extra.status_code) == (422, 422)
    assert applied.status_code == 200
    assert [entry["metadata"]["name"] for entry in cluster.objects] == [
        "planner-config-four",
        "graph-four",
    ]


def test_the_server_says_why_it_cannot_apply(tmp_path: Path) -> None:
    write_selection(tmp_path, selection())
    call = ("POST", "/apply", {"json": {"id": "two"}, "headers": {"x-selection-token": "secret"}})
    (nowhere,) = ask(tmp_path, None, call)
    assert nowhere.status_code == 409
    assert "--kubeconfig" in nowhere.json()["error"]
    (down,) = ask(tmp_path, Target(name="x", namespace="x", creator=Cluster(down=True)), call)
    assert down.status_code == 502
    assert "nobody there" in down.json()["error"]
