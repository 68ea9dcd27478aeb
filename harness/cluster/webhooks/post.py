"""Sends a review to a webhook, wherever its ``clientConfig`` says it is."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from harness.cluster.objects.errors import ApiError
from harness.cluster.objects.meta import Obj

# (namespace, service, port) -> address of a ready pod
Resolve = Callable[[str, str, str], tuple[str, int] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a webhook is, the name that its certificate must have, and who vouches for it."""

    host: str
    port: int
    name: str
    path: str
    authority: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Attributes: ``resolve`` finds the pods of services."""

    resolve: Resolve

    def place(self, config: Obj) -> Place:
        """Where a ``clientConfig`` points; to be called in the thread of the server.

        Raises:
            OSError: no pod of the service is ready.
            ValueError, KeyError: the configuration makes no sense.
        """
        bundle = config.get("caBundle")
        authority = base64.b64decode(bundle).decode() if bundle else None
        if config.get("url"):
            url = urlsplit(config["url"])
            host = url.hostname or ""
            port, path = url.port or 443, url.path or "/"
            return Place(host=host, port=port, name=host, path=path, authority=authority)
        service = config["service"]
        namespace, name = service["namespace"], service["name"]
        try:
            found = self.resolve(namespace, name, str(service.get("port", 443)))
        except ApiError as error:
            raise OSError(error.message) from error
        if found is None:
            raise OSError(f'no endpoints available for service "{name}"')
        return Place(
            host=found[0],
            port=found[1],
            name=f"{name}.{namespace}.svc",
            path=service.get("path") or "/",
            authority=authority,
        )


def post(place: Place, body: Obj, limit_s: float) -> Any:  # noqa: ANN401  # JSON
    """The answer of a webhook.

    Raises:
        OSError: it cannot be reached, is not trusted, or answers with another code than 200.
        http.client.HTTPException: it does not speak HTTP.
        ValueError: the answer is no JSON.
    """
    context = ssl.create_default_context(cadata=place.authority)
    connection = http.client.HTTPSConnection(place.name, place.port, timeout=limit_s)
    try:
        plain = socket.create_connection((place.host, place.port), limit_s)
        try:
            connection.sock = context.wrap_socket(plain, server_hostname=place.name)
        except BaseException:
            plain.close()
            raise
        headers = {"Content-Type": "application/json"}
        connection.request("POST", place.path, json.dumps(body), headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise OSError(f"HTTP {answer.status}: {content[:200].decode(errors='replace')}")
        return json.loads(content)
    finally:
        connection.close()
