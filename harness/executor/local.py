"""Runs many independent tasks: one after the other, or on a pool of processes.

Every executor gives the results in the order of the tasks, so that what comes of them does not
depend on which one it was. Ray is in :mod:`harness.executor.on_ray`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from types import FrameType
from typing import Any, Generic, Protocol, TypeVar

from contracts.errors import PermanentError

Item = TypeVar("Item")
Result = TypeVar("Result")
ATTEMPTS_MAX = 3


class Executor(Protocol):
    """Runs a function on many items."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results in the order of the items; an error of the function is raised here.

        Args:
            function: of the top level of a module; it and the items travel to other processes.
            items: drawn as they are needed, a few ahead.

        Raises:
            PermanentError: the worker of an item was lost ATTEMPTS_MAX times.
        """
        ...


class Serial:
    """Everything in this process."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """As :meth:`Executor.map`; draws an item when the one before is done."""
        return map(function, items)


@dataclass(slots=True, eq=False)
class _Task(Generic[Item]):
    item: Item
    future: Future[Any]
    attempt: int = 1


class Processes:
    """A pool of processes of this machine; a lost one is replaced and its task runs again.

    Args:
        jobs: processes at most.
    """

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """As :meth:`Executor.map`."""
        tasks = deque[_Task[Item]]()
        source, pool = iter(items), self._pool()
        try:
            while True:
                while len(tasks) < 2 * self._jobs and (item := next(source, _END)) is not _END:
                    tasks.append(_Task(item, _submit(pool, function, item)))
                if not tasks:
                    return
                try:
                    result = tasks[0].future.result()
                except BrokenProcessPool as error:
                    pool.shutdown(cancel_futures=True)
                    pool = self._pool()
                    _again(pool, function, tasks, error)
                    continue
                tasks.popleft()
                yield result
        except BaseException:
            for child in multiprocessing.active_children():
                if child.pid is not None:
                    os.kill(child.pid, signal.SIGINT)
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _pool(self) -> ProcessPoolExecutor:
        # Not forked: this process may have threads.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._jobs, mp_context=context, initializer=_begin)


def _submit(
    pool: ProcessPoolExecutor, function: Callable[[Item], Result], item: Item
) -> Future[Result]:
    try:
        return pool.submit(_guarded, function, item)
    except BrokenProcessPool as error:
        lost = Future[Result]()
        lost.set_exception(error)
        return lost


def _again(
    pool: ProcessPoolExecutor,
    function: Callable[[Item], Result],
    tasks: Iterable[_Task[Item]],
    error: BrokenProcessPool,
) -> None:
    """Submit what a broken pool did not finish; which task broke it cannot be known."""
    for task in tasks:
        if task.future.done() and not isinstance(_failure(task.future), BrokenProcessPool):
            continue
        if task.attempt >= ATTEMPTS_MAX:
            raise PermanentError(
                f"gave up after {ATTEMPTS_MAX} attempts: a worker process was lost"
            ) from error
        task.attempt += 1
        task.future = _submit(pool, function, task.item)


def _failure(future: Future[Any]) -> BaseException | None:
    return BrokenProcessPool() if future.cancelled() else future.exception()


_END: Any = object()
_working = False


def _begin() -> None:
    """In a new process: an interruption ends the present task, and nothing when there is none."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        if _working:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)


def _guarded(function: Callable[[Item], Result], item: Item) -> Result:
    global _working  # of a process that does one task at a time
    _working = True
    try:
        return function(item)
    finally:
        _working = False
