"""Puts clients, informers, queues, workers and election together and runs them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from dgdr.operator.apply import Applier
from dgdr.operator.cache import Cache
from dgdr.operator.client import KubeClient
from dgdr.operator.clock import Clock
from dgdr.operator.election import LeaderElector, LeaseSettings
from dgdr.operator.events import EventRecorder
from dgdr.operator.graphs import GRAPH_SOURCES, GraphController, graph_keys
from dgdr.operator.hardware import METRICS_TEMPLATE, HardwareReader
from dgdr.operator.informer import Informer
from dgdr.operator.queue import WorkQueue
from dgdr.operator.requests import REQUEST_SOURCES, RequestController, request_keys
from dgdr.operator.resources import Resource
from dgdr.operator.worker import Worker
from dgdr.reconcile.actions import Json
from dgdr.reconcile.settings import OperatorSettings

_log = logging.getLogger(__name__)
_JOIN_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerSettings:
    """How one operator process runs.

    Attributes:
        namespace: the only namespace to work in; None works in all.
        manage_graphs: run the controller of deployments too; NVIDIA's operator must not
            run beside it then.
        lease: take part in an election; None leads at once.
    """

    operator: OperatorSettings
    identity: str
    namespace: str | None = None
    workers: int = 4
    manage_graphs: bool = True
    metrics_template: str = METRICS_TEMPLATE
    lease: LeaseSettings | None = None


@dataclass(slots=True)
class _Track:
    """One controller with its queue and what feeds it."""

    name: str
    worker: Worker
    queue: WorkQueue
    informers: list[Informer] = field(default_factory=list)


class Manager:
    """An operator process."""

    def __init__(self, client: KubeClient, clock: Clock, settings: ManagerSettings) -> None:
        self._client = client
        self._clock = clock
        self._settings = settings
        self._stop = threading.Event()
        self._workers: list[threading.Thread] = []
        self._elector: LeaderElector | None = None
        self.ready = threading.Event()
        self.lost = False
        self._cache = Cache(client)
        applier = Applier(self._cache, EventRecorder(client, clock, settings.identity))
        self._tracks = [self._requests(applier)]
        if settings.manage_graphs:
            self._tracks.append(self._graphs(applier))

    def run(self) -> None:
        """Work until :meth:`stop` or until the lead is lost (see ``lost``)."""
        lease = self._settings.lease
        if lease is None:
            self._start()
            self._stop.wait()
        else:
            self._elector = LeaderElector(self._client, self._clock, self._settings.identity, lease)
            started = threading.Event()
            self._spawn("start", lambda: self._start_when(started))
            self._elector.run(self._stop, started)
            self.lost = not self._stop.is_set()
            self._stop.set()
            started.set()
        self._shut_down()

    def stop(self) -> None:
        """End :meth:`run`; may be called from a signal handler or another thread."""
        self._stop.set()

    def _start_when(self, started: threading.Event) -> None:
        started.wait()
        if not self._stop.is_set():
            _log.info("leading as %s", self._settings.identity)
            self._start()

    def _start(self) -> None:
        for track in self._tracks:
            for informer in track.informers:
                self._spawn(track.name, lambda i=informer: i.run(self._stop, self._clock))  # type: ignore[misc]
            for _ in range(self._settings.workers):
                self._workers.append(self._spawn(track.name, track.worker.run))
        self.ready.set()

    def _spawn(self, name: str, target: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=target, name=name, daemon=True)
        thread.start()
        return thread

    def _shut_down(self) -> None:
        """Let passes end; watches are cut with the process, they hold no work."""
        for track in self._tracks:
            track.queue.close()
        deadline_s = self._clock.steady_s() + _JOIN_S
        for thread in self._workers:
            thread.join(max(0.0, deadline_s - self._clock.steady_s()))
        if self._elector is not None and not self.lost:
            self._elector.release()

    def _requests(self, applier: Applier) -> _Track:
        settings = self._settings
        hardware = HardwareReader(self._client, self._clock, template=settings.metrics_template)
        controller = RequestController(
            self._client, self._cache, applier, hardware, self._clock, settings.operator
        )
        track = self._track("requests", controller)
        for resource, selector in REQUEST_SOURCES:
            self._feed(track, resource, selector, request_keys)
        return track

    def _graphs(self, applier: Applier) -> _Track:
        controller = GraphController(
            self._client,
            self._cache,
            self._client,
            applier,
            self._clock,
            self._settings.operator,
        )
        track = self._track("deployments", controller)
        for resource, selector in GRAPH_SOURCES:
            self._feed(track, resource, selector, graph_keys)
        return track

    def _track(self, name: str, controller: RequestController | GraphController) -> _Track:
        queue = WorkQueue(self._clock)
        return _Track(name, Worker(name, queue, controller, self._leads), queue)

    def _leads(self) -> bool:
        """A process that was suspended may have lost the lead without knowing."""
        return self._elector is None or self._elector.leads

    def _feed(
        self,
        track: _Track,
        resource: Resource,
        selector: str,
        keys: Callable[[Json], list[str]],
    ) -> None:
        def handle(data: Json) -> None:
            for key in keys(data):
                track.queue.add(key)

        informer = Informer(
            self._client,
            resource,
            handle,
            namespace=self._settings.namespace,
            selector=selector,
        )
        self._cache.add(informer.mirror)
        track.informers.append(informer)
