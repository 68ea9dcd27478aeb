"""Runs controllers: a queue of keys, each due at a time, fed by changes of the store.

Everything is synchronous. ``run_due`` works until nothing is due at the present time; who
drives it decides whether time comes from the wall or from a test.
"""

from __future__ import annotations

import heapq
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from harness.cluster.clock import Clock
from harness.cluster.objects.errors import ApiError
from harness.cluster.objects.meta import name_of, namespace_of
from harness.cluster.store import Change, Store

Key = tuple[str, str]
MAX_STEPS = 200_000
_RETRY_S = 0.5
_BROKEN_S = 5.0


class Controller(Protocol):
    """Brings one object nearer to what is wanted."""

    name: str

    def keys(self, change: Change) -> Iterable[Key]:
        """Keys (namespace, name) that a change concerns."""
        ...

    def reconcile(self, namespace: str, name: str) -> float | None:
        """Work on one key; returns seconds after which to look again, None for never.

        Raises:
            ApiError: tried again after a while.
        """
        ...


@dataclass(order=True, slots=True)
class _Item:
    at_s: float
    order: int
    controller: int = field(compare=False)
    key: Key = field(compare=False)


class ControlLoop:
    """All controllers on one queue; a key waits once, at its earliest time.

    Attributes:
        wake: called when a key was queued.
        on_error: told about bugs of controllers; the key is tried again later.
    """

    def __init__(self, store: Store, clock: Clock, controllers: Iterable[Controller]) -> None:
        self._clock = clock
        self._controllers = list(controllers)
        self._heap: list[_Item] = []
        self._due: dict[tuple[int, Key], float] = {}
        self._count = 0
        self.wake = _nothing
        self.on_error: Callable[[Exception], None] = traceback.print_exception
        store.listeners.append(self.seen)

    def seen(self, change: Change) -> None:
        """Queue the keys that a change concerns."""
        for index, controller in enumerate(self._controllers):
            for key in controller.keys(change):
                self._add(index, key, self._clock.unix_s())

    def queue(self, controller: Controller, namespace: str, name: str) -> None:
        """Queue one key now."""
        index = self._controllers.index(controller)
        self._add(index, (namespace, name), self._clock.unix_s())

    def replay(self, store: Store) -> None:
        """Queue every object that exists, as after a restart."""
        for resource in store.resources():
            for obj in store.list(resource):
                self.seen(
                    Change(
                        version=store.version,
                        kind="ADDED",
                        resource=resource,
                        obj=obj,
                        previous=None,
                    )
                )

    def next_s(self) -> float | None:
        """When the next key is due, seconds since 1970; None if nothing waits."""
        while self._heap and self._due.get(_slot(self._heap[0])) != self._heap[0].at_s:
            heapq.heappop(self._heap)
        return self._heap[0].at_s if self._heap else None

    def run_due(self, limit: int = MAX_STEPS) -> int:
        """Work until nothing is due now; returns the number of keys worked on."""
        steps = 0
        while steps < limit:
            at_s = self.next_s()
            if at_s is None or at_s > self._clock.unix_s():
                break
            item = heapq.heappop(self._heap)
            del self._due[_slot(item)]
            steps += 1
            self._work(item)
        return steps

    def _work(self, item: _Item) -> None:
        controller = self._controllers[item.controller]
        try:
            again_s = controller.reconcile(*item.key)
        except ApiError as error:
            again_s = 0.0 if error.code == 409 else _RETRY_S
        except Exception as error:  # noqa: BLE001  # one object must not end the controllers
            self.on_error(error)
            again_s = _BROKEN_S
        if again_s is not None:
            self._add(item.controller, item.key, self._clock.unix_s() + again_s)

    def _add(self, controller: int, key: Key, at_s: float) -> None:
        slot = (controller, key)
        if slot in self._due and self._due[slot] <= at_s:
            return
        self._due[slot] = at_s
        self._count += 1
        heapq.heappush(self._heap, _Item(at_s, self._count, controller, key))
        self.wake()


def _slot(item: _Item) -> tuple[int, Key]:
    return (item.controller, item.key)


def _nothing() -> None:
    """Nobody waits."""


def key_of(change: Change) -> Key:
    """Namespace and name of the changed object."""
    return (namespace_of(change.obj), name_of(change.obj))
