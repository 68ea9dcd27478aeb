"""Rung ``mock``: the mocker as a real process, real HTTP on loopback, the wall clock."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from pydantic import TypeAdapter

from contracts.plan import DeploymentPlan
from contracts.records import RunRecord
from contracts.units import NS_PER_MS, NS_PER_S
from contracts.workload import Workload
from harness.faults import ControlPlane
from harness.load import LoadResult, LoadTarget, WallClock
from harness.run.aiperf import run_aiperf_load
from harness.run.prepare import Prepared
from harness.run.process import running_mocker
from harness.run.session import Clocks, Driver, ServerRecord, Session
from harness.run.workload import Offered
from harness.scenario import LoadDriver, Rung
from harness.store import LoadCheck, RungRun
from planner.adapters.http import TickReport

_PLAN = TypeAdapter(DeploymentPlan)
# A request is given up this long (undilated) after it was due.
REQUEST_TIMEOUT_S = 600.0
RECOVERY_POLL_S = 0.1


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
            world = _Process(prepared, Path(name), seed)
            session = Session(
                world, prepared, offered, planner=planner, plane=plane, progress=progress
            )
            load, server = asyncio.run(session.run())
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


class _Process:
    """A mocker of its own process, and the wall clock."""

    timeout_s = REQUEST_TIMEOUT_S

    def __init__(self, prepared: Prepared, folder: Path, seed: int) -> None:
        self._clock = WallClock()
        self.clocks = Clocks(load=self._clock, faults=self._clock, trigger=WallClock, planner=None)
        self.speed = prepared.scenario.mock.speed
        self._prepared = prepared
        self._folder = folder
        self._seed = seed
        aiperf = prepared.scenario.mock.driver is LoadDriver.AIPERF
        self.driver: Driver | None = self._send_with_aiperf if aiperf else None

    async def _send_with_aiperf(self, target: LoadTarget, workload: Workload) -> LoadResult:
        return await run_aiperf_load(
            target, workload, self._folder, speed=self.speed, timeout_s=self.timeout_s
        )

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Start a mocker and end it."""
        prepared, folder = self._prepared, self._folder
        (folder / "plan.json").write_bytes(_PLAN.dump_json(prepared.plan))
        arguments = [
            *("--plan", str(folder / "plan.json"), "--port", "0", "--seed", str(self._seed)),
            *("--speed", str(self.speed)),
            *("--on-worker-lost", prepared.scenario.on_worker_lost.value),
            *("--step-times", prepared.step_times),
        ]
        async with running_mocker(arguments, folder / "mocker.log") as base_url:
            yield base_url

    def on_tick(self, _report: TickReport) -> None:
        """The planner keeps its own log of decisions."""

    async def settle(self, record: Callable[[], Awaitable[ServerRecord]]) -> ServerRecord:
        """The server's record, once every fault has recovered or had the time to."""
        patience_s = (self._prepared.plan.startup_s + 1.0) / self.speed
        deadline_ns = self._clock.now_ns() + round(patience_s * NS_PER_S)
        while True:
            found = await record()
            open_faults = any(fault.recovered_at_s is None for fault in found.faults)
            if not open_faults or self._clock.now_ns() >= deadline_ns:
                return found
            await asyncio.sleep(RECOVERY_POLL_S)
