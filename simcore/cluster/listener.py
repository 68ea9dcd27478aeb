"""The port through which a cluster tells its surroundings about requests."""

from __future__ import annotations

from typing import Protocol

from contracts.records import RequestStatus


class ClusterListener(Protocol):
    """Hears about tokens and ends; called at the simulated instant."""

    def on_tokens(self, request_id: int, generated: int, at_ns: int) -> None:
        """``generated`` output tokens of a request are visible now.

        Called for every step when the cluster reports steps, else for the first
        token only.
        """
        ...

    def on_end(self, request_id: int, status: RequestStatus, reason: str, at_ns: int) -> None:
        """A request has ended; ``reason`` is empty when it completed."""
        ...
