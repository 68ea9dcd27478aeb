"""Takes keys from a queue and hands them to a controller."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from contracts.errors import RehearsalError
from dgdr.operator.api import ApiError
from dgdr.operator.queue import WorkQueue

_log = logging.getLogger(__name__)
# What a malformed object in the cluster can provoke; it must not stop work on others.
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, RehearsalError)


class Controller(Protocol):
    """Works on one object."""

    def process(self, key: str) -> float | None:
        """One pass; returns the seconds after which to look again, if at all."""
        ...


class Worker:
    """Runs passes; a failed pass comes back later.

    Args:
        may_work: whether this process still leads; asked before every pass.
    """

    def __init__(
        self,
        name: str,
        queue: WorkQueue,
        controller: Controller,
        may_work: Callable[[], bool] = lambda: True,
    ) -> None:
        self._name = name
        self._queue = queue
        self._controller = controller
        self._may_work = may_work

    def run(self) -> None:
        """Work until the queue is closed."""
        while (key := self._queue.take()) is not None:
            self.work(key)

    def step(self) -> bool:
        """Work on one key if any is due; returns whether there was one."""
        key = self._queue.take_due()
        if key is not None:
            self.work(key)
        return key is not None

    def work(self, key: str) -> None:
        """One pass over a key that was taken from the queue."""
        if not self._may_work():
            self._queue.retry(key)
            self._queue.done(key)
            return
        try:
            again_s = self._controller.process(key)
        except ApiError as error:
            level = logging.DEBUG if error.conflict else logging.WARNING
            _log.log(level, "%s %s: %s", self._name, key, error)
            self._queue.retry(key)
        except _MALFORMED:
            _log.exception("%s %s: this pass failed", self._name, key)
            self._queue.retry(key)
        else:
            self._queue.forget(key)
            if again_s is not None:
                self._queue.add(key, again_s)
        finally:
            self._queue.done(key)
