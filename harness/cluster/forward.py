"""Loopback endpoints of services: every port is a TCP listener that leads to a ready pod."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

from harness.cluster.control.client import Client
from harness.cluster.control.services import Backend, ServiceController
from harness.cluster.objects.errors import ApiError
from harness.cluster.objects.meta import Obj, annotations_of, copied, meta, name_of, namespace_of
from harness.cluster.store import Change

ENDPOINT = "cluster.harness/endpoint"
_PIECE = 65_536
_Slot = tuple[str, str, int]


@dataclass(slots=True)
class _Listener:
    server: asyncio.Server
    address: str
    turn: int = 0


@dataclass(slots=True, kw_only=True)
class Forwarder:
    """Listens for services; connections take turns over the ready pods.

    A service is reached at its cluster IP where the system has the whole loopback range and
    the port may be opened; otherwise at a free port of 127.0.0.1. The annotation
    ``cluster.harness/endpoint`` says where.
    """

    client: Client
    services: ServiceController
    dirty: bool = True
    _listeners: dict[_Slot, _Listener] = field(default_factory=dict)

    def seen(self, change: Change) -> None:
        """Note that services changed."""
        self.dirty = self.dirty or change.resource == "services"

    async def sync(self) -> None:
        """Open and close listeners so that they fit the services."""
        if not self.dirty:
            return
        self.dirty = False
        wanted: dict[_Slot, Obj] = {}
        for service in self.client.store.list("services"):
            address = service["spec"].get("clusterIP")
            if address and address != "None":
                for port in service["spec"].get("ports") or ():
                    slot = (namespace_of(service), name_of(service), int(port["port"]))
                    wanted[slot] = service
        for slot in [slot for slot in self._listeners if slot not in wanted]:
            self._listeners.pop(slot).server.close()
        for slot, service in wanted.items():
            if slot not in self._listeners:
                await self._open(slot, service)
        for slot in wanted:
            self._annotate(slot[0], slot[1])

    async def _open(self, slot: _Slot, service: Obj) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(slot, reader, writer)

        address, port = str(service["spec"]["clusterIP"]), slot[2]
        try:
            server = await asyncio.start_server(serve, address, port)
        except OSError:
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
        host, number = server.sockets[0].getsockname()[:2]
        self._listeners[slot] = _Listener(server, f"{host}:{number}")

    def _annotate(self, namespace: str, name: str) -> None:
        listed = [
            f"{slot[2]}={found.address}"
            for slot, found in sorted(self._listeners.items())
            if slot[:2] == (namespace, name)
        ]
        service = self.client.store.get("services", namespace, name)
        text = ",".join(listed)
        if service is not None and annotations_of(service).get(ENDPOINT) != text:
            new = copied(service)
            meta(new).setdefault("annotations", {})[ENDPOINT] = text
            self.client.store.put("services", new)

    def _backend(self, slot: _Slot) -> Backend | None:
        service = self.client.store.get("services", slot[0], slot[1])
        listener = self._listeners.get(slot)
        if service is None or listener is None:
            return None
        for port in service["spec"].get("ports") or ():
            if port["port"] == slot[2]:
                try:
                    found = self.services.backends(service, port)
                except ApiError:
                    return None
                listener.turn += 1
                return found[listener.turn % len(found)] if found else None
        return None

    async def _serve(
        self, slot: _Slot, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        backend = self._backend(slot)
        try:
            if backend is None:
                return
            there, back = await asyncio.open_connection(backend.host, backend.port)
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
        except OSError:
            return  # the pod does not answer: the client sees a closed connection
        finally:
            writer.close()

    def close(self) -> None:
        """Close every listener."""
        for listener in self._listeners.values():
            listener.server.close()
        self._listeners.clear()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()
