"""Rung ``mock``: the mocker as a real process, real HTTP on loopback, the wall clock."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import httpx
from pydantic import TypeAdapter

from contracts.errors import InvariantError
from contracts.observation import ClusterSnapshot, WorkerView
from contracts.plan import DeploymentPlan
from contracts.records import FaultRecord, RunRecord
from contracts.units import NS_PER_MS, NS_PER_S
from contracts.workload import Workload
from harness.faults import ControlPlane, FaultyTransport, Pace, await_trigger, inject_faults
from harness.load import LoadProgress, LoadResult, LoadTarget, WallClock, run_load
from harness.run.aiperf import run_aiperf_load
from harness.run.figures import live_figures
from harness.run.prepare import Prepared
from harness.run.process import running_mocker
from harness.run.workload import Offered
from harness.scenario import LoadDriver, Rung, Trigger
from harness.store import LoadCheck, RungRun
from planner.adapters.http import HttpPlannerAdapter, TickReport
from planner.loop import Planner

_PLAN = TypeAdapter(DeploymentPlan)
# A request is given up this long (undilated) after it was due.
REQUEST_TIMEOUT_S = 600.0
RECOVERY_POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class _ServerRecord:
    """The part of the mocker's ``/admin/record`` that a run needs."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "ignore"}

    worker_events: tuple[WorkerView, ...]
    faults: tuple[FaultRecord, ...]


_RECORD = TypeAdapter(_ServerRecord)


class MockBackend:
    """Starts a mocker for each run and drives it as an outside client would."""

    def run(
        self,
        prepared: Prepared,
        offered: Offered,
        seed: int,
        progress: Callable[[str, int, int], None],
    ) -> RungRun:
        """Run against a fresh mocker; see :class:`harness.run.backends.Backend`."""
        planner = prepared.make_planner()
        plane = ControlPlane(prepared.scenario.control_faults)
        with tempfile.TemporaryDirectory(prefix="mocker-") as name:
            folder = Path(name)
            (folder / "plan.json").write_bytes(_PLAN.dump_json(prepared.plan))
            session = _Session(prepared, offered, planner, plane, progress)
            load, server = asyncio.run(session.run(folder, seed))
        faults = (*server.faults, *plane.records(), *offered.faults)
        record = RunRecord(
            table=load.table,
            worker_events=server.worker_events,
            faults=tuple(sorted(faults, key=lambda each: each.at_s)),
            digest=None,
            duration_s=max(0.0, float(load.table.finish_ns.max()) / NS_PER_S),
        )
        check = LoadCheck(
            dispatch_delay_ms_p99=load.dispatch_delay_ms_p99,
            limit_ms=load.dispatch_limit_ns / NS_PER_MS,
            saturated=load.saturated,
            failures=load.failures,
        )
        decisions = tuple(planner.decisions) if planner else ()
        return RungRun(
            rung=Rung.MOCK.value, seed=seed, record=record, decisions=decisions, load=check
        )


class _Session:
    """One mocker process from start to end."""

    def __init__(
        self,
        prepared: Prepared,
        offered: Offered,
        planner: Planner | None,
        plane: ControlPlane,
        progress: Callable[[str, int, int], None],
    ) -> None:
        if not isinstance(offered.traffic, Workload):
            raise InvariantError("rung mock was given traffic that waits for answers")
        self._until_s = offered.until_s
        self._plane = plane
        self._plan = prepared.plan
        self._step_times = prepared.step_times
        self._scenario = prepared.scenario
        self._speed = prepared.scenario.mock.speed
        self._workload = offered.traffic
        self._planner = planner
        self._progress = progress
        self._clock = WallClock()

    async def run(self, folder: Path, seed: int) -> tuple[LoadResult, _ServerRecord]:
        """Serve, load, inject, scale, collect."""
        arguments = [
            *("--plan", str(folder / "plan.json"), "--port", "0", "--seed", str(seed)),
            *("--speed", str(self._speed)),
            *("--on-worker-lost", self._scenario.on_worker_lost.value),
            *("--step-times", self._step_times),
        ]
        async with (
            running_mocker(arguments, folder / "mocker.log") as base_url,
            httpx.AsyncClient(base_url=base_url, timeout=10.0) as client,
        ):
            answer = await client.post("/admin/clock", json={"start": True})
            # Both processes read the same monotonic clock, so their time zero is the same.
            start_ns = int(answer.raise_for_status().json()["t0_ns"])
            async with self._planning(base_url, start_ns):
                load = await self._load_with_faults(client, base_url, folder, start_ns)
                record = await self._recovered_record(client)
        return load, record

    async def _load_with_faults(
        self, client: httpx.AsyncClient, base_url: str, folder: Path, start_ns: int
    ) -> LoadResult:
        async with asyncio.TaskGroup() as group:
            group.create_task(inject_faults(client, self._scenario.faults, self._pace(start_ns)))
            for trigger in self._scenario.triggers:
                group.create_task(self._await_trigger(client, trigger, start_ns))
            load = group.create_task(self._send(base_url, folder, start_ns))
        return load.result()

    async def _send(self, base_url: str, folder: Path, start_ns: int) -> LoadResult:
        """Send all requests with the driver of the scenario."""
        target = LoadTarget(base_url=base_url, model=self._plan.model_id)
        if self._scenario.mock.driver is LoadDriver.AIPERF:
            result = await run_aiperf_load(
                target, self._workload, folder, speed=self._speed, timeout_s=REQUEST_TIMEOUT_S
            )
            self._progress("requests", len(result.table), len(result.table))
            return result
        return await run_load(
            target,
            self._workload,
            speed=self._speed,
            clock=self._clock,
            timeout_s=REQUEST_TIMEOUT_S,
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
            pace=self._pace(start_ns),
        )

    def _pace(self, start_ns: int) -> Pace:
        return Pace(clock=self._clock, start_ns=start_ns, speed=self._speed)

    def _on_progress(self, progress: LoadProgress) -> None:
        self._progress("requests", progress.ended, progress.total)

    @contextlib.asynccontextmanager
    async def _planning(self, base_url: str, start_ns: int) -> AsyncIterator[None]:
        """Tick the planner, behind the faults of its surroundings, while the block is active."""
        if self._planner is None:
            yield
            return
        transport = FaultyTransport(httpx.AsyncHTTPTransport(), self._plane, self._pace(start_ns))
        async with httpx.AsyncClient(transport=transport, timeout=10.0) as client:
            adapter = HttpPlannerAdapter(self._planner, client, base_url, speed=self._speed)
            task = asyncio.create_task(adapter.run(_ignore))
            try:
                yield
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _recovered_record(self, client: httpx.AsyncClient) -> _ServerRecord:
        """The server's record, once every fault has recovered or had the time to."""
        patience_s = (self._plan.startup_s + 1.0) / self._speed
        deadline_ns = self._clock.now_ns() + round(patience_s * NS_PER_S)
        while True:
            answer = await client.get("/admin/record")
            answer.raise_for_status()
            record = _RECORD.validate_json(answer.content)
            open_faults = any(fault.recovered_at_s is None for fault in record.faults)
            if not open_faults or self._clock.now_ns() >= deadline_ns:
                return record
            await asyncio.sleep(RECOVERY_POLL_S)


def _ignore(_report: TickReport) -> None:
    """The planner keeps its own log of decisions."""
