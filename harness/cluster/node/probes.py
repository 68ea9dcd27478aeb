"""Readiness probes, made beside the event loop."""

from __future__ import annotations

import http.client
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from harness.cluster.objects.meta import Json, Obj


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One question: does this port accept, and does this path answer with 200 to 399?"""

    host: str
    port: int
    path: str | None
    timeout_s: float


class Prober(Protocol):
    """Asks without blocking."""

    def ask(self, key: str, probe: Probe) -> bool | None:
        """The answer to the last question under a key; None while it is open."""
        ...


class ThreadProber:
    """Asks in threads; a second question under a key waits for the first answer."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="probe")
        self._open: dict[str, Future[bool]] = {}

    def ask(self, key: str, probe: Probe) -> bool | None:
        """Take the answer if it is there, otherwise make sure that the question is asked."""
        future = self._open.get(key)
        if future is None:
            self._open[key] = self._pool.submit(answered, probe)
            return None
        if not future.done():
            return None
        del self._open[key]
        return future.result()

    def close(self) -> None:
        """Ask no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def answered(probe: Probe) -> bool:
    """Ask one question now."""
    try:
        if probe.path is None:
            with socket.create_connection((probe.host, probe.port), probe.timeout_s):
                return True
        connection = http.client.HTTPConnection(probe.host, probe.port, timeout=probe.timeout_s)
        try:
            connection.request("GET", probe.path)
            return 200 <= connection.getresponse().status < 400
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return False


def probe_of(wanted: Obj, spec: Obj, address: str) -> Probe | None:
    """The question of a pod's probe; None for forms that are not asked (exec, grpc)."""
    action = wanted.get("httpGet") or wanted.get("tcpSocket")
    if not action:
        return None
    port: Json = action.get("port")
    if not isinstance(port, int) and not str(port).isdigit():
        ports = {item.get("name"): item["containerPort"] for item in spec.get("ports") or ()}
        port = ports.get(port, 0)
    return Probe(
        host=action.get("host") or address,
        port=int(port),
        path=(action.get("path") or "/") if "httpGet" in wanted else None,
        timeout_s=float(wanted.get("timeoutSeconds", 1)),
    )
