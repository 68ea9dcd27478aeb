"""The API over ASGI: selectors, pages, watches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness_cluster_kit import CRDS, WIDGETS, Kit, config_map, running, widget, widget_definition

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    with running(tmp_path) as found:
        assert found.call("POST", CRDS, widget_definition()).code == 201
        yield found


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        ("a=1", {"x"}),
        ("a!=1", {"y", "z"}),
        ("a in (1, 2)", {"x", "y"}),
        ("a notin (1),b", {"y"}),
        ("!a", {"z"}),
        ("a", {"x", "y"}),
        ("a>1", {"y"}),
    ],
)
def test_label_selectors(kit: Kit, labels: str, wanted: set[str]) -> None:
    for name, found in (("x", {"a": "1"}), ("y", {"a": "2", "b": ""}), ("z", {})):
        kit.call("POST", CONFIG_MAPS, config_map(name, found))
    items = kit.call("GET", CONFIG_MAPS, labelSelector=labels).json["items"]
    assert {item["metadata"]["name"] for item in items} == wanted


def test_field_selectors(kit: Kit) -> None:
    for name in ("x", "y"):
        kit.call("POST", WIDGETS, widget(name, model=name))
    items = kit.call("GET", WIDGETS, fieldSelector="spec.model=y").json["items"]
    assert [item["metadata"]["name"] for item in items] == ["y"]
    found = kit.call("GET", WIDGETS, fieldSelector="spec.nope=1")
    assert (found.code, found.json["message"]) == (400, "field label not supported: spec.nope")


def test_pages_show_one_consistent_state(kit: Kit) -> None:
    for name in "abc":
        kit.call("POST", WIDGETS, widget(name))
    first = kit.call("GET", WIDGETS, limit="2").json
    assert first["metadata"]["remainingItemCount"] == 1
    kit.call("DELETE", f"{WIDGETS}/c")
    kit.call("POST", WIDGETS, widget("d"))
    query = {"limit": "2", "continue": first["metadata"]["continue"]}
    second = kit.call("GET", WIDGETS, **query).json
    assert [item["metadata"]["name"] for item in second["items"]] == ["c"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert kit.call("GET", WIDGETS, **{"continue": "%%"}).code == 400
    kit.cluster.store.forget_history()
    assert kit.call("GET", WIDGETS, **query).json["reason"] == "Expired"


def test_lists_in_the_form_of_their_kind(kit: Kit) -> None:
    custom = kit.call("GET", WIDGETS).json
    assert (custom["kind"], custom["metadata"]["continue"]) == ("WidgetList", "")
    kit.call("POST", CONFIG_MAPS, config_map("c"))
    plain = kit.call("GET", CONFIG_MAPS).json
    assert "continue" not in plain["metadata"]
    assert "kind" not in plain["items"][0]


def watched(kit: Kit, path: str, **query: str) -> list[Any]:
    wanted = {"watch": "True", "timeoutSeconds": "1", **query}
    return kit.call("GET", path, **wanted).lines


@pytest.mark.slow
def test_watch_starts_with_what_exists_and_resumes(kit: Kit, monkeypatch: Any) -> None:
    first = kit.call("POST", WIDGETS, widget("a")).json
    kit.call("POST", WIDGETS, widget("b"))
    kit.call("DELETE", f"{WIDGETS}/b")
    version = first["metadata"]["resourceVersion"]
    events = watched(kit, WIDGETS, resourceVersion=version, allowWatchBookmarks="true")
    assert [event["type"] for event in events] == ["ADDED", "DELETED", "BOOKMARK"]
    kit.cluster.store.forget_history()
    assert [event["type"] for event in watched(kit, WIDGETS)] == ["ADDED"]
    events = watched(kit, WIDGETS, resourceVersion=version)
    assert (events[0]["type"], events[0]["object"]["code"]) == ("ERROR", 410)


def test_selectors_turn_edits_into_arrivals_and_departures(kit: Kit) -> None:
    first = kit.call("POST", CONFIG_MAPS, config_map("c")).json
    kind = "application/merge-patch+json"
    for labels in ({"a": "1"}, {"a": "1", "b": "2"}, {"a": None}):
        kit.call("PATCH", f"{CONFIG_MAPS}/c", {"metadata": {"labels": labels}}, kind=kind)
    version = first["metadata"]["resourceVersion"]
    events = watched(kit, CONFIG_MAPS, resourceVersion=version, labelSelector="a=1")
    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED"]


def test_watch_with_initial_events(kit: Kit) -> None:
    kit.call("POST", WIDGETS, widget("a"))
    query = {"sendInitialEvents": "true", "allowWatchBookmarks": "true"}
    assert kit.call("GET", WIDGETS, watch="1", **query).code == 422
    events = watched(kit, WIDGETS, resourceVersionMatch="NotOlderThan", **query)
    assert [event["type"] for event in events][:2] == ["ADDED", "BOOKMARK"]
    mark = events[1]["object"]["metadata"]["annotations"]
    assert mark == {"k8s.io/initial-events-end": "true"}


def test_a_future_version_times_out(kit: Kit) -> None:
    query = {"resourceVersion": "99999999", "resourceVersionMatch": "NotOlderThan"}
    found = kit.call("GET", WIDGETS, **query)
    assert (found.code, found.json["details"]["retryAfterSeconds"]) == (504, 1)
