"""Requests that turn into a conversation: ``exec``, ``attach`` and ``port-forward``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs

from harness.cluster.api import Reads
from harness.cluster.http.route import Route
from harness.cluster.http.streams import portforward
from harness.cluster.http.streams.attach import Output, attach
from harness.cluster.http.streams.execute import PROTOCOLS, Inside, execute
from harness.cluster.http.streams.portforward import PortForward
from harness.cluster.http.streams.socket import WebSocket
from harness.cluster.objects.errors import ApiError, bad_request
from harness.cluster.objects.meta import Obj

__all__ = ["Inside", "Streams", "WebSocket"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """Conversations with pods.

    Attributes:
        inside: says how to run a command beside a container.
        output: what a container writes from now on.
    """

    reads: Reads
    inside: Inside
    output: Output

    async def serve(
        self, socket: WebSocket, route: Route, query: bytes, offered: Sequence[str]
    ) -> None:
        """Talk to a client until one side ends it.

        Args:
            socket: not accepted yet.
            route: of the pod and what is wanted of it.
            query: as it was sent; ``command`` may be there several times.
            offered: subprotocols of the client.

        Raises:
            ApiError: before anything was accepted.
        """
        pod = self.reads.get(route.resource, *route.key)
        if route.subresource == "portforward":
            chosen = _chosen((portforward.PROTOCOL,), offered)
            address = str((pod.get("status") or {}).get("podIP") or "")
            if not address:
                raise bad_request(f"pod {route.name} has no address yet")
            await socket.accept(chosen)
            await PortForward(socket, address).run()
            return
        chosen = _chosen(PROTOCOLS, offered)
        given = parse_qs(query.decode(), keep_blank_values=True)
        wanted = given.get("container", [""])[-1] or _first(pod)
        if route.subresource == "attach":
            pieces = self.output(pod, wanted)
            await socket.accept(chosen)
            await attach(socket, pieces)
            return
        surroundings = self.inside(pod, wanted, given.get("command") or [])
        await socket.accept(chosen)
        stdin = given.get("stdin", [""])[-1] in {"true", "1"}
        await execute(socket, surroundings, stdin=stdin)


def _chosen(known: Sequence[str], offered: Sequence[str]) -> str:
    for protocol in known:
        if protocol in offered:
            return protocol
    raise ApiError(403, "Forbidden", f"the client must offer one of {', '.join(known)}")


def _first(pod: Obj) -> str:
    return str(pod["spec"]["containers"][0]["name"])
