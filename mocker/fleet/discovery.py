"""Where a frontend finds its workers: a list, a file, or Kubernetes EndpointSlices."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from contracts.errors import InputError, TransientError
from contracts.files import unreadable
from dgdr.operator.api import ApiError, Listing
from dgdr.operator.resources import SLICES, Resource

POLL_S = 1.0


class Discovery(Protocol):
    """Answers one question."""

    def addresses(self) -> set[str]:
        """``host:port`` of every worker.

        Raises:
            InputError: the place cannot be read or holds something else.
        """
        ...


@dataclass(frozen=True, slots=True)
class StaticList:
    """Workers that were named at the start.

    Raises:
        InputError: none, or something that is no address.
    """

    workers: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.workers:
            raise InputError("names no worker", path="--workers", allowed="host:port,host:port")
        _checked(self.workers, "--workers")

    def addresses(self) -> set[str]:
        """All of them."""
        return set(self.workers)


@dataclass(frozen=True, slots=True)
class WorkerFile:
    """A file with one address in each line, or a JSON list; it may change at any time."""

    path: Path

    def addresses(self) -> set[str]:
        """What the file holds now.

        Raises:
            InputError: it cannot be read or holds something else.
        """
        try:
            text = self.path.read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(
                unreadable(error), source=str(self.path), path="--workers-file"
            ) from error
        if text.lstrip().startswith("["):
            try:
                found = json.loads(text)
            except ValueError as error:
                raise InputError(f"is not JSON: {error}", source=str(self.path)) from error
        else:
            lines = (line.partition("#")[0].strip() for line in text.splitlines())
            found = [line for line in lines if line]
        return _checked(found, str(self.path))


class Lister(Protocol):
    """The one call of the Kubernetes API that is needed."""

    def list(self, resource: Resource, namespace: str | None = None, selector: str = "") -> Listing:
        """All objects of a kind with these labels."""
        ...


@dataclass(frozen=True, slots=True)
class EndpointSlices:
    """Ready endpoints of the Services that a label selector finds."""

    api: Lister
    namespace: str
    selector: str

    def addresses(self) -> set[str]:
        """Address and first port of every endpoint that is ready.

        Raises:
            TransientError: the API does not tell.
        """
        try:
            found = self.api.list(SLICES, self.namespace, self.selector)
        except ApiError as error:
            raise TransientError(f"EndpointSlices: {error}", retry_after_s=POLL_S) from error
        addresses = set()
        for each in found.items:
            ports = [port["port"] for port in each.get("ports") or () if port.get("port")]
            for endpoint in each.get("endpoints") or ():
                # Unknown counts as ready, as the API says.
                ready = (endpoint.get("conditions") or {}).get("ready") is not False
                if ports and ready:
                    addresses |= {f"{address}:{ports[0]}" for address in endpoint["addresses"]}
        return addresses


def kubernetes_slices(namespace: str, selector: str, kubeconfig: Path | None) -> EndpointSlices:
    """EndpointSlices of a cluster, by kubeconfig or as a pod of it.

    Raises:
        PermanentError: there is no usable configuration.
    """
    from dgdr.operator.client import KubeClient  # noqa: PLC0415  # slow to import

    client = KubeClient(None if kubeconfig is None else str(kubeconfig))
    return EndpointSlices(client, namespace, selector)


def selector_of_services(names: Iterable[str]) -> str:
    """The label selector of the EndpointSlices of these Services."""
    return f"kubernetes.io/service-name in ({','.join(names)})"


async def follow(
    discovery: Discovery, tell: Callable[[set[str]], None], problem: Callable[[str], None]
) -> None:
    """Tell about the addresses now and whenever they have changed; never ends.

    A place that cannot be read later on changes nothing and is reported once.
    """
    known: set[str] | None = None
    said = ""
    while True:
        try:
            found = await asyncio.to_thread(discovery.addresses)
        except (InputError, TransientError) as error:
            if str(error) != said:
                said = str(error)
                problem(said)
        else:
            said = ""
            if found != known:
                known = found
                tell(found)
        await asyncio.sleep(POLL_S)


def _checked(found: Iterable[object], source: str) -> set[str]:
    addresses = set()
    for each in found:
        host, _, port = each.rpartition(":") if isinstance(each, str) else ("", "", "")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise InputError("is no address", source=source, value=repr(each), allowed="host:port")
        addresses.add(str(each))
    return addresses
