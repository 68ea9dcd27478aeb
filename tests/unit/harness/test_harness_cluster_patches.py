"""JSON, merge and strategic patches; server-side apply."""

from __future__ import annotations

from typing import Any

import pytest

from harness.cluster.kinds.typedata import type_schema
from harness.cluster.objects.errors import ApiError
from harness.cluster.patching import (
    apply_config,
    json_patch,
    merge_patch,
    strategic_patch,
    track_update,
)
from harness.cluster.patching.fieldset import decode, encode
from harness.cluster.patching.managed import Author


def author(name: str) -> Author:
    return Author(manager=name, subresource="", api_version="v1", now="2026-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("operation", "wanted"),
    [
        ({"op": "add", "path": "/a/-", "value": 3}, {"a": [1, 2, 3], "b": {"x/y": 1}}),
        ({"op": "add", "path": "/a/0", "value": 0}, {"a": [0, 1, 2], "b": {"x/y": 1}}),
        ({"op": "remove", "path": "/a/1"}, {"a": [1], "b": {"x/y": 1}}),
        ({"op": "replace", "path": "/b/x~1y", "value": 5}, {"a": [1, 2], "b": {"x/y": 5}}),
        ({"op": "move", "from": "/b/x~1y", "path": "/c"}, {"a": [1, 2], "b": {}, "c": 1}),
        ({"op": "copy", "from": "/a", "path": "/c"}, {"a": [1, 2], "b": {"x/y": 1}, "c": [1, 2]}),
        ({"op": "test", "path": "/a/0", "value": 1}, {"a": [1, 2], "b": {"x/y": 1}}),
    ],
)
def test_json_patch(operation: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert json_patch({"a": [1, 2], "b": {"x/y": 1}}, [operation]) == wanted


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ({"op": "test", "path": "/a", "value": 2}, 422),
        ({"op": "remove", "path": "/nope"}, 422),
        ({"op": "add", "path": "/l/9", "value": 1}, 422),
        ({"op": "bogus", "path": "/a"}, 400),
        ({"path": "/a"}, 400),
    ],
)
def test_json_patch_refuses(operation: dict[str, Any], code: int) -> None:
    with pytest.raises(ApiError) as caught:
        json_patch({"a": 1, "l": []}, [operation])
    assert caught.value.code == code


def test_merge_patch_removes_with_null_and_replaces_lists() -> None:
    old = {"a": {"b": 1, "c": 2}, "l": [1, 2]}
    assert merge_patch(old, {"a": {"b": None, "d": 3}, "l": [9]}) == {
        "a": {"c": 2, "d": 3},
        "l": [9],
    }


def test_strategic_patch_merges_lists_by_key() -> None:
    schema = type_schema("V1PodSpec")
    old = {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}
    patch = {
        "containers": [{"name": "b", "image": "2"}, {"name": "c", "image": "3"}],
        "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}, {"name": "b"}],
    }
    found = strategic_patch(old, patch, schema)["containers"]
    assert [(c["name"], c["image"]) for c in found] == [("c", "3"), ("a", "1"), ("b", "2")]
    patch = {"containers": [{"name": "a", "$patch": "delete"}]}
    assert [c["name"] for c in strategic_patch(old, patch, schema)["containers"]] == ["b"]


def test_strategic_patch_of_primitive_lists() -> None:
    schema = type_schema("V1ObjectMeta")
    patch = {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]}
    assert strategic_patch({"finalizers": ["a", "b"]}, patch, schema)["finalizers"] == ["b", "c"]


SCHEMA: dict[str, Any] = {
    "properties": {
        "spec": {
            "properties": {
                "items": {
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {"properties": {"name": {}, "value": {}}},
                },
                "plain": {},
            }
        }
    }
}


def entries(obj: dict[str, Any]) -> dict[str, Any]:
    return {e["manager"]: e["fieldsV1"] for e in obj["metadata"]["managedFields"]}


def test_apply_owns_fields_merges_and_removes_what_it_drops() -> None:
    config = {"spec": {"a": 1, "items": [{"name": "x", "value": 1}], "plain": [1, 2]}}
    first = apply_config(None, config, SCHEMA, author("m1"), force=False)
    second = apply_config(
        first, {"spec": {"items": [{"name": "y", "value": 2}]}}, SCHEMA, author("m2"), force=False
    )
    assert second["spec"]["items"] == [{"name": "x", "value": 1}, {"name": "y", "value": 2}]
    third = apply_config(second, {"spec": {"plain": [1, 2]}}, SCHEMA, author("m1"), force=False)
    assert third["spec"] == {"items": [{"name": "y", "value": 2}], "plain": [1, 2]}
    assert entries(third)["m1"] == {"f:spec": {"f:plain": {}}}
    assert entries(third)["m2"] == {
        "f:spec": {"f:items": {'k:{"name":"y"}': {".": {}, "f:name": {}, "f:value": {}}}}
    }


def test_apply_conflicts_only_on_other_values_and_force_takes_over() -> None:
    first = apply_config(None, {"spec": {"a": 1}}, SCHEMA, author("m1"), force=False)
    same = apply_config(first, {"spec": {"a": 1}}, SCHEMA, author("m2"), force=False)
    assert set(entries(same)) == {"m1", "m2"}
    with pytest.raises(ApiError) as caught:
        apply_config(first, {"spec": {"a": 2}}, SCHEMA, author("m2"), force=False)
    assert caught.value.message == 'Apply failed with 1 conflict: conflict with "m1": .spec.a'
    assert caught.value.details == {
        "causes": [
            {
                "reason": "FieldManagerConflict",
                "message": 'conflict with "m1"',
                "field": ".spec.a",
            }
        ]
    }
    forced = apply_config(first, {"spec": {"a": 2}}, SCHEMA, author("m2"), force=True)
    assert (forced["spec"]["a"], set(entries(forced))) == (2, {"m2"})


def test_an_apply_that_changes_nothing_changes_nothing() -> None:
    first = apply_config(None, {"spec": {"a": 1}}, SCHEMA, author("m1"), force=False)
    later = Author(manager="m1", subresource="", api_version="v1", now="2027-01-01T00:00:00Z")
    assert apply_config(first, {"spec": {"a": 1}}, SCHEMA, later, force=False) == first


def test_updates_take_over_changed_fields() -> None:
    first = apply_config(None, {"spec": {"a": 1, "b": 1}}, SCHEMA, author("m1"), force=False)
    changed = {**first, "spec": {"a": 2, "b": 1}}
    fields = track_update(first, changed, SCHEMA, author("m2"))
    found = {entry["manager"]: entry["fieldsV1"] for entry in fields}
    assert found == {"m1": {"f:spec": {"f:b": {}}}, "m2": {"f:spec": {"f:a": {}}}}


def test_field_sets_keep_their_form() -> None:
    fields = {"f:spec": {".": {}, "f:a": {}, 'k:{"n":1}': {".": {}, "f:n": {}}}}
    assert encode(decode(fields)) == fields
