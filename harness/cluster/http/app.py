"""The ASGI application: authenticate, authorise, inject faults, route, answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from contracts.errors import InputError
from harness.cluster.faults import Faults, Target
from harness.cluster.http import discovery
from harness.cluster.http.auth import Tokens, User
from harness.cluster.http.logs import Logs
from harness.cluster.http.message import (
    Answer,
    Request,
    asked_form,
    error_answer,
    json_answer,
    parsed_query,
    text_answer,
)
from harness.cluster.http.openapi import OpenApi
from harness.cluster.http.proxy import ServiceProxy
from harness.cluster.http.rbac import Access, Rbac
from harness.cluster.http.resources import Resources
from harness.cluster.http.route import STREAMS, Route, find_route
from harness.cluster.http.streams import Streams, WebSocket
from harness.cluster.http.subresources import Subresources
from harness.cluster.kinds.registry import Registry
from harness.cluster.objects.errors import ApiError, bad_request
from harness.cluster.objects.outside import repeated

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_ADMIN = "/harness/"
_OPEN = frozenset({"/healthz", "/livez", "/readyz", "/version"})
_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What the application is made of."""

    registry: Registry
    tokens: Tokens
    rbac: Rbac
    faults: Faults
    resources: Resources
    subresources: Subresources
    logs: Logs
    streams: Streams
    proxy: ServiceProxy
    openapi: OpenApi


class App:
    """The API of one cluster."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] == "websocket":
            await self._talk(scope, WebSocket(receive, send))
        if scope["type"] != "http":
            return
        request = await _received(scope, receive)
        try:
            answer = await self._answer(request)
        except ApiError as error:
            answer = error_answer(error)
        except Exception as error:  # noqa: BLE001  # a request must not end the server
            traceback.print_exception(error)
            text = f"Internal error occurred: {type(error).__name__}: {error}"
            answer = error_answer(ApiError(500, "InternalError", text, {}))
        await _send(answer, receive, send)

    async def _talk(self, scope: Scope, socket: WebSocket) -> None:
        """A connection over WebSocket; one that is refused hears why when it asks without."""
        request = Request(
            method="GET",
            path=scope["path"],
            query=parsed_query(scope.get("query_string", b"")),
            headers=_headers(scope),
            upgrade=True,
        )
        services = self._services
        try:
            user = self._user(request)
            route = find_route(services.registry, request)
            if route is None or route.subresource not in STREAMS:
                raise bad_request("only exec and port-forward are served over WebSocket")
            services.rbac.check(user, replace(route.access, verb="create"))
            query, offered = scope.get("query_string", b""), scope.get("subprotocols") or ()
            await services.streams.serve(socket, route, query, offered)
        except ApiError:
            await socket.refuse()

    async def _answer(self, request: Request) -> Answer:
        if request.path in _OPEN:
            return self._plain(request) or _no_page()
        user = self._user(request)
        if request.path.startswith(_ADMIN):
            return self._admin(request, user)
        services = self._services
        route = find_route(services.registry, request)
        if route is None:
            services.rbac.check(user, Access(verb=request.method.lower(), path=request.path))
            return self._plain(request) or _no_page()
        services.rbac.check(user, route.access)
        await self._strike(route, user)
        if route.subresource == "log":
            return services.logs.answer(request, route)
        if route.subresource == "proxy":
            return await services.proxy.answer(request, route)
        return await repeated(lambda: self._handled(request, route, user))

    def _handled(self, request: Request, route: Route, user: User) -> Answer:
        request.notes.clear()  # of a try before this one
        special = self._services.subresources.handle(request, route, user)
        if special is not None:
            return special
        return self._services.resources.handle(request, route, user)

    def _user(self, request: Request) -> User:
        user = self._services.tokens.user(request.headers.get("authorization", ""))
        other = request.headers.get("impersonate-user")
        if not other:
            return user
        self._services.rbac.check(user, Access(verb="impersonate", resource="users", name=other))
        groups = request.headers.get("impersonate-group", "")
        listed = [group for group in groups.split(",") if group]
        if other.startswith("system:serviceaccount:"):
            namespace = other.split(":")[2]
            listed += ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
        return User(name=other, groups=(*listed, "system:authenticated"))

    async def _strike(self, route: Route, user: User) -> None:
        strike = self._services.faults.strike(
            Target(
                verb=route.verb,
                resource=route.resource.plural,
                group=route.resource.group,
                name=route.name,
                namespace=route.namespace,
                user=user.name,
            )
        )
        if strike.delay_s:
            await asyncio.sleep(strike.delay_s)
        if strike.error is not None:
            raise strike.error

    def _plain(self, request: Request) -> Answer | None:
        path = request.path.rstrip("/")
        if path in {"/healthz", "/livez", "/readyz"}:
            return text_answer("ok")
        if path == "/version":
            return json_answer(discovery.VERSION)
        if path.startswith("/openapi/v3"):
            return self._openapi(path)
        return self._discovery(request, path)

    def _discovery(self, request: Request, path: str) -> Answer | None:
        registry = self._services.registry
        parts = path.strip("/").split("/")
        if path in {"/api", "/apis"}:
            form, version = asked_form(request.headers.get("accept", ""))
            if form == "APIGroupDiscoveryList" and version == "v2":
                found = discovery.aggregated(registry, core=path == "/api")
                return json_answer(found, content_type=_AGGREGATED)
            if path == "/api":
                address = request.headers.get("host", "")
                return json_answer(discovery.core_versions(address))
            return json_answer(discovery.group_list(registry))
        listed = None
        if parts[0] == "api" and len(parts) == 2:
            listed = discovery.resource_list(registry, "", parts[1])
        elif parts[0] == "apis" and len(parts) == 2:
            listed = discovery.group(registry, parts[1])
        elif parts[0] == "apis" and len(parts) == 3:
            listed = discovery.resource_list(registry, parts[1], parts[2])
        return None if listed is None else json_answer(listed)

    def _openapi(self, path: str) -> Answer | None:
        parts = path.strip("/").split("/")[2:]
        if not parts:
            return json_answer(self._services.openapi.index())
        group = parts[1] if parts[0] == "apis" and len(parts) == 3 else ""
        body = self._services.openapi.document(group, parts[-1])
        return None if body is None else Answer(body=body)

    def _admin(self, request: Request, user: User) -> Answer:
        access = Access(verb=request.method.lower(), path=request.path)
        self._services.rbac.check(user, access)
        faults = self._services.faults
        parts = request.path.removeprefix(_ADMIN).strip("/").split("/")
        if parts[0] != "faults" or len(parts) > 2:
            return _no_page()
        if request.method == "POST" and len(parts) == 1:
            try:
                return json_answer(faults.add(request.object()).as_json(), 201)
            except InputError as error:
                raise bad_request(str(error)) from error
        if request.method == "DELETE":
            if len(parts) == 1:
                faults.clear()
            elif not faults.remove(parts[1]):
                return _no_page()
        return json_answer({"items": [rule.as_json() for rule in faults.rules()]})


def _no_page() -> Answer:
    return text_answer("404 page not found\n", 404)


def _headers(scope: Scope) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


async def _received(scope: Scope, receive: Receive) -> Request:
    body = b""
    while scope["method"] not in {"GET", "HEAD"}:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            break
    return Request(
        method=scope["method"],
        path=scope["path"],
        query=parsed_query(scope.get("query_string", b"")),
        headers=_headers(scope),
        body=body,
    )


async def _send(answer: Answer, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", answer.content_type.encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
    for text in answer.warnings:
        quoted = json.dumps(text, ensure_ascii=False)
        headers.append((b"warning", f"299 - {quoted}".encode()))
    if answer.stream is None:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.code, "headers": headers})
    if answer.stream is None:
        await send({"type": "http.response.body", "body": answer.body})
        return
    await _send_stream(answer, receive, send)


async def _send_stream(answer: Answer, receive: Receive, send: Send) -> None:
    """Send pieces as they come; stop when the client has gone."""
    sending = asyncio.ensure_future(_pieces(answer, send))
    leaving = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sending, leaving):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _pieces(answer: Answer, send: Send) -> None:
    if answer.stream is None:
        return
    async with contextlib.aclosing(answer.stream) as pieces:  # type: ignore[type-var]
        async for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
