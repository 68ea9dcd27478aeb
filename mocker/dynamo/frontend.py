"""A frontend over worker pods: a reverse proxy that knows prefill and decode.

Requests go to the Services of the worker components, one connection each, so that the
Service spreads them over the ready pods. In a disaggregated deployment a prefill worker is
asked for one token first, and only then a decode worker for all of them: the time of both
counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from contracts.errors import InputError
from mocker.api.errors import ApiError
from mocker.api.http import read_body, send_error, send_json
from mocker.dynamo.frontend_metrics import FrontendMetrics, RequestMeter
from mocker.serving.asgi import Receive, Scope, Send

WORKERS_VARIABLE = "DGDR_WORKERS"
WORKER_PORT = 9090
_COMPLETIONS = ("/v1/chat/completions", "/v1/completions")
_ATTEMPTS, _PAUSE_S = 20, 0.1
_TIMEOUT = httpx.Timeout(5.0, read=None)
_LENGTHS = ("max_completion_tokens", "min_tokens", "n", "stop", "stream", "stream_options")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Base addresses of the worker Services.

    Attributes:
        prefill: empty in an aggregated deployment.
        decode: everything that generates tokens.
    """

    prefill: tuple[str, ...]
    decode: tuple[str, ...]


def workers_from(variables: Mapping[str, str]) -> Workers:
    """Read ``DGDR_WORKERS``, ``type=service,type=service``.

    A Service's address is taken from ``$NAME_SERVICE_HOST``; without it, its DNS name.

    Raises:
        InputError: the variable is missing or names no worker that generates tokens.
    """
    text = variables.get(WORKERS_VARIABLE, "")
    pairs = [entry.partition("=")[::2] for entry in text.split(",") if entry]
    prefill = tuple(_address(name, variables) for kind, name in pairs if kind == "prefill")
    decode = tuple(_address(name, variables) for kind, name in pairs if kind != "prefill")
    if not decode:
        raise InputError(
            "names no worker",
            path=f"${WORKERS_VARIABLE}",
            value=text or "nothing",
            allowed="type=service,type=service",
        )
    return Workers(prefill=prefill, decode=decode)


def _address(service: str, variables: Mapping[str, str]) -> str:
    stem = re.sub(r"[^A-Za-z0-9]", "_", service).upper()
    namespace = variables.get("POD_NAMESPACE")
    name = f"{service}.{namespace}" if namespace else service
    host = variables.get(f"{stem}_SERVICE_HOST") or name
    return f"http://{host}:{variables.get(f'{stem}_SERVICE_PORT') or WORKER_PORT}"


@dataclass(slots=True)
class Frontend:
    """The ASGI application; whoever owns the client closes it."""

    workers: Workers
    client: httpx.AsyncClient
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    speed: float = 1.0
    _metrics: FrontendMetrics = field(init=False)
    _turn: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self._metrics = FrontendMetrics(self.registry, speed=self.speed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            if scope["method"] == "GET":
                await self._get(scope["path"], send)
            else:
                await self._completion(scope, receive, send)
        except ApiError as error:
            await send_error(send, error)

    async def _get(self, path: str, send: Send) -> None:
        if path == "/live":
            await send_json(send, 200, b'{"status": "live"}')
        elif path in ("/health", "/ready"):
            await self._health(send)
        elif path == "/metrics":
            await _send(send, generate_latest(self.registry), CONTENT_TYPE_LATEST)
        elif path.startswith("/v1/models"):
            answer = await self._ask("GET", self.workers.decode, path)
            await send_json(send, answer.status_code, answer.content)
        else:
            raise ApiError(404, f"not found: GET {path}")

    async def _health(self, send: Send) -> None:
        for bases in filter(None, (self.workers.prefill, self.workers.decode)):
            try:
                answer = await self.client.get(f"{bases[0]}/health")
            except httpx.HTTPError as error:
                raise ApiError(503, f"no worker answers at {bases[0]}: {_why(error)}") from error
            if not answer.is_success:
                raise ApiError(503, f"no worker is ready at {bases[0]}")
        await send_json(send, 200, b'{"status": "healthy"}')

    async def _completion(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        if path not in _COMPLETIONS or method != "POST":
            raise ApiError(404, f"not found: {method} {path}")
        body = await read_body(scope, receive)
        work = asyncio.ensure_future(self._forward(path, body, send))
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
        finally:
            for task in (work, gone):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, ApiError):
                    await task

    async def _forward(self, path: str, body: bytes, send: Send) -> None:
        meter, success = self._metrics.begin(path, body), False
        try:
            if self.workers.prefill:
                first = await self._ask("POST", self.workers.prefill, path, _one_token(body))
                if not first.is_success:
                    await send_json(send, first.status_code, first.content)
                    return
            answer = await self._open("POST", self.workers.decode, path, body)
            try:
                whole = await _relay(answer, send, meter)
            finally:
                await answer.aclose()
            success = whole and answer.is_success
        finally:
            meter.end(success=success)

    async def _ask(
        self, method: str, bases: tuple[str, ...], path: str, body: bytes = b""
    ) -> httpx.Response:
        answer = await self._open(method, bases, path, body)
        try:
            await answer.aread()
        except httpx.HTTPError as error:
            raise ApiError(503, f"the worker was lost: {_why(error)}") from error
        finally:
            await answer.aclose()
        return answer

    async def _open(
        self, method: str, bases: tuple[str, ...], path: str, body: bytes
    ) -> httpx.Response:
        """The start of an answer; a worker that does not answer at all is asked again."""
        problem = ""
        for _ in range(_ATTEMPTS):
            base = bases[next(self._turn) % len(bases)]
            request = self.client.build_request(
                method, base + path, content=body, headers={"content-type": "application/json"}
            )
            try:
                return await self.client.send(request, stream=True)
            except httpx.TransportError as error:
                problem = f"{base}: {_why(error)}"
                await asyncio.sleep(_PAUSE_S)
        raise ApiError(503, f"no worker answers at {problem}")


def new_client() -> httpx.AsyncClient:
    """A client that opens a connection for each request, as Services spread connections."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    return httpx.AsyncClient(timeout=_TIMEOUT, limits=limits, trust_env=False)


def _one_token(body: bytes) -> bytes:
    """The request as a prefill worker gets it."""
    try:
        data: Any = json.loads(body)
    except ValueError:
        return body  # the worker says what is wrong with it
    if not isinstance(data, dict):
        return body
    rest = {key: value for key, value in data.items() if key not in _LENGTHS}
    return json.dumps({**rest, "max_tokens": 1}).encode()


async def _relay(answer: httpx.Response, send: Send, meter: RequestMeter) -> bool:
    """Pass an answer on; returns whether it came to its end."""
    headers = [(b"content-type", answer.headers.get("content-type", "").encode())]
    await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
    whole = True
    try:
        async for part in answer.aiter_raw():
            meter.on_part(part)
            await send({"type": "http.response.body", "body": part, "more_body": True})
    except httpx.HTTPError as error:
        whole = False
        lost = ApiError(503, f"the worker was lost: {_why(error)}", code="worker_lost")
        part = b"data: " + lost.encode() + b"\n\n"
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
    return whole


async def _send(send: Send, body: bytes, kind: str) -> None:
    headers = [(b"content-type", kind.encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
