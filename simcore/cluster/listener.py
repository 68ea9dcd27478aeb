"""The port through which a cluster tells its surroundings about requests."""

from __future__ import annotations

from typing import Protocol

from contracts.records import RequestStatus
from simcore.cluster.worker import Worker


class ClusterListener(Protocol):
    """Hears about tokens and ends; called at the simulated instant."""

    def on_tokens(self, request_id: int, generated: int, at_ns: int) -> None:
        """``generated`` output tokens of a request are visible: the first one, or all."""
        ...

    def on_step(self, worker: Worker, at_ns: int) -> None:
        """A step of a worker has ended; its engine has caught up and knows who produced what.

        Called only while the cluster reports steps; the engine may name requests that have ended.
        """
        ...

    def on_end(self, request_id: int, status: RequestStatus, reason: str, at_ns: int) -> None:
        """A request has ended; ``reason`` is empty when it completed."""
        ...
