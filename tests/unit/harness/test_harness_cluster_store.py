"""Store and journal: versions, history, what survives a crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contracts.errors import PermanentError
from harness.cluster.objects.errors import ApiError
from harness.cluster.store import Journal, Store


def thing(name: str, value: int = 0) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "n"}, "value": value}


def names(store: Store) -> list[str]:
    return [obj["metadata"]["name"] for obj in store.list("things")]


def test_versions_rise_and_lists_are_sorted() -> None:
    store = Store()
    store.put("things", thing("b"))
    first = store.put("things", thing("a"))
    second = store.put("things", {**first, "value": 1})
    assert [first["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"]] == [
        "2",
        "3",
    ]
    assert names(store) == ["a", "b"]


def test_a_past_list_is_rebuilt_from_the_history() -> None:
    store = Store()
    store.put("things", thing("a"))
    store.put("things", thing("b", 1))
    store.put("things", thing("b", 2))
    store.remove("things", "n", "a")
    past = store.list_at("things", 2, None)
    assert [(obj["metadata"]["name"], obj["value"]) for obj in past] == [("a", 0), ("b", 1)]


def test_a_version_older_than_the_history_is_gone() -> None:
    store = Store(history=2)
    for value in range(5):
        store.put("things", thing("a", value))
    with pytest.raises(ApiError) as caught:
        store.subscribe("things", 1)
    assert (caught.value.code, caught.value.reason) == (410, "Expired")
    assert [change.version for change in store.subscribe("things", 3).taken()] == [4, 5]


def test_a_reader_that_falls_behind_loses_track() -> None:
    store = Store(history=2)
    subscription = store.subscribe("things", None)
    for value in range(5):
        store.put("things", thing("a", value))
    assert subscription.lost
    assert list(subscription.taken()) == []


def test_everything_written_survives_a_crash(tmp_path: Path) -> None:
    store = Store(Journal(tmp_path))
    store.put("things", thing("a", 1))
    store.put("things", thing("b"))
    store.remove("things", "n", "b")
    again = Store(Journal(tmp_path))  # the first one was never closed
    assert (names(again), again.version) == (["a"], 3)
    changes = list(again.subscribe("things", 1).taken())
    assert [(change.kind, change.version) for change in changes] == [("ADDED", 2), ("DELETED", 3)]
    assert changes[1].obj["value"] == 0


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_torn_last_record_is_dropped(tmp_path: Path, cut: int) -> None:
    store = Store(Journal(tmp_path))
    store.put("things", thing("a"))
    store.put("things", thing("b"))
    store.close()
    path = tmp_path / "journal.log"
    path.write_bytes(path.read_bytes()[:-cut])
    again = Store(Journal(tmp_path))
    assert names(again) == ["a"]
    again.put("things", thing("c"))
    again.close()
    assert names(Store(Journal(tmp_path))) == ["a", "c"]


def test_damage_in_the_middle_is_an_error(tmp_path: Path) -> None:
    store = Store(Journal(tmp_path))
    for name in "abc":
        store.put("things", thing(name))
    store.close()
    path = tmp_path / "journal.log"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"value":0', b'"value":7')
    path.write_bytes(b"".join(lines))
    with pytest.raises(PermanentError, match="damaged at byte"):
        Store(Journal(tmp_path))


def test_a_snapshot_replaces_the_journal(tmp_path: Path) -> None:
    store = Store(Journal(tmp_path, compact_bytes=500))
    for value in range(20):
        store.put("things", thing("a", value))
    assert (tmp_path / "snapshot.json").exists()
    assert (tmp_path / "journal.log").stat().st_size < 700
    store.close()
    again = Store(Journal(tmp_path))
    found = again.get("things", "n", "a")
    assert found is not None
    assert (found["value"], again.version) == (19, 20)
    assert again.oldest > 0
