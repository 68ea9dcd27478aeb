"""Tokens, roles, faults, protobuf bodies, logs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness_cluster_kit import Kit, pod, running

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
PROTOBUF = "application/vnd.kubernetes.protobuf"


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    with running(tmp_path) as found:
        yield found


def token(kit: Kit, seconds: int = 600) -> str:
    path = "/api/v1/namespaces/default/serviceaccounts/default/token"
    found = kit.call("POST", path, {"spec": {"expirationSeconds": seconds}})
    assert found.code == 201
    return str(found.json["status"]["token"])


def test_a_token_is_needed(kit: Kit) -> None:
    assert kit.call("GET", MAPS, token="wrong").code == 401
    assert kit.call("GET", MAPS, token="").code == 401
    assert kit.call("GET", "/version", token="").code == 200


def test_service_accounts_may_do_what_roles_say(kit: Kit) -> None:
    theirs = token(kit)
    found = kit.call("GET", MAPS, token=theirs)
    assert (found.code, found.json["message"]) == (
        403,
        'configmaps is forbidden: User "system:serviceaccount:default:default" cannot list '
        'resource "configmaps" in API group "" in the namespace "default"',
    )
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]
    kit.call(
        "POST", f"{RBAC}/namespaces/default/roles", {"metadata": {"name": "r"}, "rules": rules}
    )
    binding = {
        "metadata": {"name": "b"},
        "roleRef": {"kind": "Role", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
    }
    kit.call("POST", f"{RBAC}/namespaces/default/rolebindings", binding)
    assert kit.call("GET", MAPS, token=theirs).code == 200
    assert kit.call("POST", MAPS, {"metadata": {"name": "c"}}, token=theirs).code == 403
    assert kit.call("GET", MAPS.replace("default", "kube-system"), token=theirs).code == 403
    review = {"spec": {"resourceAttributes": {"verb": "list", "resource": "configmaps"}}}
    review["spec"]["resourceAttributes"]["namespace"] = "default"
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    assert kit.call("POST", path, review, token=theirs).json["status"]["allowed"] is True
    assert kit.call("POST", "/harness/faults", {"kind": "conflict"}, token=theirs).code == 403


def test_tokens_expire_and_die_with_their_account(kit: Kit) -> None:
    short = token(kit, 60)
    kit.clock.advance(61)
    assert kit.call("GET", MAPS, token=short).code == 401
    other = token(kit)
    kit.call("DELETE", "/api/v1/namespaces/default/serviceaccounts/default")
    kit.settle()  # a new account of that name is another one
    assert kit.call("GET", MAPS, token=other).code == 401


def test_impersonation_shows_the_rights_of_others(kit: Kit) -> None:
    sent = {"impersonate-user": "system:serviceaccount:default:default"}
    assert kit.call("GET", MAPS, headers=sent).code == 403
    assert kit.call("GET", MAPS, headers=sent, token=token(kit)).code == 403


@pytest.mark.parametrize(
    ("rule", "code", "reason"),
    [
        ({"kind": "conflict"}, 409, "Conflict"),
        ({"kind": "too-many-requests"}, 429, "TooManyRequests"),
        ({"kind": "server-error", "verbs": ["create"]}, 500, "InternalError"),
    ],
)
def test_faults_strike_and_run_out(kit: Kit, rule: dict[str, Any], code: int, reason: str) -> None:
    body = {**rule, "resources": ["configmaps"], "count": 1}
    assert kit.call("POST", "/harness/faults", body).code == 201
    found = kit.call("POST", MAPS, {"metadata": {"name": "c"}})
    assert (found.code, found.json["reason"]) == (code, reason)
    assert kit.call("POST", MAPS, {"metadata": {"name": "c"}}).code == 201
    assert kit.call("GET", "/harness/faults").json == {"items": []}


def test_faults_end_with_time_and_by_hand(kit: Kit) -> None:
    kit.call("POST", "/harness/faults", {"kind": "server-error", "seconds": 5})
    assert kit.call("GET", MAPS).code == 500
    kit.clock.advance(6)
    assert kit.call("GET", MAPS).code == 200
    found = kit.call("POST", "/harness/faults", {"kind": "server-error"}).json
    assert kit.call("DELETE", f"/harness/faults/{found['id']}").code == 200
    assert kit.call("DELETE", "/harness/faults/f99").code == 404
    assert kit.call("GET", MAPS).code == 200


def test_chance_is_repeatable(tmp_path: Path) -> None:
    runs = []
    for number in (1, 2):
        with running(tmp_path / str(number)) as kit:
            kit.call("POST", "/harness/faults", {"kind": "server-error", "probability": 0.5})
            runs.append([kit.call("GET", MAPS).code for _ in range(20)])
    assert runs[0] == runs[1]
    assert set(runs[0]) == {200, 500}


def test_wrong_faults_are_refused(kit: Kit) -> None:
    for body in ({"kind": "nope"}, {"kind": "latency"}, {"kind": "conflict", "bogus": 1}):
        found = kit.call("POST", "/harness/faults", body)
        assert (found.code, found.json["reason"]) == (400, "BadRequest")


def test_expired_watches_must_list_again(kit: Kit) -> None:
    version = kit.call("POST", MAPS, {"metadata": {"name": "c"}}).json["metadata"]
    kit.call("POST", MAPS, {"metadata": {"name": "d"}})
    kit.call("POST", "/harness/faults", {"kind": "expire-watches"})
    query = {"watch": "1", "resourceVersion": version["resourceVersion"]}
    assert kit.call("GET", MAPS, **query).lines[0]["object"]["code"] == 410


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return bytes([number << 3, value])
    return bytes([number << 3 | 2, len(value)]) + value


def envelope(version: str, kind: str, raw: bytes) -> bytes:
    types = field(1, version.encode()) + field(2, kind.encode())
    return b"k8s\x00" + field(1, types) + field(2, raw)


def test_protobuf_bodies(kit: Kit) -> None:
    entry = field(1, b"key") + field(2, b"value")
    raw = field(1, field(1, b"made")) + field(2, entry)
    found = kit.call("POST", MAPS, envelope("v1", "ConfigMap", raw), kind=PROTOBUF)
    assert found.code == 201
    assert (found.json["metadata"]["name"], found.json["data"]) == ("made", {"key": "value"})
    container = field(1, b"c") + field(2, b"i") + field(3, b"sh") + field(3, b"-c")
    template = field(2, field(2, container) + field(3, b"Never"))
    raw = field(1, field(1, b"j")) + field(2, field(7, 0) + field(6, template))
    path = "/apis/batch/v1/namespaces/default/jobs"
    found = kit.call("POST", path, envelope("batch/v1", "Job", raw), kind=PROTOBUF)
    spec = found.json["spec"]
    assert (spec["backoffLimit"], spec["parallelism"]) == (0, 1)
    assert spec["template"]["spec"]["containers"][0]["command"] == ["sh", "-c"]


def test_protobuf_fields_without_a_table_are_reported(kit: Kit) -> None:
    raw = field(1, field(1, b"made")) + field(9, b"new")
    found = kit.call("POST", MAPS, envelope("v1", "ConfigMap", raw), kind=PROTOBUF)
    assert found.code == 201
    assert "field 9 of ConfigMap is not understood" in found.headers["warning"]


def test_protobuf_of_both_event_groups_and_leases(kit: Kit) -> None:
    who = field(1, b"Pod") + field(2, b"default") + field(3, b"p")
    time = field(2, field(1, 60) + field(2, 10))
    raw = field(1, field(1, b"e")) + time + field(8, who) + field(10, b"text")
    path = "/apis/events.k8s.io/v1/namespaces/default/events"
    found = kit.call("POST", path, envelope("events.k8s.io/v1", "Event", raw), kind=PROTOBUF)
    assert (found.code, found.json["note"]) == (201, "text")
    spec = field(1, b"me") + field(4, field(1, 60) + field(2, 100))
    raw = field(1, field(1, b"l")) + field(2, spec)
    path = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    found = kit.call("POST", path, envelope("coordination.k8s.io/v1", "Lease", raw), kind=PROTOBUF)
    assert found.json["spec"]["renewTime"] == "1970-01-01T00:01:00.000000Z"


def test_damaged_and_unknown_protobuf(kit: Kit) -> None:
    assert kit.call("POST", MAPS, b"k8s\x00\x0a\xff", kind=PROTOBUF).code == 400
    assert kit.call("POST", MAPS, b"nope", kind=PROTOBUF).code == 400
    body = envelope("v1", "Nothing", b"")
    assert kit.call("POST", MAPS, body, kind=PROTOBUF).code == 415
    assert kit.call("POST", MAPS, b"x", kind="image/png").code == 415


def test_logs(kit: Kit) -> None:
    kit.call("POST", PODS, pod("p"))
    early = kit.call("GET", f"{PODS}/p/log")
    assert (early.code, "waiting to start" in early.json["message"]) == (400, True)
    kit.settle(0.5)
    kit.runner.commands["1-0"].log.write_text("one\ntwo\nthree\n")
    assert kit.call("GET", f"{PODS}/p/log").body == b"one\ntwo\nthree\n"
    assert kit.call("GET", f"{PODS}/p/log", tailLines="2").body == b"two\nthree\n"
    assert kit.call("GET", f"{PODS}/p/log", tailLines="0").body == b""
    assert kit.call("GET", f"{PODS}/p/log", limitBytes="3").body == b"one"
    assert kit.call("GET", f"{PODS}/p/log", container="nope").code == 400
    assert kit.call("GET", f"{PODS}/p/log", previous="true").code == 400
    kit.runner.end("1-0")
    kit.settle(0.5)
    found = kit.call("GET", f"{PODS}/p/log", follow="true", timestamps="true")
    assert found.body == b"one\ntwo\nthree\n"
    assert "not kept" in found.headers["warning"]
