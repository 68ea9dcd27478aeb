"""``services/NAME:PORT/proxy/...``: one HTTP request passed on to a pod of a service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

import httpx

from harness.cluster.http.message import Answer, Request
from harness.cluster.http.route import Route
from harness.cluster.objects.errors import ApiError

# (namespace, service, port by name or number) -> address of a ready pod
Resolve = Callable[[str, str, str], tuple[str, int] | None]
_TIMEOUT_S = 60.0
_DROPPED = frozenset({"host", "authorization", "content-length", "accept-encoding", "connection"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceProxy:
    """Passes requests on."""

    resolve: Resolve

    async def answer(self, request: Request, route: Route) -> Answer:
        """The answer of the pod.

        Raises:
            ApiError: 503, no pod of the service is ready or it does not answer.
        """
        parts = route.name.split(":")
        name, port = (parts[1], parts[2]) if len(parts) == 3 else (parts[0], "".join(parts[1:]))
        found = self.resolve(route.namespace, name, port)
        if found is None:
            text = f'no endpoints available for service "{name}"'
            raise ApiError(503, "ServiceUnavailable", text)
        host, number = found
        query = f"?{urlencode(request.query)}" if request.query else ""
        headers = {key: value for key, value in request.headers.items() if key not in _DROPPED}
        try:
            async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
                answer = await client.request(
                    request.method,
                    f"http://{host}:{number}/{route.rest}{query}",
                    headers=headers,
                    content=request.body,
                )
        except httpx.HTTPError as error:
            text = f"error trying to reach service: {error!r}"
            raise ApiError(503, "ServiceUnavailable", text) from error
        kind = answer.headers.get("content-type", "application/octet-stream")
        return Answer(code=answer.status_code, body=answer.content, content_type=kind)
