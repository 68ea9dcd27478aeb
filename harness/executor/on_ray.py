"""Runs tasks on Ray: this machine's, or a cluster at an address.

Machines of a cluster must see the same checkout and write to the same runs folder.
"""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from contracts.errors import PermanentError, UnsupportedError
from harness.executor.local import ATTEMPTS_MAX

Item = TypeVar("Item")
Result = TypeVar("Result")


class Ray:
    """Tasks of a Ray cluster; Ray itself runs those of a lost worker again.

    Args:
        jobs: tasks in flight at most; also the CPUs of a Ray that is started here.
        address: of a cluster, ``ray://HOST:10001`` or ``auto``; ``None`` starts Ray here.

    Raises:
        UnsupportedError: Ray is not installed.
        PermanentError: the cluster cannot be reached.
    """

    def __init__(self, jobs: int, address: str | None = None) -> None:
        try:
            self._ray: Any = importlib.import_module("ray")
        except ImportError as error:
            raise UnsupportedError("--executor ray needs Ray: pip install -e '.[ray]'") from error
        self._jobs = jobs
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        if address is None:
            options |= {"num_cpus": jobs, "include_dashboard": False}
        try:
            self._ray.init(address=address, **options)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise PermanentError(f"no Ray at {address or 'this machine'}: {error}") from error

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """As :meth:`harness.executor.local.Executor.map`; disconnects at the end."""
        ray = self._ray

        # Ray takes functions only, not every callable.
        def task(item: Item) -> Result:
            return function(item)

        remote = ray.remote(max_retries=ATTEMPTS_MAX - 1)(task)
        source, waiting = iter(items), deque[Any]()
        try:
            while True:
                while len(waiting) < 2 * self._jobs and (item := next(source, _END)) is not _END:
                    waiting.append(remote.remote(item))
                if not waiting:
                    return
                yield self._result(waiting.popleft())
        finally:
            for reference in waiting:
                ray.cancel(reference)
            ray.shutdown()

    def _result(self, reference: object) -> Any:  # noqa: ANN401  # whatever the function returns
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except errors.RayTaskError as error:
            raise error.cause from error
        except errors.RayError as error:
            raise PermanentError(f"Ray gave up on a task: {error}") from error


_END: Any = object()
