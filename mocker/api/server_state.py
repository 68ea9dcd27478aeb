"""What the administration changes and the token routes ask for."""

from __future__ import annotations

from dataclasses import dataclass, field

from contracts.units import NS_PER_S
from mocker.api.errors import ApiError
from mocker.api.http_faults import HttpFaults
from mocker.clock import Clock


@dataclass(slots=True, kw_only=True)
class ServerState:
    """Mutable state of one HTTP surface.

    Attributes:
        api_key: clients must send it; ``None`` lets everybody in.
        ready_at_ns: the server answers 503 before this instant of its clock.
        queue_limit: requests beyond so many get 429; ``None`` is no limit.
        adapters: LoRA adapters that are loaded, by name with their path.
        sleep_level: 0 is awake; requests get 503 while asleep.
        draining: no new requests are taken.
    """

    clock: Clock
    api_key: str | None = None
    ready_at_ns: int = 0
    queue_limit: int | None = None
    adapters: dict[str, str] = field(default_factory=dict)
    sleep_level: int = 0
    draining: bool = False
    faults: HttpFaults = field(default_factory=HttpFaults)

    def why_not_ready(self) -> str | None:
        """Why no request can be taken now; ``None`` when they can."""
        if self.sleep_level:
            return "the engine sleeps"
        if self.draining:
            return "the server is draining"
        if self.clock.now_ns() < self.ready_at_ns:
            return "the engine is starting"
        return None

    def check_ready(self) -> None:
        """Refuse requests while none can be taken.

        Raises:
            ApiError: 503 with the seconds that are left, if they are known.
        """
        reason = self.why_not_ready()
        if reason is not None:
            left_s = -((self.clock.now_ns() - self.ready_at_ns) // NS_PER_S)
            raise ApiError(503, reason, code="not_ready", retry_after_s=max(1, left_s))

    def check_queue(self, in_flight: int) -> None:
        """Refuse a request when the queue is full.

        Raises:
            ApiError: 429.
        """
        if self.queue_limit is not None and in_flight >= self.queue_limit:
            raise ApiError(
                429,
                f"the queue is full: {in_flight} requests are in flight",
                code="queue_full",
                retry_after_s=1,
            )

    def check_key(self, authorization: str | None) -> None:
        """Refuse a client without the key.

        Raises:
            ApiError: 401.
        """
        if self.api_key is not None and authorization != f"Bearer {self.api_key}":
            raise ApiError(401, "the API key is missing or wrong", code="invalid_api_key")
