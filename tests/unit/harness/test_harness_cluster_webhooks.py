"""Webhooks that have a say in writes, and a server that goes on while they think."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from harness_cluster_kit import CRDS, WIDGETS, Kit, running, widget, widget_definition

from harness.cluster.certificate import Certificate, certificate

GROUP = "/apis/admissionregistration.k8s.io/v1"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
Review = Callable[[dict[str, Any]], dict[str, Any]]

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")


class Webhook:
    """A webhook on loopback; ``answer`` makes its responses."""

    def __init__(self, tls: Certificate) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answer: Review = lambda request: {"allowed": True}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append(review["request"])
                response = outer.answer(review["request"])
                review["response"] = {"uid": review["request"]["uid"], **response}
                body = json.dumps(review).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.cert, tls.key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        bundle = base64.b64encode(Path(tls.cert).read_bytes()).decode()
        url = f"https://localhost:{self._server.server_address[1]}/review"
        self.client_config = {"url": url, "caBundle": bundle}
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def webhook(tls: Certificate) -> Iterator[Webhook]:
    found = Webhook(tls)
    yield found
    found.close()


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    with running(tmp_path) as found:
        found.call("POST", CRDS, widget_definition())
        yield found


def register(kit: Kit, webhook: Webhook, kind: str = "Validating", **more: Any) -> None:
    rule = {
        "apiGroups": ["demo.example.com"],
        "apiVersions": ["v1"],
        "operations": ["*"],
        "resources": ["widgets"],
    }
    entry = {
        "name": f"{kind.lower()}.example.com",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "clientConfig": webhook.client_config,
        "rules": [rule],
        **more,
    }
    body = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": "w"},
        "webhooks": [entry],
    }
    assert kit.call("POST", f"{GROUP}/{kind.lower()}webhookconfigurations", body).code == 201


def patched(**spec: Any) -> dict[str, Any]:
    operations = [{"op": "add", "path": f"/spec/{k}", "value": v} for k, v in spec.items()]
    text = base64.b64encode(json.dumps(operations).encode()).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": text}


def test_a_refusal_reaches_the_client_with_its_causes(kit: Kit, webhook: Webhook) -> None:
    register(kit, webhook)
    cause = {"field": "spec.model", "message": "m", "reason": "FieldValueInvalid"}
    status = {"code": 422, "reason": "Invalid", "message": "no", "details": {"causes": [cause]}}
    webhook.answer = lambda request: {"allowed": False, "status": status, "warnings": ["w"]}
    answer = kit.call("POST", WIDGETS, widget("a"))
    assert (answer.code, answer.json["reason"]) == (422, "Invalid")
    text = 'admission webhook "validating.example.com" denied the request: no'
    assert answer.json["message"] == text
    assert answer.json["details"]["causes"] == [cause]
    assert kit.call("GET", f"{WIDGETS}/a").code == 404
    (request,) = webhook.asked
    assert request["operation"] == "CREATE"
    assert request["resource"] == {
        "group": "demo.example.com", "version": "v1", "resource": "widgets"
    }  # fmt: skip
    webhook.answer = lambda request: {"allowed": False}
    answer = kit.call("POST", WIDGETS, widget("a"))
    assert (answer.code, answer.json["message"].endswith("without explanation")) == (400, True)


def test_updates_and_deletions_show_what_was_there(kit: Kit, webhook: Webhook) -> None:
    made = kit.call("POST", WIDGETS, widget("a")).json
    register(kit, webhook)
    made["spec"]["model"] = "other"
    assert kit.call("PUT", f"{WIDGETS}/a", made).code == 200
    assert kit.call("PUT", f"{WIDGETS}/a/status", {**made, "metadata": {"name": "a"}}).code != 500
    assert kit.call("DELETE", f"{WIDGETS}/a").code == 200
    update, delete = webhook.asked
    assert (update["operation"], update["oldObject"]["spec"]["model"]) == ("UPDATE", "m")
    assert (delete["operation"], delete["object"]) == ("DELETE", None)
    assert delete["oldObject"]["spec"]["model"] == "other"


def test_a_mutating_webhook_changes_what_is_stored_once(kit: Kit, webhook: Webhook) -> None:
    register(kit, webhook, "Mutating")
    webhook.answer = lambda request: patched(replicas=3)
    made = kit.call("POST", WIDGETS, {**widget("x"), "metadata": {"generateName": "x-"}}).json
    assert made["spec"]["replicas"] == 3
    assert kit.call("GET", f"{WIDGETS}/{made['metadata']['name']}").json["spec"]["replicas"] == 3
    assert len(webhook.asked) == 1
    webhook.answer = lambda request: patched(replicas="three")
    assert kit.call("POST", WIDGETS, widget("y")).code == 422


def test_an_unreachable_webhook_counts_by_its_policy(kit: Kit, webhook: Webhook) -> None:
    nowhere = {**webhook.client_config, "url": "https://localhost:1/review"}
    register(kit, webhook, clientConfig=nowhere)
    answer = kit.call("POST", WIDGETS, widget("a"))
    assert answer.code == 500
    assert 'failed calling webhook "validating.example.com"' in answer.json["message"]
    kit.call("DELETE", f"{GROUP}/validatingwebhookconfigurations/w")
    register(kit, webhook, clientConfig=nowhere, failurePolicy="Ignore")
    assert kit.call("POST", WIDGETS, widget("a")).code == 201


def test_selectors_and_rules_say_who_is_asked(kit: Kit, webhook: Webhook) -> None:
    selector = {"matchLabels": {"check": "yes"}}
    register(kit, webhook, objectSelector=selector)
    webhook.answer = lambda request: {"allowed": False}
    assert kit.call("POST", WIDGETS, widget("a")).code == 201
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    assert kit.call("POST", CONFIG_MAPS, body).code == 201
    labelled = {**widget("b"), "metadata": {"name": "b", "labels": {"check": "yes"}}}
    assert kit.call("POST", WIDGETS, labelled).code == 400


def test_others_are_served_while_a_webhook_thinks(kit: Kit, webhook: Webhook) -> None:
    register(kit, webhook)
    release, asked = threading.Event(), threading.Event()

    def slowly(request: dict[str, Any]) -> dict[str, Any]:
        asked.set()
        release.wait(10)
        return {"allowed": True}

    webhook.answer = slowly

    async def scenario() -> tuple[int, int]:
        slow = asyncio.ensure_future(kit.request("POST", WIDGETS, widget("slow")))
        await asyncio.to_thread(asked.wait, 10)
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
        quick = await kit.request("POST", CONFIG_MAPS, body)
        assert not slow.done()
        release.set()
        return quick.code, (await slow).code

    assert asyncio.run(scenario()) == (201, 201)
    assert len(webhook.asked) == 1
