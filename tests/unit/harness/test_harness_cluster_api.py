"""The API over ASGI: verbs, errors, tables, discovery, definitions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness_cluster_kit import (
    CRDS,
    GROUP,
    WIDGETS,
    Kit,
    config_map,
    pod,
    running,
    widget,
    widget_definition,
)

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
APPLY = "application/apply-patch+yaml"


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    with running(tmp_path) as found:
        assert found.call("POST", CRDS, widget_definition()).code == 201
        yield found


def test_create_fills_defaults_and_records_the_manager(kit: Kit) -> None:
    found = kit.call("POST", WIDGETS, widget("s1"))
    assert found.code == 201
    assert found.json["spec"] == {
        "model": "m",
        "backend": "auto",
        "replicas": 1,
        "sla": {"ttft": 200},
    }
    metadata = found.json["metadata"]
    assert metadata["generation"] == 1
    assert metadata["creationTimestamp"] == "2026-01-01T00:00:00Z"
    assert metadata["managedFields"][0]["manager"] == "client"
    assert metadata["managedFields"][0]["fieldsV1"]["f:spec"]["f:sla"] == {".": {}, "f:ttft": {}}


def test_create_again_is_refused(kit: Kit) -> None:
    kit.call("POST", WIDGETS, widget("s1"))
    found = kit.call("POST", WIDGETS, widget("s1"))
    assert (found.code, found.json) == (
        409,
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": f'widgets.{GROUP} "s1" already exists',
            "reason": "AlreadyExists",
            "details": {"name": "s1", "group": GROUP, "kind": "widgets"},
            "code": 409,
        },
    )


def test_schema_errors_name_every_field(kit: Kit) -> None:
    found = kit.call("POST", WIDGETS, widget("s9", replicas=99, backend="x"))
    assert (found.code, found.json["reason"]) == (422, "Invalid")
    assert found.json["message"] == (
        f'Widget.{GROUP} "s9" is invalid: [spec.replicas: Invalid value: 99: spec.replicas in body '
        'should be less than or equal to 10, spec.backend: Unsupported value: "x": supported '
        'values: "auto", "vllm", "sglang", <nil>: Invalid value: null: some validation rules were '
        "not checked because the object was invalid; correct the existing errors to complete "
        "validation]"
    )


def test_cel_rules_and_names(kit: Kit) -> None:
    found = kit.call("POST", WIDGETS, widget("s9", lo=3, hi=2.5))
    assert found.json["details"]["causes"] == [
        {
            "reason": "FieldValueInvalid",
            "message": "Invalid value: lo must not exceed hi",
            "field": "spec",
        }
    ]
    found = kit.call("POST", WIDGETS, widget("Bad_"))
    assert found.json["details"]["causes"][0]["field"] == "metadata.name"


def test_unknown_fields_are_dropped_warned_about_or_refused(kit: Kit) -> None:
    found = kit.call("POST", WIDGETS, widget("s1", zz=1, extra={"free": 1}))
    assert found.headers["warning"] == '299 - "unknown field \\"spec.zz\\""'
    assert "zz" not in found.json["spec"]
    assert found.json["spec"]["extra"] == {"free": 1}
    found = kit.call("POST", WIDGETS, widget("s2", zz=1), fieldValidation="Strict")
    assert found.code == 400
    assert found.json["message"] == (
        'Widget in version "v1" cannot be handled as a Widget: strict decoding error: '
        'unknown field "spec.zz"'
    )


def test_updates_need_the_latest_version_and_count_generations(kit: Kit) -> None:
    first = kit.call("POST", WIDGETS, widget("s1")).json
    second = kit.call("PUT", f"{WIDGETS}/s1", {**first, "spec": {"model": "n"}})
    assert second.json["metadata"]["generation"] == 2
    stale = kit.call("PUT", f"{WIDGETS}/s1", {**first, "spec": {"model": "o"}})
    assert (stale.code, stale.json["reason"]) == (409, "Conflict")
    missing = kit.call("PUT", f"{WIDGETS}/s1", widget("s1"))
    assert "must be specified for an update" in missing.json["message"]
    same = kit.call("PUT", f"{WIDGETS}/s1", second.json)
    assert same.json["metadata"]["resourceVersion"] == second.json["metadata"]["resourceVersion"]


def test_status_and_object_are_written_apart(kit: Kit) -> None:
    kit.call("POST", WIDGETS, {**widget("s1"), "status": {"phase": "no"}})
    patch = {"spec": {"model": "other"}, "status": {"phase": "Go", "bogus": 1}}
    kind = "application/merge-patch+json"
    found = kit.call("PATCH", f"{WIDGETS}/s1/status", patch, kind=kind).json
    assert (found["spec"]["model"], found["status"]) == ("m", {"phase": "Go"})
    assert found["metadata"]["generation"] == 1
    found = kit.call("PATCH", f"{WIDGETS}/s1", {"status": {"phase": "x"}}, kind=kind).json
    assert found["status"] == {"phase": "Go"}


def test_scale(kit: Kit) -> None:
    kit.call("POST", WIDGETS, widget("s1"))
    found = kit.call("GET", f"{WIDGETS}/s1/scale").json
    assert (found["kind"], found["spec"]) == ("Scale", {"replicas": 1})
    found["spec"]["replicas"] = 4
    assert kit.call("PUT", f"{WIDGETS}/s1/scale", found).code == 200
    assert kit.call("GET", f"{WIDGETS}/s1").json["spec"]["replicas"] == 4
    found = kit.call("GET", f"{WIDGETS}/s1/scale").json
    found["spec"]["replicas"] = 11
    assert kit.call("PUT", f"{WIDGETS}/s1/scale", found).code == 422


def test_apply_over_http(kit: Kit) -> None:
    body = b"apiVersion: demo.example.com/v1\nkind: Widget\nspec: {model: a}\n"
    path = f"{WIDGETS}/s2"
    assert kit.call("PATCH", path, body, kind=APPLY).code == 422
    first = kit.call("PATCH", path, body, kind=APPLY, fieldManager="m1")
    assert (first.code, first.json["spec"]["backend"]) == (201, "auto")
    again = kit.call("PATCH", path, body, kind=APPLY, fieldManager="m1")
    assert (again.code, again.json) == (200, first.json)
    other = body.replace(b"model: a", b"model: b")
    found = kit.call("PATCH", path, other, kind=APPLY, fieldManager="m2")
    assert found.json["message"] == 'Apply failed with 1 conflict: conflict with "m1": .spec.model'
    found = kit.call("PATCH", path, other, kind=APPLY, fieldManager="m2", force="true")
    assert found.json["spec"]["model"] == "b"


def test_patch_types(kit: Kit) -> None:
    kit.call("POST", WIDGETS, widget("s1"))
    path = f"{WIDGETS}/s1"
    strategic = "application/strategic-merge-patch+json"
    assert kit.call("PATCH", path, {}, kind=strategic).code == 415
    operations = [{"op": "replace", "path": "/spec/replicas", "value": 7}]
    found = kit.call("PATCH", path, operations, kind="application/json-patch+json")
    assert found.json["spec"]["replicas"] == 7
    kit.call("POST", CONFIG_MAPS, config_map("c", a="1"))
    found = kit.call("PATCH", f"{CONFIG_MAPS}/c", {"data": {"b": "2"}}, kind=strategic)
    assert found.json["data"] == {"a": "1", "b": "2"}


def test_delete_with_and_without_finalizers(kit: Kit) -> None:
    kit.call("POST", WIDGETS, widget("s1"))
    found = kit.call("DELETE", f"{WIDGETS}/s1").json
    assert (found["status"], found["details"]["kind"]) == ("Success", "widgets")
    held = widget("s2")
    held["metadata"]["finalizers"] = ["x/y"]
    kit.call("POST", WIDGETS, held)
    found = kit.call("DELETE", f"{WIDGETS}/s2").json
    assert found["metadata"]["deletionTimestamp"]
    kind = "application/merge-patch+json"
    more = {"metadata": {"finalizers": ["x/y", "z/z"]}}
    assert kit.call("PATCH", f"{WIDGETS}/s2", more, kind=kind).code == 422
    none: dict[str, Any] = {"metadata": {"finalizers": []}}
    assert kit.call("PATCH", f"{WIDGETS}/s2", none, kind=kind).code == 200
    assert kit.call("GET", f"{WIDGETS}/s2").code == 404


def test_preconditions_of_a_delete(kit: Kit) -> None:
    kit.call("POST", WIDGETS, widget("s1"))
    found = kit.call("DELETE", f"{WIDGETS}/s1", {"preconditions": {"uid": "other"}})
    assert (found.code, found.json["reason"]) == (409, "Conflict")


def test_dry_run_stores_nothing(kit: Kit) -> None:
    assert kit.call("POST", WIDGETS, widget("s1"), dryRun="All").code == 201
    assert kit.call("GET", f"{WIDGETS}/s1").code == 404


def test_generated_names_differ(kit: Kit) -> None:
    body = config_map("")
    body["metadata"] = {"generateName": "g-"}
    made = {kit.call("POST", CONFIG_MAPS, body).json["metadata"]["name"] for _ in range(5)}
    assert len(made) == 5
    assert all(len(name) == 7 for name in made)


def test_tables(kit: Kit) -> None:
    kit.call("POST", WIDGETS, widget("s1"))
    kit.clock.advance(200)
    found = kit.call("GET", f"{WIDGETS}/s1", accept=TABLE).json
    names = [column["name"] for column in found["columnDefinitions"]]
    assert names == ["Name", "Model", "Phase", "Replicas", "Age"]
    assert found["rows"][0]["cells"] == ["s1", "m", None, 1, "3m20s"]
    assert found["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    nodes = kit.call("GET", "/api/v1/nodes", accept=TABLE).json
    assert nodes["rows"][0]["cells"][:2] == ["node-0", "Ready"]


def test_discovery(kit: Kit) -> None:
    assert kit.call("GET", "/api").json["versions"] == ["v1"]
    groups = {group["name"] for group in kit.call("GET", "/apis").json["groups"]}
    assert {"apps", "batch", GROUP} <= groups
    found = kit.call("GET", f"/apis/{GROUP}/v1").json["resources"]
    assert [entry["name"] for entry in found] == ["widgets", "widgets/status", "widgets/scale"]
    assert found[0]["storageVersionHash"] == "bQ1YHmG75GQ="
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    found = kit.call("GET", "/apis", accept=accept)
    assert found.headers["content-type"] == accept.replace(";v=v2;as", ";v=v2;as")
    assert GROUP in {item["metadata"]["name"] for item in found.json["items"]}


def test_openapi(kit: Kit) -> None:
    paths = kit.call("GET", "/openapi/v3").json["paths"]
    found = kit.call("GET", paths[f"apis/{GROUP}/v1"]["serverRelativeURL"]).json
    patch = found["paths"][f"/apis/{GROUP}/v1/namespaces/{{namespace}}/widgets/{{name}}"]["patch"]
    names = {parameter["name"] for parameter in patch["parameters"]}
    assert {"fieldValidation", "dryRun"} <= names
    assert patch["x-kubernetes-group-version-kind"]["kind"] == "Widget"
    core = kit.call("GET", paths["api/v1"]["serverRelativeURL"]).json
    assert "containers" in core["components"]["schemas"]["io.k8s.api.v1.PodSpec"]["properties"]


@pytest.mark.parametrize("path", ["/nope", "/apis/no.such/v1", "/openapi/v2", f"{WIDGETS}s"])
def test_unknown_paths(kit: Kit, path: str) -> None:
    found = kit.call("GET", path)
    assert (found.code, found.body) == (404, b"404 page not found\n")


def test_wrong_methods_and_bodies(kit: Kit) -> None:
    assert kit.call("POST", f"{WIDGETS}/s1", {}).code == 405
    assert kit.call("POST", WIDGETS, b"{").code == 400
    assert kit.call("POST", WIDGETS, {"kind": "Other"}).code == 422
    assert kit.call("POST", CONFIG_MAPS, {"kind": "Other"}).code == 400
    assert kit.call("GET", WIDGETS, accept="image/png").code == 406
    wrong = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "other"}}
    assert kit.call("POST", CONFIG_MAPS, wrong).code == 400
    found = kit.call("POST", CONFIG_MAPS.replace("default", "nowhere"), config_map("a"))
    assert found.json["message"] == 'namespaces "nowhere" not found'


def test_definitions_come_change_and_go(kit: Kit) -> None:
    kit.call("POST", WIDGETS, widget("s1"))
    name = f"{CRDS}/widgets.{GROUP}"
    status = kit.call("GET", name).json["status"]
    assert [c["type"] for c in status["conditions"]] == ["NamesAccepted", "Established"]
    assert status["storedVersions"] == ["v1"]
    kit.call("DELETE", name)
    kit.settle()
    assert kit.call("GET", WIDGETS).code == 404
    assert kit.call("GET", name).code == 404
    broken = widget_definition()
    broken["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] = [
        {"rule": "self +"}
    ]
    assert "compilation failed" in kit.call("POST", CRDS, broken).json["message"]


def test_two_versions_differ_in_their_name_only(kit: Kit) -> None:
    definition = kit.call("GET", f"{CRDS}/widgets.{GROUP}").json
    old = {**definition["spec"]["versions"][0], "name": "v1alpha1", "storage": False}
    old["deprecated"] = True
    definition["spec"]["versions"].append(old)
    assert kit.call("PUT", f"{CRDS}/widgets.{GROUP}", definition).code == 200
    kit.call("POST", WIDGETS, widget("s1"))
    found = kit.call("GET", f"{WIDGETS}/s1".replace("/v1/", "/v1alpha1/"))
    assert found.json["apiVersion"] == f"{GROUP}/v1alpha1"
    assert "deprecated" in found.headers["warning"]


def test_events_of_both_groups_are_one(kit: Kit) -> None:
    event = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        "reason": "R",
        "message": "text",
    }
    assert kit.call("POST", "/api/v1/namespaces/default/events", event).code == 201
    found = kit.call("GET", "/apis/events.k8s.io/v1/namespaces/default/events/e").json
    assert (found["note"], found["regarding"]["name"]) == ("text", "p")


def test_builtin_checks(kit: Kit) -> None:
    body = pod("p", gpus=1)
    body["spec"]["containers"][0]["resources"]["requests"] = {"nvidia.com/gpu": 2}
    found = kit.call("POST", "/api/v1/namespaces/default/pods", body)
    assert "must be equal to nvidia.com/gpu limit" in found.json["message"]
    found = kit.call("POST", "/api/v1/namespaces/default/pods", pod("p", containers=[]))
    assert "spec.containers: Required value" in found.json["message"]
    kit.call("POST", CONFIG_MAPS, {**config_map("c", a="1"), "immutable": True})
    kind = "application/merge-patch+json"
    found = kit.call("PATCH", f"{CONFIG_MAPS}/c", {"data": {"a": "2"}}, kind=kind)
    assert "immutable" in found.json["message"]
    body["spec"]["containers"][0]["image"] = 5
    assert kit.call("POST", "/api/v1/namespaces/default/pods", body).code == 400


def test_a_bug_or_a_full_disk_is_a_status(kit: Kit, monkeypatch: Any, capsys: Any) -> None:
    def broken(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(kit.cluster.store, "put", broken)
    found = kit.call("POST", CONFIG_MAPS, config_map("c"))
    assert (found.code, found.json["reason"]) == (500, "InternalError")
    assert "no space left" in capsys.readouterr().err


def test_labels_and_annotations_have_limits(kit: Kit) -> None:
    found = kit.call("POST", CONFIG_MAPS, config_map("c", {"a": "not good"}))
    assert "a valid label must be" in found.json["message"]
    large = config_map("c")
    large["metadata"]["annotations"] = {"a": "x" * 262_144}
    found = kit.call("POST", CONFIG_MAPS, large)
    assert "metadata.annotations: Too long" in found.json["message"]


def test_a_changed_schema_shows_in_stored_objects(kit: Kit) -> None:
    kit.call("POST", WIDGETS, widget("s1", lo=1))
    path = f"{CRDS}/widgets.{GROUP}"
    definition = kit.call("GET", path).json
    fields = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    fields["properties"]["added"] = {"type": "integer", "default": 5}
    del fields["properties"]["lo"]
    del fields["x-kubernetes-validations"]
    assert kit.call("PUT", path, definition).code == 200
    found = kit.call("GET", f"{WIDGETS}/s1").json
    assert found["spec"]["added"] == 5
    assert "lo" not in found["spec"]
    second = kit.call("GET", f"{WIDGETS}/s1").json
    assert found["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]


def test_a_definition_that_goes_lets_its_objects_finish(kit: Kit) -> None:
    held = widget("s1")
    held["metadata"]["finalizers"] = ["x/y"]
    made = kit.call("POST", WIDGETS, held).json
    kit.call("DELETE", f"{CRDS}/widgets.{GROUP}")
    kit.settle()
    found = kit.call("POST", WIDGETS, widget("s2"))
    assert (found.code, "create not allowed" in found.json["message"]) == (403, True)
    current = kit.call("GET", f"{WIDGETS}/s1").json
    assert current["metadata"]["uid"] == made["metadata"]["uid"]
    current["metadata"]["finalizers"] = []
    assert kit.call("PUT", f"{WIDGETS}/s1", current).code == 200
    kit.settle()
    assert kit.call("GET", f"{CRDS}/widgets.{GROUP}").code == 404
