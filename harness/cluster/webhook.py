"""Asks the conversion webhook that a CustomResourceDefinition names.

The call blocks the server for as long as the webhook takes, at most ``LIMIT_S``: conversions
are part of writes, and those have no gaps.
"""

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
from harness.cluster.objects.meta import Obj, meta

LIMIT_S = 5.0
_REVIEW = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview"}
# (namespace, service, port) -> address of a ready pod
Resolve = Callable[[str, str, str], tuple[str, int] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a webhook is, and the name that its certificate must have."""

    host: str
    port: int
    name: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionWebhooks:
    """Converts objects by webhooks.

    Attributes:
        resolve: finds the pods of services.
    """

    resolve: Resolve

    def convert(self, webhook: Obj, obj: Obj, api_version: str) -> Obj:
        """An object in another version of its resource.

        Args:
            webhook: ``spec.conversion.webhook`` of the definition.
            obj: stays as it is; of its metadata only labels and annotations may change.
            api_version: the wanted one.

        Raises:
            ApiError: 500, the webhook cannot be reached or refuses.
        """
        config = webhook.get("clientConfig") or {}
        request = {"uid": "1", "desiredAPIVersion": api_version, "objects": [obj]}
        try:
            answer = _post(self._place(config), config, {**_REVIEW, "request": request})
            response = answer["response"]
            result = response.get("result") or {}
            if result.get("status") != "Success":
                raise _failed(obj, api_version, str(result.get("message")))
            (found,) = response["convertedObjects"]
            changed: Obj = {**found, "apiVersion": api_version, "metadata": {**meta(obj)}}
            for key in ("labels", "annotations"):
                changed["metadata"].pop(key, None)
                if found["metadata"].get(key):
                    changed["metadata"][key] = found["metadata"][key]
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            raise _failed(obj, api_version, str(error) or type(error).__name__) from error
        return changed

    def _place(self, config: Obj) -> _Place:
        if config.get("url"):
            url = urlsplit(config["url"])
            host = url.hostname or ""
            return _Place(host=host, port=url.port or 443, name=host, path=url.path or "/")
        service = config["service"]
        namespace, name = service["namespace"], service["name"]
        try:
            found = self.resolve(namespace, name, str(service.get("port", 443)))
        except ApiError as error:
            raise OSError(error.message) from error
        if found is None:
            raise OSError(f'no endpoints available for service "{name}"')
        full = f"{name}.{namespace}.svc"
        return _Place(host=found[0], port=found[1], name=full, path=service.get("path", "/"))


def _post(place: _Place, config: Obj, body: Obj) -> Any:  # noqa: ANN401  # JSON
    bundle = config.get("caBundle")
    authority = base64.b64decode(bundle).decode() if bundle else None
    context = ssl.create_default_context(cadata=authority)
    connection = http.client.HTTPSConnection(place.name, place.port, timeout=LIMIT_S)
    try:
        plain = socket.create_connection((place.host, place.port), LIMIT_S)
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


def _failed(obj: Obj, api_version: str, why: str) -> ApiError:
    text = (
        f"conversion webhook for {obj.get('apiVersion')}, Kind={obj.get('kind')} to "
        f"{api_version} failed: {why}"
    )
    return ApiError(500, "InternalError", text)
