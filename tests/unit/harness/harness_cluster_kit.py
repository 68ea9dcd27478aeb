"""A cluster without sockets, processes and waiting: manual clock, scripted processes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from harness.cluster.bootstrap import Claim
from harness.cluster.clock import ManualClock
from harness.cluster.cluster import Cluster, ClusterSettings, Outside
from harness.cluster.node.probes import Probe
from harness.cluster.node.process import Command

TOKEN = "secret"
GROUP = "demo.example.com"


class ScriptedRunner:
    """Processes run until a test ends them."""

    def __init__(self) -> None:
        self.commands: dict[str, Command] = {}
        self.codes: dict[str, int] = {}
        self.signals: list[tuple[str, int]] = []

    def start(self, command: Command) -> str:
        handle = f"{len(self.commands) + 1}-0"
        self.commands[handle] = command
        command.log.parent.mkdir(parents=True, exist_ok=True)
        command.log.write_text(f"started {handle}\n")
        return handle

    def exit_code(self, handle: str, exit_file: Path) -> int | None:
        return self.codes.get(handle)

    def signal(self, handle: str, number: int) -> None:
        self.signals.append((handle, number))
        self.codes.setdefault(handle, 128 + number)

    def end(self, handle: str, code: int = 0) -> None:
        self.codes[handle] = code

    @property
    def running(self) -> list[str]:
        return [handle for handle in self.commands if handle not in self.codes]


class YesProber:
    def ask(self, key: str, probe: Probe) -> bool | None:
        return True


@dataclass
class Reply:
    code: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]


@dataclass
class Kit:
    cluster: Cluster
    clock: ManualClock
    runner: ScriptedRunner
    folder: Path
    token: str = TOKEN
    extra: dict[str, str] = field(default_factory=dict)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        kind: str = "application/json",
        accept: str = "application/json",
        token: str | None = None,
        headers: dict[str, str] | None = None,
        **query: str,
    ) -> Reply:
        sent = {
            "accept": accept,
            "content-type": kind,
            "authorization": f"Bearer {self.token if token is None else token}",
            **(headers or {}),
        }
        return asyncio.run(self.request(method, path, body, sent, **query))

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        **query: str,
    ) -> Reply:
        url = urlsplit(path)
        text = "&".join(part for part in (url.query, urlencode(query)) if part)
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {
            "accept": "application/json",
            "content-type": "application/json",
            "authorization": f"Bearer {self.token}",
            "user-agent": "client/1.0",
            **(headers or {}),
        }
        scope = {
            "type": "http",
            "method": method,
            "path": url.path,
            "query_string": text.encode(),
            "headers": [(k.encode(), v.encode()) for k, v in sent.items()],
        }
        return await self._run(scope, b"" if body is None else raw)

    async def _run(self, scope: dict[str, Any], body: bytes) -> Reply:
        messages: list[dict[str, Any]] = []
        given = False

        async def receive() -> dict[str, Any]:
            nonlocal given
            if given or scope["method"] == "GET":
                await asyncio.Event().wait()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            messages.append(message)

        await self.cluster.app(scope, receive, send)
        headers = {k.decode(): v.decode() for k, v in messages[0]["headers"]}
        content = b"".join(m.get("body", b"") for m in messages[1:])
        return Reply(messages[0]["status"], headers, content)

    def settle(self, seconds: float = 0.0, step_s: float = 0.25) -> None:
        """Let the controllers work, now and while time passes."""
        self.cluster.loop.run_due()
        for _ in range(round(seconds / step_s)):
            self.clock.advance(step_s)
            self.cluster.loop.run_due()

    def get(self, storage: str, name: str, namespace: str = "default") -> Any:
        return self.cluster.store.get(storage, namespace, name)

    def pods(self, namespace: str = "default") -> list[Any]:
        return self.cluster.store.list("pods", namespace)


def raised(error: Exception) -> None:
    raise error


@contextmanager
def running(folder: Path, *, claim: Claim | None = lambda _: 10, **settings: Any) -> Iterator[Kit]:
    clock, runner = ManualClock(), ScriptedRunner()
    options = ClusterSettings(folder=folder, token=TOKEN, **settings)
    outside = Outside(clock=clock, runner=runner, prober=YesProber(), claim=claim)
    cluster = Cluster(options, outside)
    cluster.loop.on_error = raised
    kit = Kit(cluster, clock, runner, folder)
    kit.settle()
    try:
        yield kit
    finally:
        cluster.close()


def widget_definition() -> dict[str, Any]:
    spec = {
        "type": "object",
        "required": ["model"],
        "properties": {
            "model": {"type": "string"},
            "backend": {"type": "string", "enum": ["auto", "vllm", "sglang"], "default": "auto"},
            "replicas": {"type": "integer", "minimum": 0, "maximum": 10, "default": 1},
            "lo": {"type": "number"},
            "hi": {"type": "number"},
            "sla": {
                "type": "object",
                "default": {},
                "properties": {"ttft": {"type": "number", "default": 200}},
            },
            "items": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "items": {
                    "type": "object",
                    "properties": {"name": {"type": "string"}, "value": {"type": "integer"}},
                },
            },
            "extra": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
        "x-kubernetes-validations": [
            {
                "rule": "!has(self.lo) || !has(self.hi) || self.lo <= self.hi",
                "message": "lo must not exceed hi",
            }
        ],
    }
    status = {
        "type": "object",
        "properties": {"phase": {"type": "string"}, "replicas": {"type": "integer"}},
    }
    columns = [
        {"name": "Model", "type": "string", "jsonPath": ".spec.model"},
        {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
        {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas", "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
            },
        },
        "additionalPrinterColumns": columns,
        "selectableFields": [{"jsonPath": ".spec.model"}],
        "schema": {
            "openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}
        },
    }
    names = {"plural": "widgets", "kind": "Widget", "shortNames": ["wdg"], "categories": ["demo"]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }


CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = f"/apis/{GROUP}/v1/namespaces/default/widgets"


def widget(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "Widget",
        "metadata": {"name": name},
        "spec": {"model": "m", **spec},
    }


def job(name: str, restart: str = "Never", gpus: int = 0, **spec: Any) -> dict[str, Any]:
    container: dict[str, Any] = {"name": "main", "image": "x", "command": ["work"]}
    if gpus:
        container["resources"] = {"limits": {"nvidia.com/gpu": gpus}}
    pod = {"restartPolicy": restart, "containers": [container]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": {"spec": pod}, **spec},
    }


def pod(name: str, gpus: int = 0, **spec: Any) -> dict[str, Any]:
    template = job(name, gpus=gpus)["spec"]["template"]["spec"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {**template, **spec},
    }


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    metadata = {"name": name, "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
