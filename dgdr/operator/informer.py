"""Follows one kind of object: list, watch, list again when the watch falls behind."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from dgdr.operator.api import ApiError, Reader
from dgdr.operator.backoff import backoff_s
from dgdr.operator.cache import Mirror
from dgdr.operator.clock import Clock
from dgdr.operator.resources import Resource
from dgdr.reconcile.actions import Json

_log = logging.getLogger(__name__)
_BASE_S, _CAP_S = 0.5, 30.0
_WATCH_MIN_S = 1.0


class Informer:
    """Reports every object that is new, changed or gone.

    Changes may be reported twice and, after a gap, only in their last state; the handler
    must look at the cluster, or at the ``mirror`` of what was seen.
    """

    def __init__(
        self,
        reader: Reader,
        resource: Resource,
        handler: Callable[[Json], None],
        *,
        namespace: str | None = None,
        selector: str = "",
    ) -> None:
        self._reader = reader
        self._resource = resource
        self._handler = handler
        self._namespace = namespace
        self._selector = selector
        self._version: str | None = None
        self._failures = 0
        self.mirror = Mirror(resource, namespace=namespace, selector=selector)
        self.synced = threading.Event()

    def run(self, stop: threading.Event, clock: Clock) -> None:
        """Follow until told to stop; failures are met with growing pauses."""
        while not stop.is_set():
            began_s = clock.steady_s()
            try:
                self.run_once(stop)
                if clock.steady_s() - began_s < _WATCH_MIN_S:
                    clock.wait(stop, _WATCH_MIN_S)  # an API that ends watches at once
            except ApiError as error:
                self._failures += 1
                pause_s = backoff_s(
                    self._resource.kind, self._failures, base_s=_BASE_S, cap_s=_CAP_S
                )
                _log.warning("watching %s: %s, again in %.1f s", self._resource, error, pause_s)
                clock.wait(stop, pause_s)

    def run_once(self, stop: threading.Event | None = None) -> None:
        """List if need be, then one watch until its end.

        Raises:
            ApiError: for anything but a version that is too old, which leads to a new list.
        """
        if self._version is None:
            self._list()
        try:
            for event in self._reader.watch(
                self._resource, self._namespace, self._selector, self._version or ""
            ):
                self._failures = 0
                self._note(event.kind, event.data)
                if stop is not None and stop.is_set():
                    return
        except ApiError as error:
            if not error.expired:
                raise
            _log.info("watching %s: %s, listing again", self._resource, error)
            self._version = None

    def _list(self) -> None:
        listing = self._reader.list(self._resource, self._namespace, self._selector)
        gone = self.mirror.reset(listing.items)
        for item in [*gone, *listing.items]:
            self._handler(item)
        self._version = listing.resource_version
        self.synced.set()

    def _note(self, kind: str, data: Json) -> None:
        self._version = str(data["metadata"]["resourceVersion"])
        if kind == "BOOKMARK":
            return
        if kind == "DELETED":
            self.mirror.drop(data)
        else:
            self.mirror.note(data)
        self._handler(data)
