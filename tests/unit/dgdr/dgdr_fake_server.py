"""The API in memory over real HTTP, for the official client."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from dgdr_fake_api import FakeApi

from dgdr.operator.api import ApiError
from dgdr.operator.resources import _PLURALS, Resource
from dgdr.reconcile.actions import Ref

KINDS = {plural: kind for kind, plural in _PLURALS.items()}


class FakeServer:
    """Serves a FakeApi on loopback; ``requests`` keeps method, path and headers."""

    def __init__(self, api: FakeApi) -> None:
        self.api = api
        self.lock = threading.RLock()
        self.stopping = threading.Event()
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                pass

        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            setattr(Handler, f"do_{method}", lambda self: _serve(owner, self))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def kubeconfig(self, folder: Path) -> str:
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": self.url}}],
            "users": [{"name": "u", "user": {"token": "secret-token"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        }
        path = folder / "kubeconfig.yaml"
        path.write_text(yaml.safe_dump(content))
        return str(path)


def _serve(owner: FakeServer, handler: BaseHTTPRequestHandler) -> None:
    url = urlsplit(handler.path)
    query = {key: values[0] for key, values in parse_qs(url.query).items()}
    size = int(handler.headers.get("Content-Length") or 0)
    body = json.loads(handler.rfile.read(size)) if size else {}
    owner.requests.append((handler.command, handler.path, dict(handler.headers)))
    resource, namespace, name, sub = _parse(url.path)
    if query.get("watch") == "true":
        _watch(owner, handler, resource, namespace, query)
        return
    try:
        with owner.lock:
            answer = _call(owner.api, handler.command, resource, namespace, name, sub, body, query)
        _answer(handler, 200, answer)
    except ApiError as error:
        status = {"kind": "Status", "reason": error.reason, "message": error.message}
        _answer(handler, error.status, {**status, "code": error.status})


def _parse(path: str):
    parts = path.strip("/").split("/")
    version, rest = (
        (parts[1], parts[2:]) if parts[0] == "api" else ("/".join(parts[1:3]), parts[3:])
    )
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    if not rest:
        return None, "", "", ""
    resource = Resource(api_version=version, kind=KINDS[rest[0]])
    return resource, namespace, *([*rest[1:], "", ""][:2])


def _call(api, method, resource, namespace, name, sub, body, query):
    if resource is None:
        raise ApiError(404, "NotFound", "no such group")
    ref = Ref(api_version=resource.api_version, kind=resource.kind, namespace=namespace, name=name)
    if method == "POST":
        return api.create(body)
    if method == "PUT":
        return api.replace(body)
    if method == "PATCH":
        return api.patch(ref, body, status=sub == "status")
    if method == "DELETE":
        api.delete(ref, (body.get("preconditions") or {}).get("uid"))
        return {"kind": "Status", "status": "Success"}
    if name:
        found = api.get(ref)
        if found is None:
            raise ApiError(404, "NotFound", f"{name} not found")
        return found
    return _page(api.list(resource, namespace or None, query.get("labelSelector", "")), query)


def _page(listing, query):
    start, limit = int(query.get("continue") or 0), int(query.get("limit") or 500)
    items = [
        {k: v for k, v in item.items() if k not in ("kind", "apiVersion")}
        for item in listing.items[start : start + limit]
    ]
    more = str(start + limit) if start + limit < len(listing.items) else ""
    return {
        "metadata": {"resourceVersion": listing.resource_version, "continue": more},
        "items": items,
    }


def _watch(owner, handler, resource, namespace, query) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    version = query["resourceVersion"]
    end = time.monotonic() + min(2.0, float(query.get("timeoutSeconds", 1)))
    try:
        while time.monotonic() < end and not owner.stopping.is_set():
            try:
                with owner.lock:
                    selector = query.get("labelSelector", "")
                    found = list(owner.api.watch(resource, namespace or None, selector, version))
            except ApiError as error:
                status = {"kind": "Status", "code": error.status, "reason": error.reason}
                _chunk(handler, {"type": "ERROR", "object": status})
                break
            for event in found:
                version = event.data["metadata"]["resourceVersion"]
                _chunk(handler, {"type": event.kind, "object": event.data})
            time.sleep(0.02)
        handler.wfile.write(b"0\r\n\r\n")
    except (BrokenPipeError, ConnectionResetError):
        handler.close_connection = True


def _chunk(handler, content) -> None:
    line = json.dumps(content).encode() + b"\n"
    handler.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
    handler.wfile.flush()


def _answer(handler, code: int, content) -> None:
    body = json.dumps(content).encode()
    handler.send_response(code)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
