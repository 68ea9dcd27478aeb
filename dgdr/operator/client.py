"""The Kubernetes API over the official client.

The client brings configuration, credentials and the TLS connection pool. Paths and JSON
are handled here: its generated models differ between major versions (32 to 37), and
custom resources stay plain data anyway.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes import client, config

from contracts.errors import InputError, PermanentError
from dgdr.operator.api import ApiError, Listing, WatchEvent
from dgdr.operator.resources import Resource, resource_of
from dgdr.reconcile.actions import Json, Ref

WATCH_S = 300
_REQUEST_S = 30.0
_PAGE = 500
_MERGE = "application/merge-patch+json"


class KubeClient:
    """Reads and changes objects as plain data.

    Args:
        kubeconfig: file to read; None uses the pod's service account, else the default
            kubeconfig.
        context: context of the file; None is its current one.

    Raises:
        PermanentError: there is no usable configuration.
    """

    def __init__(self, kubeconfig: str | None = None, context: str | None = None) -> None:
        self._configuration = _load(kubeconfig, context)
        self._configuration.connection_pool_maxsize = 32
        self._client = client.ApiClient(self._configuration)
        self._pool = self._client.rest_client.pool_manager
        self._host = str(self._configuration.host).rstrip("/")

    def close(self) -> None:
        """Close all connections."""
        self._pool.clear()

    def get(self, ref: Ref) -> Json | None:
        """An object, None when it is not there."""
        try:
            found = self._call("GET", resource_of(ref).path(ref.namespace, ref.name))
        except ApiError as error:
            if error.missing:
                return None
            raise
        return _typed(found, ref.api_version, ref.kind)

    def list(self, resource: Resource, namespace: str | None = None, selector: str = "") -> Listing:
        """All objects of a kind with these labels, page by page."""
        items: list[Json] = []
        query = {"limit": str(_PAGE), **({"labelSelector": selector} if selector else {})}
        while True:
            page = self._call("GET", resource.path(namespace), query=query)
            items += [
                _typed(item, resource.api_version, resource.kind)
                for item in page.get("items") or []
            ]
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                version = str(metadata.get("resourceVersion", ""))
                return Listing(items=tuple(items), resource_version=version)
            query["continue"] = metadata["continue"]

    def watch(
        self, resource: Resource, namespace: str | None, selector: str, resource_version: str
    ) -> Iterator[WatchEvent]:
        """Changes since a resourceVersion, until the API ends the stream."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(WATCH_S),
            **({"labelSelector": selector} if selector else {}),
        }
        response = self._send("GET", resource.path(namespace), query=query, stream=True)
        try:
            if response.status >= 400:
                raise _refusal(response.status, response.read())
            for line in _lines(response):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise _refusal(0, json.dumps(event["object"]).encode())
                data = _typed(event["object"], resource.api_version, resource.kind)
                yield WatchEvent(kind=event["type"], data=data)
        except urllib3.exceptions.HTTPError as error:
            raise ApiError(0, "Disconnected", str(error)) from error
        finally:
            response.close()

    def create(self, data: Json) -> Json:
        """Create an object."""
        ref = Ref.of(data)
        return self._call("POST", resource_of(ref).path(ref.namespace), body=data)

    def replace(self, data: Json) -> Json:
        """Replace an object; its resourceVersion must be the present one."""
        ref = Ref.of(data)
        return self._call("PUT", resource_of(ref).path(ref.namespace, ref.name), body=data)

    def patch(self, ref: Ref, change: Mapping[str, Any], *, status: bool = False) -> Json:
        """Merge a change (RFC 7386); a resourceVersion in it must be the present one."""
        path = resource_of(ref).path(ref.namespace, ref.name, "status" if status else None)
        return self._call("PATCH", path, body=dict(change), content_type=_MERGE)

    def delete(self, ref: Ref, uid: str) -> None:
        """Delete the object with this uid, dependents in the background."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        self._call("DELETE", resource_of(ref).path(ref.namespace, ref.name), body=options)

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Json | Sequence[Json] | None = None,
        content_type: str = "application/json",
    ) -> Json:
        """Any other call, for example of a subresource.

        Raises:
            ApiError: the answer is no success.
        """
        return self._call(method, path, body=body, content_type=content_type)

    def log(self, pod: Ref, container: str, *, previous: bool = False) -> str:
        """What a container of a pod wrote; ``previous`` is the one before its last restart.

        Raises:
            ApiError: it is not there or has not started.
        """
        path = resource_of(pod).path(pod.namespace, pod.name, "log")
        query = {"container": container, **({"previous": "true"} if previous else {})}
        response = self._send("GET", path, query=query)
        if response.status >= 400:
            raise _refusal(response.status, response.data)
        return response.data.decode(errors="replace")

    def serves(self, resource: Resource) -> bool:
        """Whether the API knows a group and version."""
        try:
            self._call("GET", f"/apis/{resource.api_version}")
        except ApiError as error:
            if error.missing:
                return False
            raise
        return True

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | Sequence[Json] | None = None,
        content_type: str = "application/json",
    ) -> Json:
        response = self._send(method, path, query=query, body=body, content_type=content_type)
        if response.status >= 400:
            raise _refusal(response.status, response.data)
        return dict(json.loads(response.data))

    def _send(  # parts of one HTTP request
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | Sequence[Json] | None = None,
        content_type: str = "application/json",
        stream: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        url = f"{self._host}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": "application/json", "User-Agent": "dgdr-operator", **self._auth()}
        if body is not None:
            headers["Content-Type"] = content_type
        read_s = WATCH_S + _REQUEST_S if stream else _REQUEST_S
        try:
            response: urllib3.BaseHTTPResponse = self._pool.request(
                method,
                url,
                headers=headers,
                body=None if body is None else json.dumps(body).encode(),
                preload_content=not stream,
                timeout=urllib3.Timeout(connect=10.0, read=read_s),
                retries=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise ApiError(0, "Unreachable", f"{self._host}: {error}") from error
        return response

    def _auth(self) -> dict[str, str]:
        settings = self._configuration.auth_settings()
        return {
            str(entry["key"]): str(entry["value"])
            for entry in settings.values()
            if entry.get("in") == "header" and entry.get("value")
        }


def _load(kubeconfig: str | None, context: str | None) -> Any:  # noqa: ANN401  # no types there
    configuration = client.Configuration()
    files = (kubeconfig or "").split(os.pathsep)  # as $KUBECONFIG may hold several
    if kubeconfig is not None and not any(Path(each).is_file() for each in files):
        raise InputError("is no file", path="--kubeconfig", value=kubeconfig)
    try:
        if kubeconfig is None:
            try:
                config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
            except config.ConfigException:
                _load_file(None, context, configuration)
        else:
            _load_file(kubeconfig, context, configuration)
    except (config.ConfigException, OSError) as error:
        raise PermanentError(
            f"no Kubernetes API to talk to: {str(error).rstrip('.')}; give --kubeconfig FILE"
        ) from error
    return configuration


def _load_file(path: str | None, context: str | None, target: object) -> None:
    config.load_kube_config(  # type: ignore[no-untyped-call]
        config_file=path, context=context, client_configuration=target
    )


def _typed(data: Any, api_version: str, kind: str) -> Json:  # noqa: ANN401  # JSON
    """An object with apiVersion and kind, which items of built-in lists lack."""
    return {"apiVersion": api_version, "kind": kind, **data}


def _refusal(status: int, body: bytes) -> ApiError:
    try:
        found = json.loads(body)
    except ValueError:
        return ApiError(status, "", body[:200].decode(errors="replace"))
    if not isinstance(found, dict):
        return ApiError(status, "", str(found)[:200])
    code = int(found.get("code") or status)
    return ApiError(code, str(found.get("reason", "")), str(found.get("message", "")))


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """Lines of a stream as they arrive."""
    rest = b""
    for chunk in response.stream(None, decode_content=True):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line for line in lines if line.strip())
    if rest.strip():
        yield rest
