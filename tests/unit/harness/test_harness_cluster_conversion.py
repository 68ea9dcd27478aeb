"""Conversion of custom resources by the operator's webhook."""

from __future__ import annotations

import base64
import copy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness_cluster_kit import CRDS, Kit, running

from dgdr.operator.webhook import WebhookServer
from harness.cluster.certificate import certificate

ROOT = Path(__file__).parents[3]
DEFINITION = ROOT / "deploy" / "crds" / "dynamographdeploymentrequests.yaml"
GROUP = "/apis/nvidia.com"
PLACE = "namespaces/default/dynamographdeploymentrequests"
NEW, OLD = f"{GROUP}/v1beta1/{PLACE}", f"{GROUP}/v1alpha1/{PLACE}"

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    with running(tmp_path) as found:
        yield found


@pytest.fixture
def webhook(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Where the operator converts, as a definition says it."""
    made = certificate(tmp_path / "tls")
    server = WebhookServer(0, made.cert.parent, host="127.0.0.1")
    server.start()
    bundle = base64.b64encode(made.cert.read_bytes()).decode()
    yield {"url": f"https://localhost:{server.port}/convert", "caBundle": bundle}
    server.close()


def define(kit: Kit, client_config: dict[str, Any] | None) -> None:
    definition = copy.deepcopy(yaml.safe_load(DEFINITION.read_text()))
    if client_config is not None:
        definition["spec"]["conversion"]["webhook"]["clientConfig"] = client_config
    assert kit.call("POST", CRDS, definition).code == 201


def request(name: str = "r") -> dict[str, Any]:
    return {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeploymentRequest",
        "metadata": {"name": name, "labels": {"a": "b"}},
        "spec": {"model": "m", "image": "i", "sla": {"ttft": 500, "itl": 20}},
    }


def test_both_versions_show_one_object(kit: Kit, webhook: dict[str, Any]) -> None:
    define(kit, webhook)
    made = kit.call("POST", NEW, request()).json
    old = kit.call("GET", f"{OLD}/r").json
    assert old["apiVersion"] == "nvidia.com/v1alpha1"
    assert "sla" not in old["spec"]
    assert old["spec"]["profilingConfig"]["config"]["sla"]["ttft"] == 500
    assert old["metadata"]["uid"] == made["metadata"]["uid"]
    assert old["metadata"]["labels"] == {"a": "b"}

    listed = kit.call("GET", OLD).json["items"]
    assert [item["apiVersion"] for item in listed] == ["nvidia.com/v1alpha1"]
    old["spec"]["profilingConfig"]["config"]["sla"]["ttft"] = 400
    assert kit.call("PUT", f"{OLD}/r", old).code == 200
    new = kit.call("GET", f"{NEW}/r").json
    assert new["spec"]["sla"]["ttft"] == 400
    assert new["metadata"]["generation"] == 2

    old["metadata"] = {"name": "s"}
    assert kit.call("POST", OLD, old).code == 201
    assert kit.call("GET", f"{NEW}/s").json["spec"]["sla"]["ttft"] == 400


def test_without_a_webhook_the_stored_version_still_works(kit: Kit) -> None:
    define(kit, None)
    assert kit.call("POST", NEW, request()).code == 201
    assert kit.call("GET", f"{NEW}/r").code == 200
    answer = kit.call("GET", f"{OLD}/r")
    assert answer.code == 500
    assert "dgdr-operator-webhook" in answer.json["message"]


def test_a_webhook_that_is_not_trusted_is_not_used(kit: Kit, webhook: dict[str, Any]) -> None:
    define(kit, {"url": webhook["url"]})
    kit.call("POST", NEW, request())
    answer = kit.call("GET", f"{OLD}/r")
    assert answer.code == 500
    assert "certificate verify failed" in answer.json["message"]
