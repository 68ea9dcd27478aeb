"""One run against a mocker, whatever the clock: load, faults and planner over HTTP.

A :class:`World` says where the mocker is, what time it is and when all is done; the session
does the rest, so that rungs ``vmock`` and ``mock`` differ in nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import ClassVar, Protocol

import httpx
from pydantic import TypeAdapter

from contracts.errors import InvariantError
from contracts.observation import ClusterSnapshot, WorkerView
from contracts.records import FaultRecord
from contracts.workload import Workload
from harness.faults import ControlPlane, FaultyTransport, Pace, await_trigger, inject_faults
from harness.load import Clock, LoadProgress, LoadResult, LoadTarget, run_load
from harness.run.figures import live_figures
from harness.run.prepare import Prepared
from harness.run.workload import Offered
from harness.scenario import Trigger
from planner.adapters.connected import Clock as PlannerClock
from planner.adapters.http import HttpPlannerAdapter, TickReport
from planner.loop import Planner


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRecord:
    """The part of the mocker's ``/admin/record`` that a run needs."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "ignore"}

    worker_events: tuple[WorkerView, ...]
    faults: tuple[FaultRecord, ...]


_RECORD = TypeAdapter(ServerRecord)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """The same time for everybody; in virtual time each one has a turn within an instant.

    Attributes:
        trigger: a clock for each trigger.
        planner: ``None`` is the clock of the event loop.
    """

    load: Clock
    faults: Clock
    trigger: Callable[[], Clock]
    planner: PlannerClock | None


Driver = Callable[[LoadTarget, Workload], Awaitable[LoadResult]]


class World(Protocol):
    """Where a session takes place.

    Attributes:
        clocks: what time it is.
        speed: simulated seconds in a second of these clocks.
        timeout_s: simulated seconds after which a request is given up.
        driver: sends all requests in place of the built-in client.
    """

    clocks: Clocks
    speed: float
    timeout_s: float
    driver: Driver | None

    def serving(self) -> AbstractAsyncContextManager[str]:
        """A mocker is there while the block is active; its base address."""
        ...

    def on_tick(self, report: TickReport) -> None:
        """The planner has ticked."""
        ...

    async def settle(self, record: Callable[[], Awaitable[ServerRecord]]) -> ServerRecord:
        """All requests have ended: wait for what the run has to see of the rest."""
        ...


class Session:
    """Drives one mocker from start to end.

    Args:
        world: where.
        planner: ticks over HTTP; ``None`` when there is none.
        plane: faults between planner and mocker.

    Raises:
        InvariantError: the traffic waits for answers.
    """

    def __init__(
        self,
        world: World,
        prepared: Prepared,
        offered: Offered,
        *,
        planner: Planner | None,
        plane: ControlPlane,
        progress: Callable[[str, int, int], None],
    ) -> None:
        if not isinstance(offered.traffic, Workload):
            raise InvariantError("a rung over HTTP was given traffic that waits for answers")
        self._world = world
        self._until_s = offered.until_s
        self._plane = plane
        self._plan = prepared.plan
        self._scenario = prepared.scenario
        self._workload = offered.traffic
        self._planner = planner
        self._progress = progress

    async def run(self) -> tuple[LoadResult, ServerRecord]:
        """Serve, load, inject, scale, collect."""
        async with (
            self._world.serving() as base_url,
            httpx.AsyncClient(base_url=base_url, timeout=10.0, trust_env=False) as client,
        ):
            answer = await client.post("/admin/clock", json={"start": True})
            # Everybody reads the same clock, so everybody's time zero is the same.
            start_ns = int(answer.raise_for_status().json()["t0_ns"])
            async with self._planning(base_url, start_ns):
                load = await self._load_with_faults(client, base_url, start_ns)
                record = await self._world.settle(lambda: _record(client))
        return load, record

    async def _load_with_faults(
        self, client: httpx.AsyncClient, base_url: str, start_ns: int
    ) -> LoadResult:
        clocks = self._world.clocks
        async with asyncio.TaskGroup() as group:
            pace = self._pace(clocks.faults, start_ns)
            group.create_task(inject_faults(client, self._scenario.faults, pace))
            for trigger in self._scenario.triggers:
                group.create_task(self._await_trigger(client, trigger, start_ns))
            load = group.create_task(self._load(base_url, start_ns))
        return load.result()

    async def _load(self, base_url: str, start_ns: int) -> LoadResult:
        clock = self._world.clocks.load
        target = LoadTarget(base_url=base_url, model=self._plan.model_id)
        if self._world.driver is not None:
            result = await self._world.driver(target, self._workload)
            self._progress("requests", len(result.table), len(result.table))
            return result
        await clock.sleep_until_ns(start_ns)
        return await run_load(
            target,
            self._workload,
            speed=self._world.speed,
            clock=clock,
            timeout_s=self._world.timeout_s,
            start_ns=start_ns,
            progress=self._on_progress,
        )

    async def _await_trigger(
        self, client: httpx.AsyncClient, trigger: Trigger, start_ns: int
    ) -> None:
        def due(snapshot: ClusterSnapshot) -> bool:
            return trigger.after.holds(live_figures(snapshot))

        await await_trigger(
            client,
            trigger,
            due,
            until_s=self._until_s,
            pace=self._pace(self._world.clocks.trigger(), start_ns),
        )

    def _pace(self, clock: Clock, start_ns: int) -> Pace:
        return Pace(clock=clock, start_ns=start_ns, speed=self._world.speed)

    def _on_progress(self, progress: LoadProgress) -> None:
        self._progress("requests", progress.ended, progress.total)

    @contextlib.asynccontextmanager
    async def _planning(self, base_url: str, start_ns: int) -> AsyncIterator[None]:
        """Tick the planner, behind the faults of its surroundings, while the block is active."""
        if self._planner is None:
            yield
            return
        world = self._world
        pace = self._pace(world.clocks.faults, start_ns)
        transport = FaultyTransport(httpx.AsyncHTTPTransport(), self._plane, pace)
        async with httpx.AsyncClient(transport=transport, timeout=10.0) as client:
            adapter = HttpPlannerAdapter(
                self._planner, client, base_url, clock=world.clocks.planner, speed=world.speed
            )
            task = asyncio.create_task(adapter.run(world.on_tick))
            try:
                yield
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task


async def _record(client: httpx.AsyncClient) -> ServerRecord:
    answer = await client.get("/admin/record")
    return _RECORD.validate_json(answer.raise_for_status().content)
