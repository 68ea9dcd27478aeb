"""How a pool chooses the worker for a request.

Routers keep their own books from what they are told, as a real frontend does; they
never look into engines. Equal workers are told apart by age, the oldest first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from simcore.cluster.request import LiveRequest
from simcore.cluster.worker import Worker

_DRAWS = 1024


class Router(Protocol):
    """Chooses one of the ready workers and is told what becomes of requests."""

    def joined(self, worker: Worker) -> None:
        """A worker is ready; its ``slot`` is above those of all before it."""
        ...

    def left(self, worker: Worker) -> None:
        """A worker takes no more requests."""
        ...

    def pick(self, request: LiveRequest, among: Sequence[Worker] | None) -> Worker:
        """A ready worker, out of ``among`` unless that is ``None``; there is at least one."""
        ...

    def placed(self, worker: Worker, request: LiveRequest) -> None:
        """A request was given to a worker."""
        ...

    def prefilled(self, worker: Worker, request: LiveRequest) -> None:
        """A request has its first token from this worker."""
        ...

    def ended(self, worker: Worker, request: LiveRequest) -> None:
        """A request has left a worker."""
        ...


class LoadBook:
    """Requests of each worker, with the least loaded one at hand in constant time.

    Workers with equal load are bits of one number, so that the lowest bit is the oldest.
    """

    def __init__(self) -> None:
        self._workers: dict[int, Worker] = {}
        self._load: dict[int, int] = {}
        self._masks: dict[int, int] = {}
        self._least = 0

    def __contains__(self, worker: Worker) -> bool:
        return self._workers.get(worker.slot) is worker

    def join(self, worker: Worker) -> None:
        """Add a worker without load."""
        self._workers[worker.slot] = worker
        self._load[worker.slot] = 0
        self._masks[0] = self._masks.get(0, 0) | 1 << worker.slot
        self._least = 0

    def leave(self, worker: Worker) -> None:
        """Forget a worker."""
        del self._workers[worker.slot]
        load = self._load.pop(worker.slot)
        self._masks[load] ^= 1 << worker.slot
        if not self._masks[load]:
            del self._masks[load]
        if self._least not in self._masks:
            self._least = min(self._masks, default=0)

    def add(self, worker: Worker, change: int) -> None:
        """Change the load of a worker by one; workers that have left do not count."""
        slot = worker.slot
        before = self._load.get(slot)
        if before is None:
            return
        after = before + change
        masks, bit = self._masks, 1 << slot
        rest = masks[before] ^ bit
        if rest:
            masks[before] = rest
        else:
            del masks[before]
        self._load[slot] = after
        masks[after] = masks.get(after, 0) | bit
        if after < self._least or self._least not in masks:
            self._least = after

    def load(self, worker: Worker) -> int:
        """Requests of a ready worker."""
        return self._load[worker.slot]

    def least(self, among: Sequence[Worker] | None) -> Worker:
        """The least loaded worker, the oldest among equals."""
        if among is not None:
            return min(among, key=lambda worker: (self._load[worker.slot], worker.slot))
        mask = self._masks[self._least]
        return self._workers[(mask & -mask).bit_length() - 1]


class RoundRobin:
    """Each worker in turn."""

    def __init__(self) -> None:
        self._turn = 0
        self._ready: list[Worker] = []

    def joined(self, worker: Worker) -> None:
        """Take it into the round."""
        self._ready.append(worker)

    def left(self, worker: Worker) -> None:
        """Take it out of the round."""
        self._ready.remove(worker)

    def pick(self, request: LiveRequest, among: Sequence[Worker] | None) -> Worker:
        """The next worker in order."""
        del request
        choice = self._ready if among is None else among
        worker = choice[self._turn % len(choice)]
        self._turn += 1
        return worker

    def placed(self, worker: Worker, request: LiveRequest) -> None:
        """Does not matter here."""

    def prefilled(self, worker: Worker, request: LiveRequest) -> None:
        """Does not matter here."""

    def ended(self, worker: Worker, request: LiveRequest) -> None:
        """Does not matter here."""


class LeastLoaded:
    """The worker that holds the fewest requests; the oldest one among equals."""

    def __init__(self) -> None:
        self._book = LoadBook()

    def joined(self, worker: Worker) -> None:
        """Count its requests."""
        self._book.join(worker)

    def left(self, worker: Worker) -> None:
        """Forget it."""
        self._book.leave(worker)

    def pick(self, request: LiveRequest, among: Sequence[Worker] | None) -> Worker:
        """The least loaded worker."""
        del request
        return self._book.least(among)

    def placed(self, worker: Worker, request: LiveRequest) -> None:
        """One more."""
        del request
        self._book.add(worker, 1)

    def prefilled(self, worker: Worker, request: LiveRequest) -> None:
        """Does not matter here."""

    def ended(self, worker: Worker, request: LiveRequest) -> None:
        """One less."""
        del request
        self._book.add(worker, -1)


class Draws:
    """Uniform numbers in [0, 1) from a random stream, fetched in blocks."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator
        self._numbers: list[float] = []

    def next(self) -> float:
        """The next number."""
        if not self._numbers:
            self._numbers = self._generator.random(_DRAWS).tolist()
            self._numbers.reverse()
        return self._numbers.pop()


class PowerOfTwo(LeastLoaded):
    """The less loaded of two workers drawn at random (Mitzenmacher, 2001)."""

    def __init__(self, generator: np.random.Generator) -> None:
        super().__init__()
        self._draws = Draws(generator)
        self._ready: list[Worker] = []

    def joined(self, worker: Worker) -> None:
        """May be drawn from now on."""
        super().joined(worker)
        self._ready.append(worker)

    def left(self, worker: Worker) -> None:
        """Is not drawn any more."""
        super().left(worker)
        self._ready.remove(worker)

    def pick(self, request: LiveRequest, among: Sequence[Worker] | None) -> Worker:
        """The less loaded of two different workers; the older one when equal."""
        del request
        choice = self._ready if among is None else among
        count = len(choice)
        if count == 1:
            return choice[0]
        first = int(self._draws.next() * count)
        second = int(self._draws.next() * (count - 1))
        second += second >= first
        return self._book.least((choice[first], choice[second]))


class SessionAffinity(LeastLoaded):
    """A session stays with its worker while that is ready, else the least loaded one."""

    def __init__(self) -> None:
        super().__init__()
        self._homes: dict[int, Worker] = {}

    def pick(self, request: LiveRequest, among: Sequence[Worker] | None) -> Worker:
        """The worker of the session, or a new one for it."""
        session = request.spec.session
        if session < 0:
            return self._book.least(among)
        home = self._homes.get(session)
        if home is None or home not in self._book or (among is not None and home not in among):
            home = self._homes[session] = self._book.least(among)
        return home
