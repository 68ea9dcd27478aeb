"""The planner against a running frontend: poll its snapshot, post the targets."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import httpx
from pydantic import TypeAdapter, ValidationError

from contracts.decision import Decision, RoleTarget
from contracts.errors import InputError, PermanentError, TransientError
from contracts.observation import ClusterSnapshot
from planner.loop import Planner

_LOG = logging.getLogger(__name__)
_SNAPSHOT: TypeAdapter[ClusterSnapshot] = TypeAdapter(ClusterSnapshot)
_RETRY_STATUS = (408, 425, 429)


class Clock(Protocol):
    """Wall time for pacing only; decisions use the cluster's own time."""

    def now_s(self) -> float:
        """Seconds on a clock that never runs backwards."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; raises ``CancelledError`` when the task is cancelled."""
        ...


class LoopClock:
    """The clock of the running event loop, virtual when the loop is virtual."""

    def now_s(self) -> float:
        """Loop time."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the loop."""
        await asyncio.sleep(seconds)


class Applied(StrEnum):
    """What became of the targets of a decision."""

    NOTHING_TO_DO = "nothing_to_do"
    ADVISORY = "advisory"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class TickReport:
    """One decision, what became of it, and why if it was not accepted."""

    decision: Decision
    applied: Applied
    problem: str | None = None


class HttpPlannerAdapter:
    """Ticks a planner against ``GET /admin/snapshot`` and ``POST /admin/scale``.

    Targets are absolute and sent on every tick that does not hold, so a lost or doubled
    order does no harm and a rejected one is tried again.

    Args:
        planner: the planner.
        client: an open client; its owner closes it and sets its timeouts.
        endpoint: base address, for example ``http://127.0.0.1:8000``.
        clock: paces the ticks.
        speed: seconds of the cluster's time that pass in one second of wall time.
        advisory: decide and report, but never act.

    Raises:
        InputError: speed is not positive, or the endpoint is no http address.
    """

    def __init__(
        self,
        planner: Planner,
        client: httpx.AsyncClient,
        endpoint: str,
        *,
        clock: Clock | None = None,
        speed: float = 1.0,
        advisory: bool = False,
    ) -> None:
        self.planner = planner
        self.ticks_skipped = 0
        self._client = client
        self._endpoint = checked_endpoint(endpoint)
        self._clock = clock or LoopClock()
        self._speed = checked_speed(speed)
        self._advisory = advisory
        self._seen: tuple[float, float] | None = None

    async def run(self, report: Callable[[TickReport], None], *, ticks: int | None = None) -> None:
        """Tick at once and then every interval, until cancelled or ``ticks`` are done.

        Deadlines are absolute, so delays do not add up; a deadline that has already
        passed when its turn comes is skipped and counted in ``ticks_skipped``.
        """
        period_s = self.planner.config.interval_s / self._speed
        start_s = self._clock.now_s()
        slot = done = 0
        while True:
            report(await self.tick())
            done += 1
            if done == ticks:
                return
            late = math.ceil((self._clock.now_s() - start_s) / period_s)
            self.ticks_skipped += max(0, late - slot - 1)
            slot = max(slot + 1, late)
            await self._clock.sleep(max(0.0, start_s + slot * period_s - self._clock.now_s()))

    async def tick(self) -> TickReport:
        """Observe, decide, act; trouble on the wire is a hold or an outcome, never raised."""
        try:
            snapshot = await self._fetch()
        except (TransientError, PermanentError) as error:
            _LOG.warning("no snapshot: %s", error)
            decision = self.planner.on_telemetry_lost(self._cluster_now_s(), str(error))
            return TickReport(decision=decision, applied=Applied.NOTHING_TO_DO, problem=str(error))
        self._seen = (snapshot.now_s, self._clock.now_s())
        decision = self.planner.on_snapshot(snapshot)
        if not decision.targets:
            return TickReport(decision=decision, applied=Applied.NOTHING_TO_DO)
        if self._advisory:
            return TickReport(decision=decision, applied=Applied.ADVISORY)
        try:
            await self._order(decision.targets)
        except PermanentError as error:
            _LOG.warning("targets were rejected: %s", error)
            return TickReport(decision=decision, applied=Applied.REJECTED, problem=str(error))
        except TransientError as error:
            _LOG.warning("unknown whether targets were accepted: %s", error)
            return TickReport(decision=decision, applied=Applied.UNKNOWN, problem=str(error))
        return TickReport(decision=decision, applied=Applied.ACCEPTED)

    def _cluster_now_s(self) -> float:
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

    async def _order(self, targets: tuple[RoleTarget, ...]) -> None:
        wire = [{"role": t.role.value, "replicas": t.replicas} for t in targets]
        await self._request("POST", "/admin/scale", {"targets": wire})

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


def checked_speed(speed: float) -> float:
    """The speed, which must be finite and above 0.

    Raises:
        InputError: it is not.
    """
    if not (math.isfinite(speed) and speed > 0):
        raise InputError("is out of range", path="speed", value=str(speed), allowed="above 0")
    return speed
