"""The planner against a running frontend: poll its snapshot, post the targets."""

from __future__ import annotations

import math
from collections.abc import Callable

import httpx
from pydantic import TypeAdapter, ValidationError

from contracts.decision import RoleTarget
from contracts.errors import InputError, PermanentError, TransientError
from contracts.observation import ClusterSnapshot
from planner.adapters.connected import (
    Applied,
    Clock,
    ConnectedPlanner,
    LoopClock,
    Outcome,
    TickReport,
    checked_speed,
)
from planner.loop import Planner, View

__all__ = ["Applied", "HttpPlannerAdapter", "LoopClock", "TickReport"]
_SNAPSHOT: TypeAdapter[ClusterSnapshot] = TypeAdapter(ClusterSnapshot)
_RETRY_STATUS = (408, 425, 429)


class HttpConnector:
    """``GET /admin/snapshot`` and ``POST /admin/scale``.

    Args:
        client: an open client; its owner closes it and sets its timeouts.
        endpoint: base address, for example ``http://127.0.0.1:8000``.
        clock: tells how much time has passed since the last snapshot.
        speed: seconds of the cluster's time that pass in one second of wall time.

    Raises:
        InputError: the endpoint is no http address.
    """

    def __init__(
        self, client: httpx.AsyncClient, endpoint: str, *, clock: Clock, speed: float = 1.0
    ) -> None:
        self._client = client
        self._endpoint = checked_endpoint(endpoint)
        self._clock = clock
        self._speed = checked_speed(speed)
        self._seen: tuple[float, float] | None = None

    async def observe(self) -> View:
        """The cluster's own snapshot."""
        snapshot = await self._fetch()
        self._seen = (snapshot.now_s, self._clock.now_s())
        return snapshot

    async def order(self, targets: tuple[RoleTarget, ...]) -> Outcome:
        """Post the targets."""
        wire = [{"role": t.role.value, "replicas": t.replicas} for t in targets]
        await self._request("POST", "/admin/scale", {"targets": wire})
        return Outcome(applied=Applied.ACCEPTED)

    def now_s(self) -> float:
        """The cluster's time as far as it can be told without asking."""
        if self._seen is None:
            return 0.0
        cluster_s, wall_s = self._seen
        return cluster_s + (self._clock.now_s() - wall_s) * self._speed

    async def _fetch(self) -> ClusterSnapshot:
        response = await self._request("GET", "/admin/snapshot")
        try:
            snapshot = _SNAPSHOT.validate_json(response.content, strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise PermanentError(f"snapshot is malformed: {where}: {first['msg']}") from error
        if not math.isfinite(snapshot.now_s):
            raise PermanentError("snapshot is malformed: now_s is not finite")
        return snapshot

    async def _request(self, method: str, path: str, body: object = None) -> httpx.Response:
        try:
            response = await self._client.request(method, self._endpoint + path, json=body)
        except httpx.HTTPError as error:
            what = str(error) or type(error).__name__
            raise TransientError(f"{method} {path}: {what}", retry_after_s=0.0) from error
        if response.is_success:
            return response
        message = f"{method} {path}: HTTP {response.status_code}: {response.text[:200]}"
        if response.is_client_error and response.status_code not in _RETRY_STATUS:
            raise PermanentError(message)
        raise TransientError(message, retry_after_s=0.0)


class HttpPlannerAdapter(ConnectedPlanner):
    """A planner for the admin API of a running frontend.

    Args:
        planner: the planner.
        client: an open client; its owner closes it and sets its timeouts.
        endpoint: base address, for example ``http://127.0.0.1:8000``.
        clock: paces the ticks.
        speed: seconds of the cluster's time that pass in one second of wall time.
        advisory: decide and report, but never act.
        on_view: is shown everything that the planner sees.

    Raises:
        InputError: speed is not positive, or the endpoint is no http address.
    """

    def __init__(  # noqa: PLR0913  # one keyword for each setting
        self,
        planner: Planner,
        client: httpx.AsyncClient,
        endpoint: str,
        *,
        clock: Clock | None = None,
        speed: float = 1.0,
        advisory: bool = False,
        on_view: Callable[[View], None] | None = None,
    ) -> None:
        clock = clock or LoopClock()
        super().__init__(
            planner,
            HttpConnector(client, endpoint, clock=clock, speed=speed),
            clock=clock,
            speed=speed,
            advisory=advisory,
            on_view=on_view,
        )


def checked_endpoint(endpoint: str) -> str:
    """The base address without a trailing slash.

    Raises:
        InputError: it is no http or https address.
    """
    try:
        url = httpx.URL(endpoint)
    except httpx.InvalidURL as error:
        raise InputError(str(error), path="endpoint", value=endpoint) from error
    if url.scheme not in ("http", "https") or not url.host:
        raise InputError(
            "is no base address", path="endpoint", value=endpoint, allowed="http://HOST:PORT"
        )
    return endpoint.rstrip("/")
